"""Constructivist poster: large planes, discs and wedges about two diagonals, in few inks."""

from __future__ import annotations

import numpy as np

from stylization.styles.canvas import ellipse, mask, rotation
from stylization.styles.fields import Array, plane, scattered, window
from stylization.styles.pigment import mixed, palette, toned

PAPER = palette("efe2c6")[0]
RED, BLACK, MUSTARD, CREAM, SLATE, BRICK = palette("cc2b1f", "171412", "dea02c", "f6ecd4", "77868a", "7f1c18")
DIAGONAL, COUNTER = -0.62, 0.95  # the two directions of the composition, in radians


def constructivist(size_px: int, rng: np.random.Generator) -> Array:
    """Print overlapping planes, each airbrushed a little darker towards one end."""
    unit = size_px / 640.0
    x, y = plane(size_px)
    color = np.broadcast_to(PAPER, (size_px, size_px, 3)).copy()
    spacings = (165.0, 150.0, 132.0)
    shapes = (_quarter, _disc, _bar)
    inks = ([BRICK, SLATE, MUSTARD, CREAM, RED], [BLACK, RED, CREAM, MUSTARD], [BLACK, RED, BLACK, CREAM, MUSTARD])
    for spacing, shape, colors in zip(spacings, shapes, inks, strict=True):
        for i, (at_x, at_y) in enumerate(zip(*scattered(size_px, spacing * unit, rng, jitter=0.4), strict=True)):
            turn = DIAGONAL if rng.random() < 0.6 else COUNTER
            part = window(size_px, at_x, at_y, 170 * unit)
            along = ((x[part] - at_x) * np.cos(turn) + (y[part] - at_y) * np.sin(turn)) / (170 * unit)
            for j, (points, hole) in enumerate(shape(unit, i, rng)):
                outer, inner = (outline @ rotation(turn) + np.array([at_x, at_y]) for outline in (points, hole))
                cover = mask(part, outer) * (1.0 - mask(part, inner))
                tint = toned(colors[(i + j) % len(colors)], -0.16 * along)
                color[part] = mixed(color[part], tint, cover)
    return color


Pieces = list[tuple[Array, Array]]  # outline and hole of each piece, about the origin
NO_HOLE = np.full((3, 2), -1e4)  # far outside the picture


def _box(length: float, width: float, shift: float = 0.0) -> Array:
    return np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)]) * (length, width) + (0.0, shift)


def _quarter(unit: float, number: int, rng: np.random.Generator) -> Pieces:
    """Return a large plane or wedge of the ground."""
    length, width = rng.uniform(200.0, 300.0) * unit, rng.uniform(95.0, 150.0) * unit
    if number % 3 == 0:
        return [(np.array([(-0.5 * length, 0.0), (0.5 * length, -0.5 * width), (0.5 * length, 0.5 * width)]), NO_HOLE)]
    return [(_box(length, width), NO_HOLE)]


def _disc(unit: float, number: int, rng: np.random.Generator) -> Pieces:
    """Return a disc, a half disc, or a ring with a core."""
    radius = rng.uniform(38.0, 72.0) * unit
    circle = ellipse(0.0, 0.0, radius)
    if number % 3 == 0:
        return [(circle[: len(circle) // 2 + 1], NO_HOLE)]
    if number % 3 == 1:
        return [(circle, 0.62 * circle), (0.38 * circle, NO_HOLE)]
    return [(circle, NO_HOLE)]


def _bar(unit: float, number: int, rng: np.random.Generator) -> Pieces:
    """Return a long bar, two parallel bars, or an arrowhead."""
    length, width = rng.uniform(110.0, 220.0) * unit, rng.uniform(13.0, 22.0) * unit
    if number % 4 == 1:
        return [(_box(length, width, shift), NO_HOLE) for shift in (-width, width)]
    if number % 4 == 3:
        return [
            (np.array([(0.28 * length, 0.0), (-0.28 * length, -2.2 * width), (-0.28 * length, 2.2 * width)]), NO_HOLE)
        ]
    return [(_box(length, width), NO_HOLE)]
