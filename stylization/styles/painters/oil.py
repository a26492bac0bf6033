"""Oil: broad impasto strokes of a flat brush in autumn colors."""

from __future__ import annotations

import numpy as np

from stylization.styles.canvas import Canvas
from stylization.styles.fields import Array, noise, sample, scattered, streamlines
from stylization.styles.pigment import lit, palette, ramp, varied

AUTUMN = palette("221612", "5a2418", "a8401f", "dc7a2c", "efb557", "f7e6bf")
COOL = palette("10222a", "1f4a52", "4f8582", "9fbfae", "f0ead2")

LAYERS = [(46.0, 150.0, 34.0), (36.0, 125.0, 33.0), (26.0, 90.0, 44.0)]  # width, length and spacing in px at 640


def oil(size_px: int, rng: np.random.Generator) -> Array:
    """Lay strokes across slowly turning directions; warm and cool masses meet in hard edges of paint."""
    unit = size_px / 640.0
    angle = 0.7 + 0.8 * noise(size_px, 130 * unit, rng, 6.0)
    value = 0.5 + 0.26 * noise(size_px, 70 * unit, rng, 5.0)
    warmth = noise(size_px, 90 * unit, rng, 5.0)
    canvas = Canvas(size_px, AUTUMN[0])
    for width, length, spacing in LAYERS:
        x, y = scattered(size_px, spacing * unit, rng)
        paths = streamlines(
            (np.cos(angle), np.sin(angle)), x, y, length * unit * rng.uniform(0.7, 1.2, len(x)), steps=10
        )
        level = (sample(value, x, y) + rng.normal(0.0, 0.13, len(x))).clip(0.0, 1.0)
        warm = (sample(warmth, x, y) + rng.normal(0.0, 0.3, len(x)) > -0.25)[:, None]
        colors = varied(np.where(warm, ramp(AUTUMN, level), ramp(COOL, level)), rng, lightness=3.0, hue=3.0)
        for path, color in zip(paths, colors, strict=True):
            canvas.stroke(path, width * unit * rng.uniform(0.8, 1.15), color, rng, bristles=4, streak=0.08)
    return lit(canvas.color(), canvas.height(), depth=1.0, shine=0.12, soften_px=1.7 * unit)
