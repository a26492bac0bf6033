"""Pointillism: large overlapping dabs of divided color in masses of light and shadow."""

from __future__ import annotations

import numpy as np

from stylization.styles.canvas import Canvas, ellipse
from stylization.styles.fields import Array, flow, noise, sample, scattered
from stylization.styles.pigment import lit, palette, varied

# From shadow to light; the colors of a row stand side by side and mix in the eye.
MASSES = [
    palette("1b1f5e", "2b3a8c", "123f5e", "4a2a78"),
    palette("2f5fa8", "3f7f8c", "5a4a9c", "2f8a6a"),
    palette("5fa04a", "7fb8b0", "c86a8a", "8fb84a"),
    palette("f0a03a", "e8743a", "f2c450", "e89aa8"),
    palette("fbe6a0", "f8d060", "fdf3d8", "f6b87a"),
]
LAYERS = [(32.0, 21.0), (28.0, 21.0), (24.0, 25.0)]  # length of a dab and spacing, in px at 640


def pointillism(size_px: int, rng: np.random.Generator) -> Array:
    """Cover the canvas three times with dabs along the contours of the masses, the first time in shadow."""
    unit = size_px / 640.0
    mass = noise(size_px, 85 * unit, rng, 5.0)
    right, down = flow(mass)
    canvas = Canvas(size_px, MASSES[0][0])
    for layer, (length, spacing) in enumerate(LAYERS):
        x, y = scattered(size_px, spacing * unit, rng)
        level = 2.3 + 1.45 * sample(mass, x, y) + rng.normal(0.0, 0.35, len(x)) - (0.8 if layer == 0 else 0.0)
        row = level.round().astype(int).clip(0, len(MASSES) - 1)
        pick = rng.choice(4, size=len(x), p=[0.42, 0.28, 0.15, 0.15])
        colors = varied(np.stack([MASSES[r][p] for r, p in zip(row, pick, strict=True)]), rng, lightness=2.5, hue=3.0)
        turns = np.arctan2(sample(down, x, y), sample(right, x, y)) + rng.normal(0.0, 0.25, len(x))
        for i in range(len(x)):
            radius = 0.5 * length * unit * rng.uniform(0.85, 1.15)
            canvas.polygon(ellipse(x[i], y[i], radius, 0.72, turns[i]), colors[i], 2.5 * unit * rng.uniform(0.6, 1.4))
    return lit(canvas.color(), canvas.height(), depth=0.6, soften_px=1.6 * unit)
