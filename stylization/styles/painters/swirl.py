"""Swirl: thick oil strokes wound into large spirals, blue and gold."""

from __future__ import annotations

import numpy as np

from stylization.styles.canvas import Canvas
from stylization.styles.fields import Array, flow, noise, packed_circles, plane, sample, scattered, streamlines
from stylization.styles.pigment import lit, palette, ramp, varied

NIGHT = palette("0b1638", "173a7c", "2f6bb0", "7fb2d2", "d9e3c8", "f6d873", "f0ac30")

# Brush width, stroke length and spacing in px at 640, from the underpainting to the last touches.
LAYERS = [(34.0, 120.0, 22.0), (19.0, 130.0, 21.0), (13.0, 90.0, 25.0)]

SPIRAL = 0.20  # how far the strokes turn off the circle, inwards


def swirl(size_px: int, rng: np.random.Generator) -> Array:
    """Drive strokes around vortices; bands of light and dark wind inwards with them."""
    unit = size_px / 640.0
    potential, tone = _vortices(size_px, rng)
    right, down = flow(potential)
    current = right - SPIRAL * down, down + SPIRAL * right
    canvas = Canvas(size_px, NIGHT[0])
    for width, length, spacing in LAYERS:
        x, y = scattered(size_px, spacing * unit, rng)
        lengths = length * unit * rng.uniform(0.7, 1.2, len(x))
        paths = streamlines(current, x, y, lengths, steps=14)
        value = sample(tone, x, y) + rng.normal(0.0, 0.05, len(x))
        colors = varied(ramp(NIGHT, value.clip(0.0, 1.0)), rng, lightness=4.0, hue=4.0)
        for path, color in zip(paths, colors, strict=True):
            canvas.stroke(path, width * unit * rng.uniform(0.8, 1.2), color, rng, bristles=3, streak=0.07)
    return lit(canvas.color(), canvas.height(), depth=1.0, shine=0.15, soften_px=1.6 * unit)


def _vortices(size_px: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return the stream function of the flow, and the tone of the paint: 0 is night, 1 is gold."""
    unit = size_px / 640.0
    x, y = plane(size_px)
    potential = 0.5 * y + 26 * unit * noise(size_px, 130 * unit, rng, 6.0)
    tone = 0.28 + 0.10 * noise(size_px, 80 * unit, rng, 5.0) + 0.20 * np.sin(potential / (12.0 * unit))
    radii = [r * unit for r in (122, 112, 100, 92, 84, 84, 72, 72, 60, 60, 60, 48, 48, 48)]
    for i, (center_x, center_y, radius) in enumerate(packed_circles(size_px, radii, rng, gap_px=-6 * unit, tries=600)):
        sense = 1.0 if i % 2 else -1.0
        across, down = x - center_x, y - center_y
        distance = np.hypot(across, down) / radius
        potential += 2.4 * sense * radius * np.exp(-(distance**2))
        # Two arms of light; the logarithm makes them follow strokes of constant inclination.
        arms = np.cos(2.0 * np.arctan2(down, across) - sense * 2.0 * np.log(distance + 0.05) / SPIRAL * 0.55)
        near = np.exp(-((distance / 1.02) ** 6))
        heart = np.exp(-((distance / 0.26) ** 2))
        tone = tone * (1.0 - near) + near * (0.42 + 0.30 * arms + 0.14 * (1.0 - distance)) + 0.5 * heart
    return potential, tone.clip(0.0, 1.0)
