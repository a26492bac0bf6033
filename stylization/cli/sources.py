"""content check, pack, prepare, and distill: what training is given."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from stylization.errors import InputError, printable
from stylization.launch import num_cores

if TYPE_CHECKING:
    from stylization.cli import Commands


def add(commands: Commands) -> None:
    """Add them to the parser."""
    content = commands.add_parser("content", help="look at, or pack, a source of content images")
    verbs = content.add_subparsers(dest="verb", required=True, metavar="check|pack|prepare")
    command = verbs.add_parser("check", help="read every image once, and list those that cannot be used")
    command.set_defaults(run=_check)
    _add_source(command)
    command = verbs.add_parser("pack", help="write a source as reduced, re-encoded tar shards; may be interrupted")
    command.set_defaults(run=_pack)
    _add_source(command)
    command.add_argument("destination", metavar="DEST", type=Path, help="a new folder for the shards")
    command.add_argument("--side-px", type=int, default=288, help="short side of the packed images, at most (288)")
    command.add_argument("--quality", type=int, default=90, help="of their JPEG encoding (90)")
    command.add_argument("--images-per-shard", type=int, default=1000, help="(1000)")

    command = verbs.add_parser("prepare", help="write photographs changed beforehand, for data=prepared")
    command.add_argument("destination", metavar="DEST", type=Path, help="the folder for train/ and held_out/")
    command.add_argument("--photos", type=Path, help="a folder to train on (default: the samples)")
    command.add_argument("--held-out", type=Path, help="a folder of others, held out (default: the held-out samples)")
    command.add_argument("--size-px", type=int, default=256, help="their short side (256)")
    how = command.add_mutually_exclusive_group()
    how.add_argument("--equalise", action="store_true", help="flatten the histogram of luminance")
    how.add_argument("--contrast", type=float, help="multiply the contrast")
    how.add_argument("--style", help="bring all to this style by the iterative method")
    command.add_argument("--num-steps", type=int, default=40, help="of that method (40)")
    command.set_defaults(run=_prepare)

    command = commands.add_parser("distill", help="make a compact loss network from VGG-16 and photographs")
    command.add_argument("--teacher", type=Path, help="VGG-16 weights, .pth or .safetensors (default: torchvision's)")
    command.add_argument("--photos", type=Path, required=True, help="a folder of photographs")
    command.add_argument("--output", type=Path, required=True, help="the .safetensors to write")
    command.add_argument("--num-steps", type=int, default=3000, help="optimizer steps (default: 3000)")
    command.add_argument("--size-px", type=int, default=64, help="side of the crops (default: 64)")
    command.add_argument(
        "--num-held-out", type=int, default=20, help="photographs, the last by name, not trained on (default: 20)"
    )
    command.add_argument("--learning-rate", type=float, default=0.01, help="of Muon (default: 0.01)")
    command.add_argument("--widths", default="32,64,128,240", help="channels of the blocks (default: 32,64,128,240)")
    command.add_argument("--seed", type=int, default=0)
    command.set_defaults(run=_distill)


def _add_source(command: argparse.ArgumentParser) -> None:
    command.add_argument("source", metavar="SOURCE", help="a folder, a .zip, .tar shards, or a URL of one of them")
    command.add_argument("--workers", type=int, default=num_cores(), help="processes (one a core)")
    command.add_argument("--cache-gb", type=float, default=20.0, help="of a remote source, kept on the local disk (20)")


def _check(options: argparse.Namespace) -> None:
    from stylization.content import packing

    source = packing.open_source(options.source, options.cache_gb)
    seen = packing.check(source, options.workers)
    print(packing.told(seen))
    if any(x.reason for x in seen):
        raise SystemExit(1)


def _pack(options: argparse.Namespace) -> None:
    from stylization.content import packing

    for name, least in (("side_px", 32), ("quality", 1), ("images_per_shard", 1)):
        if getattr(options, name) < least:
            raise InputError(f"--{name.replace('_', '-')} must be {least} at least")
    skips = packing.pack(
        packing.open_source(options.source, options.cache_gb),
        options.destination,
        side_px=options.side_px,
        quality=options.quality,
        images_per_shard=options.images_per_shard,
        num_workers=options.workers,
    )
    if skips:
        print(printable(f"left out {len(skips)} images: {options.destination / 'skipped.csv'}"))
    print(printable(f"train on them: train.py data=shards data.source.path={options.destination}"))


def _prepare(options: argparse.Namespace) -> None:
    from stylization import prepared
    from stylization.configuration import built_objective, composed
    from stylization.content import folder, held_out_samples, train_samples
    from stylization.memory import keep_memory

    if options.size_px < 32 or options.num_steps < 1:
        raise InputError("--size-px must be 32 at least, --num-steps 1")
    keep_memory()
    treat: prepared.Treatment = prepared.equalised if options.equalise else prepared.plain
    if options.contrast is not None:
        treat = prepared.contrast(options.contrast)
    if options.style:
        treat = prepared.stylized(built_objective(composed([f"style.image='{options.style}'"])), options.num_steps)
    sources = {
        "train": folder(options.photos) if options.photos else train_samples(),
        "held_out": folder(options.held_out) if options.held_out else held_out_samples(),
    }
    for name, source in sources.items():
        prepared.prepare(source, treat, options.destination / name, options.size_px)
    print(printable(f"train on them: train.py data=prepared data.source.path={options.destination / 'train'}"))


def _distill(options: argparse.Namespace) -> None:
    from stylization.distillation import distill

    for name, least in (("num_steps", 1), ("size_px", 32), ("num_held_out", 0)):
        if getattr(options, name) < least:
            raise InputError(f"--{name.replace('_', '-')}={getattr(options, name)}: too small; give {least} or more")
    distill(
        options.teacher,
        options.photos,
        options.output,
        num_steps=options.num_steps,
        size_px=options.size_px,
        num_held_out=options.num_held_out,
        learning_rate=options.learning_rate,
        widths=_widths(options.widths),
        seed=options.seed,
    )
    print(printable(options.output))


def _widths(text: str) -> list[int]:
    """The channels of the four blocks."""
    try:
        widths = [int(width) for width in text.split(",")]
    except ValueError:
        widths = []
    most = (64, 128, 256, 512)  # VGG-16's
    if len(widths) != 4 or not all(1 <= width <= limit for width, limit in zip(widths, most, strict=True)):
        raise InputError(f"--widths={text}: not four channel counts; give e.g. 32,64,128,240, at most 64,128,256,512")
    return widths
