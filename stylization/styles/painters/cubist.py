"""Cubist: interpenetrating facets in ochre, gray and blue, light at one edge and contoured in black."""

from __future__ import annotations

import numpy as np

from stylization.styles.canvas import Canvas, curve, ellipse, mask, rotation, tapered
from stylization.styles.fields import Array, plane, scattered, window
from stylization.styles.pigment import mixed, palette

# Each facet turns from its first color, at the sharp edge, to its second, where it dissolves into what lies below.
FACETS = [
    palette("f4e6c2", "b58a4c"),
    palette("e2bf80", "6d5030"),
    palette("f1efe6", "7f8c90"),
    palette("232428", "5a6670"),
    palette("9db8c8", "2a4460"),
    palette("3d6284", "141e2c"),
    palette("c87a48", "5a2c1c"),
    palette("3a2a1e", "a88452"),
]
LINE = palette("120f0e")[0]
DIRECTIONS = (0.35, 1.25, -0.75)  # of the long sides, in radians
SPACINGS = (150.0, 116.0, 100.0)  # of three layers of facets, in px at 640


def cubist(size_px: int, rng: np.random.Generator) -> Array:
    """Overlap triangles, quadrangles and half discs of a few directions; the sharp edges have tapered contours."""
    unit = size_px / 640.0
    x, y = plane(size_px)
    color = np.broadcast_to(FACETS[0][1], (size_px, size_px, 3)).copy()
    lines = Canvas(size_px, np.zeros(3))
    for spacing in SPACINGS:
        for at_x, at_y in zip(*scattered(size_px, spacing * unit, rng), strict=True):
            radius = spacing * unit * rng.uniform(0.75, 1.15)
            turn = DIRECTIONS[rng.integers(3)] + rng.normal(0.0, 0.12) + np.pi * rng.integers(2)
            points = _facet(radius, rng) @ rotation(turn)
            part = window(size_px, at_x, at_y, 1.5 * radius)
            across = (np.cos(turn) * (y[part] - at_y) - np.sin(turn) * (x[part] - at_x)) / (0.55 * radius)
            fade = (0.5 + 0.5 * across).clip(0.0, 1.0)
            first, second = FACETS[rng.integers(len(FACETS))]
            inside = mask(part, points + np.array([at_x, at_y]))
            color[part] = mixed(color[part], mixed(first, second, fade), inside * (1.0 - 0.75 * fade**3))
            lines.polygon(points + np.array([at_x, at_y]), np.zeros(3))
            _contour(lines, points + np.array([at_x, at_y]), unit, rng)
    return mixed(color, LINE, lines.color()[..., 0])


def _facet(radius: float, rng: np.random.Generator) -> Array:
    """Return the outline of a facet about the origin, its sharp edge uppermost and its long side horizontal."""
    if rng.random() < 0.25:
        return ellipse(0.0, 0.0, 0.8 * radius)[24:] @ rotation(rng.normal(0.0, 0.2))
    corners = np.array([(-1.1, -0.5), (1.1, -0.55), (0.75, 0.55), (-0.6, 0.6)])
    if rng.random() < 0.35:
        corners = corners[[0, 1, 2 + int(rng.integers(2))]]
    return radius * (corners + rng.uniform(-0.22, 0.22, corners.shape))


def _contour(canvas: Canvas, points: Array, unit: float, rng: np.random.Generator) -> None:
    """Draw the sharp edge of a facet as a tapered line, and one more side."""
    widths = unit * np.linspace(rng.uniform(7.0, 10.0), 3.5, 40)
    if len(points) > 4:
        canvas.polygon(tapered(curve(points[::3], 40), widths), np.ones(3))
        return
    for i in (0, 1):
        canvas.polygon(tapered(np.linspace(points[i], points[i + 1], 40), widths), np.ones(3))
