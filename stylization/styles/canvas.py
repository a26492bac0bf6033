"""A canvas for polygons, lines and brush strokes that records how thick the paint is, and curves to draw with."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw
from scipy.interpolate import CubicSpline

from stylization.styles.fields import Array


class Canvas:
    """Color and thickness of the paint, both changed by the same marks. The ground is a color or a picture."""

    def __init__(self, size_px: int, ground: Array) -> None:
        pixels = np.broadcast_to((ground * 255.0).round().clip(0.0, 255.0).astype(np.uint8), (size_px, size_px, 3))
        self._color = Image.fromarray(np.ascontiguousarray(pixels))
        self._height = Image.new("F", (size_px, size_px), 0.0)
        self._brush = ImageDraw.Draw(self._color)
        self._relief = ImageDraw.Draw(self._height)

    def polygon(self, points: Array, color: Array, height: float = 0.0) -> None:
        """Fill the polygon with the corners (n, 2)."""
        path = _path(points)
        self._brush.polygon(path, fill=_rgb(color))
        self._relief.polygon(path, fill=height)

    def line(self, points: Array, color: Array, width_px: float, height: float = 0.0) -> None:
        """Draw a line of even width with round ends through the points (n, 2)."""
        path, width = _path(points), max(1, round(width_px))
        self._brush.line(path, fill=_rgb(color), width=width, joint="curve")
        self._relief.line(path, fill=height, width=width, joint="curve")
        for x, y in (path[0], path[-1]):
            self.dot(x, y, 0.5 * width_px, color, height)

    def dot(self, x: float, y: float, radius_px: float, color: Array, height: float = 0.0) -> None:
        """Fill a circle."""
        box = (x - radius_px, y - radius_px, x + radius_px, y + radius_px)
        self._brush.ellipse(box, fill=_rgb(color))
        self._relief.ellipse(box, fill=height)

    def stroke(
        self,
        path: Array,
        width_px: float,
        color: Array,
        rng: np.random.Generator,
        bristles: int = 5,
        streak: float = 0.1,
    ) -> None:
        """Draw one loaded brush along a path: broad bristles side by side, with round and slightly ragged ends.

        `streak` is the relative deviation of the paint between bristles. The paint is thickest at the sides.
        """
        path = curve(path)
        normal = normals(path)
        edges = np.linspace(-0.5, 0.5, bristles + 1) * width_px
        middle = np.abs(np.linspace(-1.0, 1.0, bristles))
        step = np.hypot(*(path[-1] - path[0])) / len(path) + 0.02 * width_px
        trim = width_px * (0.30 * middle**2 + rng.uniform(0.0, 0.20, (2, bristles))) / step
        trim = trim.clip(0.0, len(path) / 3)
        for i in rng.permutation(bristles):
            first, last = int(trim[0, i]), len(path) - int(trim[1, i])
            near, far = (path[first:last] + edge * normal[first:last] for edge in (edges[i], 1.04 * edges[i + 1]))
            paint = (color * (1.0 + rng.normal(0.0, streak))).clip(0.0, 1.0)
            load = 0.10 * width_px * (0.6 + 0.5 * middle[i] + rng.uniform(0.0, 0.4))
            self.polygon(np.vstack([near, far[::-1]]), paint, load)

    def color(self) -> Array:
        """Return the color of the paint, (h, w, 3) in [0, 1]."""
        return np.asarray(self._color, dtype=np.float64) / 255.0

    def height(self) -> Array:
        """Return the thickness of the paint, (h, w)."""
        return np.asarray(self._height, dtype=np.float64)


def mask(part: tuple[slice, slice], *polygons: Array) -> Array:
    """Return a field over a window of the picture that is 1 inside any of the polygons and 0 outside."""
    rows, columns = part
    sheet = Image.new("L", (max(1, columns.stop - columns.start), max(1, rows.stop - rows.start)), 0)
    brush = ImageDraw.Draw(sheet)
    for points in polygons:
        brush.polygon(_path(points - np.array([columns.start, rows.start])), fill=1)
    return np.asarray(sheet, dtype=np.float64)[: rows.stop - rows.start, : columns.stop - columns.start]


def normals(path: Array) -> Array:
    """Return the unit vectors (n, 2) at right angles to a path."""
    along = np.gradient(path, axis=0)
    normal: Array = np.stack([-along[:, 1], along[:, 0]], axis=-1)
    normal /= np.hypot(normal[:, 0], normal[:, 1])[:, None] + 1e-9
    return normal


def tapered(path: Array, widths_px: Array) -> Array:
    """Return the outline of a stroke: a curve (n, 2) thickened by a width at each point."""
    offset = 0.5 * widths_px[:, None] * normals(path)
    return np.vstack([path + offset, (path - offset)[::-1]])


def curve(knots: Array, count: int = 60) -> Array:
    """Return a smooth curve (count, 2) through the knots."""
    at = np.concatenate([[0.0], np.hypot(*np.diff(knots, axis=0).T).cumsum()])
    points: Array = CubicSpline(at, knots)(np.linspace(0.0, at[-1], count))
    return points


def spiral(x: float, y: float, radius_px: float, turns: float, start: float, count: int = 80) -> Array:
    """Return a spiral (count, 2) from its rim to its center; negative turns wind the other way."""
    at = np.linspace(0.0, 1.0, count)
    angle = start + 2.0 * np.pi * turns * at
    distance = radius_px * (1.0 - at) ** 0.85
    return np.stack([x + distance * np.cos(angle), y + distance * np.sin(angle)], axis=-1)


def ellipse(x: float, y: float, radius_px: float, flatness: float = 1.0, turn: float = 0.0, count: int = 48) -> Array:
    """Return the outline (count, 2) of a turned ellipse."""
    angle = np.linspace(0.0, 2.0 * np.pi, count, endpoint=False)
    points = radius_px * np.stack([np.cos(angle), flatness * np.sin(angle)], axis=-1)
    placed: Array = points @ rotation(turn) + np.array([x, y])
    return placed


def rotation(angle: float) -> Array:
    """Return the matrix that turns row vectors by an angle in radians, clockwise on the screen."""
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def _rgb(color: Array) -> tuple[int, int, int]:
    red, green, blue = (np.asarray(color) * 255.0).round().clip(0, 255).astype(int).tolist()
    return red, green, blue


def _path(points: Array) -> list[tuple[float, float]]:
    return [(x, y) for x, y in points.tolist()]
