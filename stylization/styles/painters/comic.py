"""Comic: bursts, bubbles, bolts and discs in flat primaries with thick black outlines, over rays of speed."""

from __future__ import annotations

import numpy as np

from stylization.styles.canvas import Canvas, ellipse, rotation
from stylization.styles.fields import Array, cells, plane, scattered, smoothstep
from stylization.styles.pigment import mixed, palette

BLACK, RED, YELLOW, BLUE, WHITE, SKY = palette("111015", "d92b2b", "f7cd33", "1f52ae", "faf5e8", "79bfe0")
RAYS = [(SKY, WHITE), (YELLOW, WHITE), (BLUE, SKY), (RED, YELLOW)]
BOLT = np.array([(-0.25, -1.1), (0.5, -1.1), (0.12, -0.25), (0.6, -0.25), (-0.4, 1.2), (-0.05, 0.1), (-0.6, 0.1)])


def comic(size_px: int, rng: np.random.Generator) -> Array:
    """Fill panels with rays, then strew outlined shapes over them."""
    unit = size_px / 640.0
    canvas = Canvas(size_px, _panels(size_px, rng))
    for i, at in enumerate(np.stack(scattered(size_px, 142 * unit, rng, jitter=0.36), axis=-1)):
        for outline, color in _shape(i % 4, rng.uniform(48.0, 70.0) * unit, rng):
            points = outline + at
            canvas.polygon(points + np.array([6.0, 7.0]) * unit, BLACK)
            canvas.polygon(points, color)
            canvas.line(np.vstack([points, points[:2]]), BLACK, 7.5 * unit)
    return canvas.color()


def _panels(size_px: int, rng: np.random.Generator) -> Array:
    """Return wide rays in two colors from a point of each panel, parted by black lines."""
    unit = size_px / 640.0
    points = np.stack(scattered(size_px, 235 * unit, rng, jitter=0.3), axis=-1)
    x, y = plane(size_px)
    panel, edge = cells(x, y, points)
    bearing = np.arctan2(y - points[panel, 1], x - points[panel, 0]) / (2.0 * np.pi)
    odd = np.floor(bearing * 14.0 + rng.random()).astype(int) % 2
    picture = np.array(RAYS)[panel % len(RAYS), odd]
    return mixed(BLACK, picture, smoothstep(3.6 * unit, 4.2 * unit, edge))


def _shape(kind: int, radius: float, rng: np.random.Generator) -> list[tuple[Array, Array]]:
    """Return the outlines about the origin, from the bottom up, and their flat colors."""
    turn = rotation(rng.normal(0.0, 0.5))
    if kind == 0:
        count = int(rng.integers(9, 12))
        angle = np.arange(2 * count) * np.pi / count
        reach = radius * np.where(np.arange(2 * count) % 2, 0.62, 1.15) * rng.uniform(0.9, 1.15, 2 * count)
        burst = np.stack([reach * np.cos(angle), reach * np.sin(angle)], axis=-1)
        colors = (RED, YELLOW) if rng.random() < 0.5 else (YELLOW, RED)
        return [(1.1 * burst, colors[0]), (0.6 * burst, colors[1])]
    if kind == 1:
        angle = np.linspace(0.0, 2.0 * np.pi, 120, endpoint=False)
        reach = radius * (0.78 + 0.16 * np.abs(np.sin(3.5 * angle)))
        cloud = np.stack([1.25 * reach * np.cos(angle), 0.85 * reach * np.sin(angle)], axis=-1)
        return [(cloud @ turn, WHITE)]
    if kind == 2:
        return [(0.95 * radius * BOLT @ turn, YELLOW if rng.random() < 0.6 else WHITE)]
    colors = (BLUE, SKY) if rng.random() < 0.6 else (RED, WHITE)
    return [(ellipse(0.0, 0.0, 0.8 * radius), colors[0]), (ellipse(0.0, 0.0, 0.42 * radius), colors[1])]
