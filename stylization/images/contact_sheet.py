"""Contact sheets: pictures in rows on white, each below its caption."""

from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

GAP_PX = 6
FONT_SHARE = 0.6  # of a caption's height


class Cell(NamedTuple):
    """A picture of a contact sheet and its caption, empty for none."""

    caption: str
    picture: Image.Image


def contact_sheet(rows: Sequence[Sequence[Cell]], caption_px: int = 26) -> Image.Image:
    """Lay out the rows, all cells as large as the largest picture.

    A row without a caption takes no space for one; captions that are too wide are set in smaller letters.
    """
    pictures = [cell.picture for row in rows for cell in row]
    width, height = max(x.width for x in pictures), max(x.height for x in pictures)
    captions_px = [caption_px if any(cell.caption for cell in row) else 0 for row in rows]
    num_columns = max(len(row) for row in rows)
    size = num_columns * (width + GAP_PX) - GAP_PX, sum(captions_px) + len(rows) * (height + GAP_PX) - GAP_PX
    canvas = Image.new("RGB", size, "white")
    draw, top = ImageDraw.Draw(canvas), 0
    for row, heading_px in zip(rows, captions_px, strict=True):
        for column, cell in enumerate(row):
            left = column * (width + GAP_PX)
            font = _fitting(cell.caption, FONT_SHARE * caption_px, width)
            draw.text((left + width / 2, top + heading_px / 2), cell.caption, "black", font, anchor="mm")
            canvas.paste(cell.picture, (left, top + heading_px))
        top += heading_px + height + GAP_PX
    return canvas


def in_rows(cells: Sequence[Cell], num_columns: int) -> list[tuple[Cell, ...]]:
    """The cells in rows of `num_columns`; the last may be shorter."""
    return [tuple(cells[start : start + num_columns]) for start in range(0, len(cells), num_columns)]


def _fitting(text: str, size_px: float, width_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    font = ImageFont.load_default(size=size_px)
    length = font.getlength(text)
    return font if length <= width_px else ImageFont.load_default(size=size_px * width_px / length)
