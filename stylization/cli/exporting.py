"""export: from a trained model to one for another runtime."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stylization.cli import Commands


def add(commands: Commands) -> None:
    """Add it to the parser."""
    command = commands.add_parser("export", help="write a trained model for onnxruntime, for PyTorch alone, or smaller")
    command.add_argument("model", metavar="MODEL", type=Path, help="a run folder or a model file")
    command.add_argument("--to", choices=["onnx", "torch", "safetensors"], required=True, help="the runtime, or a file")
    command.add_argument("--output", type=Path, required=True, help="a .onnx, .pt2 or .safetensors")
    command.add_argument("--half", action="store_true", help="weights in float16: half the size; computes in float32")
    command.set_defaults(run=_export)


def _export(options: argparse.Namespace) -> None:
    from stylization.export import export

    export(options.model, options.output, options.to, options.half)
    print(options.output)
