"""Thick oil paint laid with a bristle brush along a turbulent flow."""

from __future__ import annotations

import numpy as np

from stylization.styles.canvas import Canvas
from stylization.styles.fields import Array, flow, noise, plane, sample, scattered, streamlines
from stylization.styles.pigment import lit, palette, ramp, toned, varied

NIGHT = palette("0a1436", "12286b", "1d47a3", "3a78c4", "7fb0d8", "c9dccb", "f3e3a0", "f2bd3a")
STOPS = [0.0, 0.20, 0.40, 0.56, 0.70, 0.80, 0.90, 1.0]
ACCENTS = palette("f6c22f", "e8862a", "fff3c4", "1f8f8a", "5a3f93", "0b1030")

# Brush width, stroke length and spacing in px at 640, from the underpainting to the last touches.
LAYERS = [(26.0, 120.0, 17.0), (15.0, 90.0, 11.0), (9.5, 62.0, 10.5)]

SPIRAL = 0.16


def swirl(size_px: int, rng: np.random.Generator) -> Array:
    """Impasto: blues and golds driven around vortices by a curl-noise current."""
    unit = size_px / 640.0
    potential, tone = _weather(size_px, rng)
    # Turned a little off the contour lines, the closed rings of the vortices open into spirals.
    right, down = flow(potential)
    current = right - SPIRAL * down, down + SPIRAL * right
    canvas = Canvas(size_px, NIGHT[0])
    for width, length, spacing in LAYERS:
        x, y = scattered(size_px, spacing * unit, rng)
        lengths = length * unit * rng.uniform(0.6, 1.3, len(x))
        paths = streamlines(current, x, y, lengths, steps=14)
        widths = width * unit * rng.uniform(0.7, 1.25, len(x))
        # A touch of the tone's own noise keeps neighbouring strokes apart.
        value = sample(tone, x, y) + rng.normal(0.0, 0.075, len(x))
        colours = varied(ramp(NIGHT, value.clip(0.0, 1.0), STOPS), rng, lightness=5.0, hue=5.0)
        accented = rng.random(len(x)) < 0.06
        colours[accented] = ACCENTS[rng.integers(len(ACCENTS), size=int(accented.sum()))]
        for path, stroke_width, colour in zip(paths, widths, colours, strict=True):
            _stroke(canvas, path, stroke_width, colour, unit, rng)
    colour = toned(canvas.colour(), 0.03 * noise(size_px, 1.5 * unit, rng, 2.0))
    return lit(colour, canvas.height() * unit, depth=1.0, shine=0.2, soften_px=0.75 * unit)


def _weather(size_px: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """The stream function of the flow, and the tone of the paint it carries (0 dark, 1 gold)."""
    unit = size_px / 640.0
    x, y = plane(size_px)
    potential = 0.55 * y + 30 * unit * noise(size_px, 120 * unit, rng, 6.0)
    tone = 0.36 + 0.14 * noise(size_px, 70 * unit, rng, 5.0)
    vortices = [
        (0.30, 0.30, 150, 1), (0.74, 0.52, 125, -1), (0.80, 0.15, 74, 1),
        (0.24, 0.76, 92, -1), (0.54, 0.86, 80, 1), (0.08, 0.08, 58, -1),
        (0.93, 0.86, 72, 1), (0.53, 0.13, 46, -1), (0.05, 0.52, 50, 1),
    ]  # fmt: skip
    for centre_x, centre_y, radius, sense in vortices:
        distance = np.hypot(x - centre_x * size_px, y - centre_y * size_px) / (radius * unit)
        reach = np.exp(-(distance**2))
        potential += 1.9 * sense * radius * unit * reach
        # The rings wind inwards a little, so that they read as one spiralling band.
        bearing = np.arctan2(y - centre_y * size_px, x - centre_x * size_px)
        rings = np.cos(2.0 * np.pi * distance * max(1.6, radius / 44.0) - sense * bearing)
        near = np.exp(-((distance / 0.95) ** 4))
        tone += near * (0.26 * rings + 0.15) + 0.85 * np.exp(-((distance / 0.30) ** 2))
    streaks = np.sin(potential / (9.5 * unit)) * 0.10
    return potential, (tone + streaks).clip(0.0, 1.0)


def _stroke(canvas: Canvas, path: Array, width: float, colour: Array, unit: float, rng: np.random.Generator) -> None:
    """One loaded brush drawn along a path: bristles side by side, each with its own paint."""
    bristles = max(5, round(width / (1.15 * unit)))
    along = np.gradient(path, axis=0)
    normal = np.stack([-along[:, 1], along[:, 0]], axis=-1)
    normal /= np.hypot(*normal.T)[:, None] + 1e-9
    side = np.linspace(-0.5, 0.5, bristles)
    # Paint is pushed up into a ridge at the sides of the stroke and at its end.
    load = rng.uniform(2.0, 3.6) + 1.5 * np.abs(2.0 * side) ** 3 + rng.normal(0.0, 0.85, bristles)
    streak = 1.0 + rng.normal(0.0, 0.085, bristles) - 0.12 * (2.0 * np.abs(side)) ** 4
    # The brush lands and lifts on its middle, so the stroke has round, ragged ends.
    trim = 1.6 * (2.0 * side) ** 2
    start = (trim + rng.uniform(0.0, 2.0, bristles)).astype(int)
    stop = len(path) - (trim + rng.uniform(0.0, 2.6, bristles)).astype(int)
    for i in rng.permutation(bristles):
        hair = (path + width * side[i] * normal)[start[i] : stop[i]]
        canvas.line(hair, (colour * streak[i]).clip(0.0, 1.0), 1.9 * unit, float(load[i]))
