"""Candy: glossy rings and lollipops among dark curls, on soft clouds of yellow and blue."""

from __future__ import annotations

import numpy as np

from stylization.styles.canvas import Canvas, spiral, tapered
from stylization.styles.fields import Array, noise, packed_circles, smoothstep, warped, window
from stylization.styles.pigment import lit, mixed, palette, ramp

CLOUDS = palette("3f7fb8", "8fc3e0", "f4efe6", "f6d78a", "e8a93a")
CHOCOLATE = palette("32121a")[0]
# Colors of a sweet's rings from the rim inwards.
RINGS = [
    palette("3a0f1a", "a3182c", "d83a3f", "f3a9b4", "fbe9dc", "e3b23c"),
    palette("c9982c", "f6dc6a", "fdf3c4", "b81f36", "7d1226"),
    palette("faf0ee", "f0b6c4", "c83a5a", "4a1024", "e8c04a"),
    palette("5a2a5e", "a678b4", "f2dcea", "d83a3f", "fbe9dc"),
    palette("7d1226", "e86a3a", "fbe6b8", "3f7fb8", "173a66"),
]
LOLLIPOPS = [
    palette("d83a3f", "fbeee0"),
    palette("e8a93a", "8f1c30"),
    palette("4a8cc4", "fbf3e6"),
    palette("e58aa4", "7d1226"),
]


def candy(size_px: int, rng: np.random.Generator) -> Array:
    """Paint clouds, then curls, then sweets of four sizes; two in three are rings, the others lollipops."""
    unit = size_px / 640.0
    x, y = warped(size_px, rng, (5 * unit, 50 * unit))
    cloud = 0.5 + 0.30 * noise(size_px, 85 * unit, rng, 5.0)
    color = ramp(CLOUDS, cloud.clip(0.0, 1.0))
    radii = [92.0] * 2 + [68.0] * 5 + [46.0] * 12 + [30.0] * 22 + [19.0] * 24
    sweets = packed_circles(size_px, [radius * unit for radius in radii], rng, gap_px=8 * unit, tries=250)
    vines = _vines(size_px, rng)
    color = mixed(color, CHOCOLATE, vines)
    height = 3.0 * unit * vines
    for i, (center_x, center_y, radius) in enumerate(sweets):
        part = window(size_px, center_x, center_y, 1.3 * radius)
        across, down = x[part] - center_x, y[part] - center_y
        paint, dome, inside = _sweet(across, down, radius, i, unit, rng)
        color[part] = mixed(color[part], paint, inside)
        height[part] = height[part] * (1.0 - inside) + dome * inside
    return lit(color, height, depth=0.55, shine=0.30, soften_px=2.2 * unit)


def _vines(size_px: int, rng: np.random.Generator) -> Array:
    """Return the mask of tapered curls that fill the ground."""
    unit = size_px / 640.0
    canvas = Canvas(size_px, np.zeros(3))
    for _ in range(46):
        center_x, center_y = rng.uniform(0.0, size_px, 2)
        turns = rng.choice([-1.0, 1.0]) * rng.uniform(1.1, 1.7)
        path = spiral(center_x, center_y, rng.uniform(38.0, 75.0) * unit, turns, rng.uniform(0.0, 6.3))
        canvas.polygon(tapered(path, np.linspace(17.0, 5.0, len(path)) * unit), np.ones(3))
        canvas.dot(path[-1, 0], path[-1, 1], 5.0 * unit, np.ones(3))
    return canvas.color()[..., 0]


def _sweet(
    x: Array, y: Array, radius: float, number: int, unit: float, rng: np.random.Generator
) -> tuple[Array, Array, Array]:
    """Return the paint, the height and the mask of one sweet from coordinates about its center."""
    distance, bearing = np.hypot(x, y), np.arctan2(y, x) / (2.0 * np.pi)
    inside = smoothstep(0.6 * unit, -0.6 * unit, distance - radius)
    depth = (1.0 - distance / radius).clip(0.0, 1.0)
    dome = 0.35 * radius * np.sqrt(depth)
    if number % 3 == 2 and radius > 25 * unit:
        first, second = LOLLIPOPS[number // 3 % len(LOLLIPOPS)]
        turn = 2.4 * distance / radius + rng.choice([-1, 1]) * bearing * 2.0 + rng.random()
        band = np.abs((turn % 1.0) - 0.5) - 0.25
        paint = mixed(first, second, smoothstep(-0.03, 0.03, band))
        rim = smoothstep(0.12, 0.09, depth)
        return mixed(paint, CHOCOLATE, rim), dome + 2.0 * unit * np.cos(4.0 * np.pi * turn), inside
    colors = RINGS[int(rng.integers(len(RINGS)))]
    count = len(colors) if radius > 40 * unit else 4 if radius > 25 * unit else 3
    at = depth * count * (0.9 + 0.1 * rng.random()) + 0.07 * np.sin(2.0 * np.pi * (2.0 * bearing + rng.random()))
    ring = np.floor(at).astype(int).clip(0, count - 1)
    ridge = np.sin(np.pi * (at % 1.0)) * 0.05 * radius
    return colors[ring], dome + ridge, inside
