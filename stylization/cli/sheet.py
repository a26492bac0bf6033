"""sheet: photographs in every style of a model, as one picture."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stylization.errors import InputError, printable

if TYPE_CHECKING:
    from stylization.cli import Commands

COLUMNS = 6


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    command = commands.add_parser("sheet", help="paint photographs in every style, as one contact sheet")
    command.add_argument(
        "photos",
        metavar="PHOTO",
        nargs="+",
        help="paths, addresses or sample names, e.g. astronaut; samples for all ten photographs of libraries",
    )
    command.add_argument("--output", type=Path, default=Path("sheet.jpg"), help="the picture (default: sheet.jpg)")
    command.add_argument(
        "--model", type=Path, default=Path("bundled"), help="a run folder or a model file (default: the bundled model)"
    )
    command.add_argument("--styles", help="e.g. mosaic,oil,ink (default: all of the model)")
    command.add_argument("--size-px", type=int, default=320, help="size of a picture in pixels (default: 320)")
    command.add_argument("--square", action="store_true", help="crop the photographs to their central squares")
    command.add_argument(
        "--columns", type=int, help=f"pictures in a row (default: {COLUMNS}, or with several photographs, one a column)"
    )
    command.set_defaults(run=_sheet)


def _sheet(options: argparse.Namespace) -> None:
    from tqdm import tqdm

    from stylization import images
    from stylization.memory import keep_memory
    from stylization.stylizer import load

    for name, least in (("size_px", 32), ("columns", 1)):
        if (value := getattr(options, name)) is not None and value < least:
            raise InputError(f"--{name.replace('_', '-')}={value}: too small; give at least {least}")
    images.check_suffix(options.output)
    keep_memory()
    stylizer = load(options.model)
    styles = _styles(options.styles, stylizer.styles or [stylizer.facts.get("style", "unknown")])
    photographs = [_photograph(name, options) for name in _names(options.photos)]
    columns = []
    with tqdm(total=len(styles) * len(photographs), unit="img", delay=1) as bar:
        for photograph in photographs:
            cells = [images.Cell("photograph", photograph)]
            for style in styles:
                cells.append(images.Cell(style.replace("_", " "), stylizer(photograph, style=style)))
                bar.update()
            columns.append(cells)
    several = len(columns) > 1 and options.columns is None
    cells = [cell for column in columns for cell in column]
    rows = list(zip(*columns, strict=True)) if several else images.in_rows(cells, options.columns or COLUMNS)
    images.save(images.contact_sheet(rows), options.output)
    print(printable(options.output))


def _styles(wanted: str | None, known: Sequence[str]) -> list[str]:
    styles = list(known) if wanted is None else [name.strip() for name in wanted.split(",")]
    for name in styles:
        if name not in known:
            raise InputError(f"--styles={wanted}: the model has no style '{name}'; it has {', '.join(known)}")
    return styles


def _names(photos: Sequence[str]) -> list[str]:
    from stylization.content import held_out_samples, train_samples

    paths = [source.path(n) for source in (held_out_samples(), train_samples()) for n in range(len(source))]
    samples = {path.stem: str(path) for path in paths}
    if list(photos) == ["samples"]:
        return list(samples.values())
    return [name if Path(name).exists() else samples.get(name, name) for name in photos]


def _photograph(name: str, options: argparse.Namespace):  # type: ignore[no-untyped-def]  # PIL is imported late
    from PIL import Image, ImageOps

    from stylization import images

    picture = images.read(name)
    size = (options.size_px, options.size_px)
    if options.square:
        return ImageOps.fit(picture, size, Image.Resampling.LANCZOS)
    return ImageOps.contain(picture, size, Image.Resampling.LANCZOS)
