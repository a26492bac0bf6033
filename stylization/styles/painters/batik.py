"""Batik: paisleys and leaves in indigo, brown and ochre, drawn in lines of bare cream cloth."""

from __future__ import annotations

import numpy as np

from stylization.styles.canvas import Canvas, rotation, tapered
from stylization.styles.fields import Array, noise, scattered, smoothstep
from stylization.styles.pigment import mixed, palette

INDIGO, BLUE, BROWN, OCHRE, CREAM, RUST = palette("14213f", "35608c", "4a2618", "c8893a", "f2e4c4", "9c4526")
DYES = [(BROWN, OCHRE, RUST), (BLUE, CREAM, INDIGO), (RUST, OCHRE, BROWN), (OCHRE, CREAM, BROWN)]


def batik(size_px: int, rng: np.random.Generator) -> Array:
    """Fill a ground of two dyes with curled paisleys, each with a lighter and a darker one inside."""
    unit = size_px / 640.0
    ground = mixed(INDIGO, BROWN, smoothstep(-0.04, 0.04, noise(size_px, 120 * unit, rng, 6.0)))
    canvas = Canvas(size_px, ground)
    for at_x, at_y in zip(*scattered(size_px, 115 * unit, rng, jitter=0.4), strict=True):
        _leaf(canvas, np.array([at_x, at_y]), unit, rng)
    for i, (at_x, at_y) in enumerate(zip(*scattered(size_px, 150 * unit, rng, jitter=0.28), strict=True)):
        _paisley(canvas, np.array([at_x, at_y]), DYES[i % len(DYES)], unit, rng)
    return canvas.color() * (1.0 + 0.05 * noise(size_px, 40 * unit, rng))[..., None]


def _paisley(
    canvas: Canvas, at: Array, dyes: tuple[Array, Array, Array], unit: float, rng: np.random.Generator
) -> None:
    """Draw a drop whose tail curls up, with an outline of cloth and two drops inside."""
    t = np.linspace(0.0, 1.0, 60)
    angle = rng.choice([-1.0, 1.0]) * (0.2 + 3.6 * t**2.2)
    step = np.stack([np.cos(angle), np.sin(angle)], axis=-1) * (1.2 - 0.5 * t)[:, None]
    path = step.cumsum(axis=0)
    path = (path - path[14]) * rng.uniform(3.7, 4.6) * unit @ rotation(rng.uniform(0.0, 2.0 * np.pi)) + at
    width = unit * rng.uniform(118.0, 140.0) * np.sqrt(t.clip(0.0, 0.3) / 0.3) * ((1.0 - t) / (1.0 - 0.3 * t)) ** 0.9
    first, second, third = dyes
    for shrink, color in ((-14.0, INDIGO), (0.0, CREAM), (16.0, first), (50.0, second), (70.0, third)):
        inner = (width - shrink * unit).clip(0.0)
        shown = inner > 3.0 * unit
        canvas.polygon(tapered(path[shown], inner[shown]), color)


def _leaf(canvas: Canvas, at: Array, unit: float, rng: np.random.Generator) -> None:
    """Draw a bent leaf of cloth with a dyed heart."""
    t = np.linspace(-1.0, 1.0, 24)
    path = unit * np.stack([56.0 * t, rng.uniform(-14.0, 14.0) * t**2], axis=-1) @ rotation(rng.uniform(0.0, 6.3)) + at
    width = 46.0 * unit * (1.0 - t**2)
    canvas.polygon(tapered(path, width), CREAM)
    canvas.polygon(tapered(path, (width - 18.0 * unit).clip(0.0)), BLUE if rng.random() < 0.5 else OCHRE)
