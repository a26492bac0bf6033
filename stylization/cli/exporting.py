"""export, models: from a trained model to one for another runtime, and what a model is."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from stylization.errors import printable, tell

if TYPE_CHECKING:
    from stylization.cli import Commands


def add(commands: Commands) -> None:
    """Add it to the parser."""
    command = commands.add_parser("export", help="write a trained model for onnxruntime, for PyTorch alone, or smaller")
    command.add_argument("model", metavar="MODEL", type=Path, help="a run folder, a model file or a bundled style")
    command.add_argument("--to", choices=["onnx", "torch", "safetensors"], required=True, help="the runtime, or a file")
    command.add_argument("--output", type=Path, required=True, help="a .onnx, .pt2 or .safetensors")
    command.add_argument("--style", help="of a model of several: mosaic, or mosaic=0.6,ink=0.4")
    command.add_argument("--half", action="store_true", help="weights in float16: half the size; computes in float32")
    command.set_defaults(run=_export)

    command = commands.add_parser("models", help="what a model can paint and how it was trained: its card")
    command.add_argument("models", metavar="MODEL", type=Path, nargs="*", help="run folders or model files (bundled)")
    command.add_argument(
        "--iterative",
        type=int,
        metavar="STEPS",
        help="measure a run's gap to the iterative method, and keep it in its file",
    )
    command.add_argument(
        "--artifacts", action="store_true", help="measure a run's grid, texture and halo, and keep them in its file"
    )
    command.add_argument(
        "--picture", type=Path, metavar="FILE", help="what it makes of sample photographs, in every style"
    )
    command.add_argument("--photos", type=int, default=2, help="for these, so many of the held-out photographs (2)")
    command.add_argument("--size-px", type=int, default=256, help="at so many pixels (256)")
    command.set_defaults(run=_models)


def _export(options: argparse.Namespace) -> None:
    from stylization.cli.painting import mixture
    from stylization.export import export

    export(options.model, options.output, options.to, options.half, mixture(options.style))
    print(printable(options.output))


def _models(options: argparse.Namespace) -> None:
    from stylization import card, images, model_file
    from stylization.memory import keep_memory

    keep_memory()
    if options.picture:
        images.check_suffix(options.picture)
    for number, model in enumerate(options.models or ["bundled"]):
        if options.iterative:
            card.measure_gap(model, options.iterative, options.photos, options.size_px, _tell_style)
        if options.artifacts:
            card.measure_artifacts(model, options.photos, options.size_px)
        if options.picture:
            images.save(card.picture(model, options.photos, options.size_px), options.picture)
        print("\n" * bool(number) + card.card(model_file.located(model)))


def _tell_style(style: str) -> None:
    tell(f"iterative method: {style}")
