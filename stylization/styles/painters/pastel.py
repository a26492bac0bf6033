"""Pastel: broad soft strokes of chalk on dark paper."""

from __future__ import annotations

import numpy as np

from stylization.styles.fields import Array, noise, plane, sample, scattered, smoothstep, window
from stylization.styles.pigment import mixed, palette, varied

PAPER = palette("231a30")[0]
CHALKS = palette("e8806a", "f6b8a0", "f5dc9c", "fbf1e2", "a4d4bc", "6fa8c8", "5f78b8", "8a64aa", "d890c0")
LAYERS = [(30.0, 140.0, 50.0), (26.0, 100.0, 58.0)]  # width, length and spacing of strokes in px at 640


def pastel(size_px: int, rng: np.random.Generator) -> Array:
    """Group strokes of one color and direction into patches; the dark paper shows between them."""
    unit = size_px / 640.0
    x, y = plane(size_px)
    hue = 4.5 + 1.8 * noise(size_px, 80 * unit, rng, 5.0)
    slant = -0.8 + 0.55 * noise(size_px, 120 * unit, rng, 6.0)
    wobble = noise(size_px, 40 * unit, rng, 5.0)
    tooth = noise(size_px, 9 * unit, rng, 5.0)
    color = np.broadcast_to(PAPER, (size_px, size_px, 3)).copy()
    for width, length, spacing in LAYERS:
        at_x, at_y = scattered(size_px, spacing * unit, rng)
        chalk = (sample(hue, at_x, at_y) + rng.normal(0.0, 0.35, len(at_x))).round().astype(int) % len(CHALKS)
        paints = varied(CHALKS[chalk], rng, lightness=4.0, hue=3.0)
        angles = sample(slant, at_x, at_y) + rng.normal(0.0, 0.12, len(at_x))
        for i in range(len(at_x)):
            half = 0.5 * length * unit * rng.uniform(0.6, 1.15)
            part = window(size_px, at_x[i], at_y[i], half + width * unit)
            across, down = x[part] - at_x[i], y[part] - at_y[i]
            along = np.cos(angles[i]) * across + np.sin(angles[i]) * down
            aside = np.cos(angles[i]) * down - np.sin(angles[i]) * across + 4.0 * unit * wobble[part]
            side = smoothstep(0.5 * width * unit, 0.36 * width * unit, np.abs(aside))
            end = smoothstep(half, 0.85 * half, np.abs(along))
            # The chalk skips in streaks four times as long as wide.
            start = rng.uniform(0.0, size_px, 2)
            streak = sample(tooth, along / 4.0 + start[0], aside + start[1])
            color[part] = mixed(color[part], paints[i], side * end * smoothstep(-1.5, -0.5, streak))
    return color
