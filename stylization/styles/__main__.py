"""Redraw the bundled style pictures: python -m stylization.styles [NAME ...]."""

from __future__ import annotations

import argparse
import io
import time
from pathlib import Path

from PIL import Image

from stylization.images.contact_sheet import Cell, contact_sheet, in_rows
from stylization.styles import PICTURES, draw, names

BEST_QUALITY = 92
LEAST_QUALITY = 70
HEAVIEST_BYTES = 200_000


def main() -> None:
    """Draw the named styles, or all of them, and save each as a JPEG."""
    parser = argparse.ArgumentParser(prog="python -m stylization.styles", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(names())} (default: all)")
    parser.add_argument("--output", type=Path, default=PICTURES, metavar="DIR", help="default: %(default)s")
    parser.add_argument("--size", type=int, default=640, metavar="PX", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument(
        "--sheet",
        type=Path,
        metavar="FILE",
        help="also write a contact sheet of the bundled pictures, e.g. docs/styles.png",
    )
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(names()):
        parser.error(f"unknown style {', '.join(sorted(unknown))}; choose from {', '.join(names())}")

    arguments.output.mkdir(parents=True, exist_ok=True)
    for name in arguments.names or names():
        start = time.perf_counter()
        path = arguments.output / f"{name}.jpg"
        path.write_bytes(jpeg(draw(name, arguments.size, arguments.seed)))
        print(f"{path}  {time.perf_counter() - start:.1f} s")
    if arguments.sheet:
        sheet().quantize(256).save(arguments.sheet, optimize=True)
        print(arguments.sheet)


def sheet(columns: int = 4, side: int = 208) -> Image.Image:
    """Lay the bundled pictures out in rows, sorted by name."""
    cells = []
    for name in names():
        with Image.open(PICTURES / f"{name}.jpg") as picture:
            cells.append(Cell(name.replace("_", " "), picture.resize((side, side), Image.Resampling.LANCZOS)))
    return contact_sheet(in_rows(cells, columns))


def jpeg(picture: Image.Image) -> bytes:
    """Encode the picture as a JPEG of the best quality that keeps it within HEAVIEST_BYTES."""
    for quality in range(BEST_QUALITY, LEAST_QUALITY - 1, -1):
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=quality, optimize=True)
        if len(file.getvalue()) <= HEAVIEST_BYTES:
            break
    return file.getvalue()


if __name__ == "__main__":
    main()
