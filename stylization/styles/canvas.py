"""A sheet to paint on with polygons, lines and dots, which remembers how thick the paint lies."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from stylization.styles.fields import Array


class Canvas:
    """Colour and thickness of the paint, both painted by the same marks."""

    def __init__(self, size_px: int, ground: Array) -> None:
        self._colour = Image.new("RGB", (size_px, size_px), _ink(ground))
        self._height = Image.new("F", (size_px, size_px), 0.0)
        self._brush = ImageDraw.Draw(self._colour)
        self._relief = ImageDraw.Draw(self._height)

    def polygon(self, points: Array, colour: Array, height: float = 0.0) -> None:
        """Fill the polygon with the corners (n, 2)."""
        path = _path(points)
        self._brush.polygon(path, fill=_ink(colour))
        self._relief.polygon(path, fill=height)

    def line(self, points: Array, colour: Array, width_px: float, height: float = 0.0) -> None:
        """Draw a line of even width through the points (n, 2)."""
        path, width = _path(points), max(1, round(width_px))
        self._brush.line(path, fill=_ink(colour), width=width, joint="curve")
        self._relief.line(path, fill=height, width=width, joint="curve")

    def dot(self, x: float, y: float, radius_px: float, colour: Array, height: float = 0.0) -> None:
        """Fill a circle."""
        box = (x - radius_px, y - radius_px, x + radius_px, y + radius_px)
        self._brush.ellipse(box, fill=_ink(colour))
        self._relief.ellipse(box, fill=height)

    def colour(self) -> Array:
        """The colour of the paint, (h, w, 3) in [0, 1]."""
        return np.asarray(self._colour, dtype=np.float64) / 255.0

    def height(self) -> Array:
        """The thickness of the paint, (h, w)."""
        return np.asarray(self._height, dtype=np.float64)


def mask(size_px: int, polygons: list[Array]) -> Array:
    """A field that is 1 inside any of the polygons and 0 outside."""
    sheet = Image.new("L", (size_px, size_px), 0)
    brush = ImageDraw.Draw(sheet)
    for points in polygons:
        brush.polygon(_path(points), fill=1)
    return np.asarray(sheet, dtype=np.float64)


def tapered(path: Array, widths_px: Array) -> Array:
    """The outline of a stroke: a curve (n, 2) thickened by a width at each point."""
    along = np.gradient(path, axis=0)
    normal = np.stack([-along[:, 1], along[:, 0]], axis=-1)
    normal /= np.hypot(normal[:, 0], normal[:, 1])[:, None] + 1e-9
    offset = 0.5 * widths_px[:, None] * normal
    return np.vstack([path + offset, (path - offset)[::-1]])


def _ink(colour: Array) -> tuple[int, int, int]:
    red, green, blue = (np.asarray(colour) * 255.0).round().clip(0, 255).astype(int).tolist()
    return red, green, blue


def _path(points: Array) -> list[tuple[float, float]]:
    return [(x, y) for x, y in points.tolist()]
