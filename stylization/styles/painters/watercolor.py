"""Watercolor: wet washes with dark edges and blooms, on white paper."""

from __future__ import annotations

import numpy as np

from stylization.styles.fields import Array, noise, sample, scattered, smoothstep, window
from stylization.styles.pigment import palette

PAPER = palette("fbf7ee")[0]
# Neighbors mix without turning to mud.
PIGMENTS = palette("2f74b8", "3fa9a4", "8fb84e", "efb043", "e5763f", "d65a80", "7f5dab")
DARK = palette("2c4682")[0]
# Spacing and radius of washes in px at 640, load of pigment, and share of dark ones.
LAYERS = [(170.0, 86.0, 0.6, 0.0), (140.0, 54.0, 0.85, 0.12), (120.0, 30.0, 1.15, 0.25)]


def watercolor(size_px: int, rng: np.random.Generator) -> Array:
    """Lay transparent washes of three sizes; where they overlap, their pigments add up."""
    unit = size_px / 640.0
    shore = 15.0 * unit * noise(size_px, 42 * unit, rng, 5.0) + 3.0 * unit * noise(size_px, 12 * unit, rng, 5.0)
    settled = 1.0 + 0.12 * noise(size_px, 28 * unit, rng, 4.0)
    hue = noise(size_px, 130 * unit, rng, 5.0)
    absorbed = np.zeros((size_px, size_px, 3))
    for spacing, radius, load, dark in LAYERS:
        for x, y in zip(*scattered(size_px, spacing * unit, rng), strict=True):
            tone = sample(hue, np.array([x]), np.array([y]))[0] + rng.normal(0.0, 0.6)
            pigment = DARK if rng.random() < dark else PIGMENTS[round(3.0 + 1.6 * tone) % len(PIGMENTS)]
            shore = np.roll(shore, rng.integers(size_px, size=2), axis=(0, 1))
            part = window(size_px, x, y, (2.2 * radius + 60.0) * unit)
            roughness = min(1.0, radius / 45.0)
            density = _wash(x, y, radius * unit, part, roughness * shore[part], unit, rng)
            density *= load * rng.uniform(0.6, 1.2)
            absorbed[part] -= density[..., None] * np.log(pigment.clip(0.03, 0.97))
    painting: Array = PAPER * np.exp(-absorbed * settled[..., None])
    return painting.clip(0.0, 1.0)


def _wash(
    x: float, y: float, radius: float, part: tuple[slice, slice], shore: Array, unit: float, rng: np.random.Generator
) -> Array:
    """Return the density of a wash: it deepens to one side and at the rim, and a bloom has pushed its pigment aside."""
    row, column = np.ogrid[part]
    across, down = column - x, row - y
    stretch, turn = rng.uniform(1.1, 2.1), rng.uniform(0.0, np.pi)
    along, aside = np.cos(turn) * across + np.sin(turn) * down, np.cos(turn) * down - np.sin(turn) * across
    shape = np.hypot(along / stretch, aside * stretch**0.3) - radius + shore
    wash = smoothstep(1.5 * unit, -1.5 * unit, shape)
    rim = np.exp(-((shape / (5.0 * unit)) ** 2))
    angle = rng.uniform(0.0, 2.0 * np.pi)
    settling = 0.55 + 0.3 * (np.cos(angle) * across + np.sin(angle) * down) / radius
    bloom_x, bloom_y = 0.5 * radius * np.cos(angle), 0.5 * radius * np.sin(angle)
    bloom = np.hypot(across - bloom_x, down - bloom_y) - 0.42 * radius - 0.8 * shore
    washed_out = 0.65 * smoothstep(0.0, -14.0 * unit, bloom)
    bloom_rim = 0.30 * np.exp(-((bloom / (4.5 * unit)) ** 2))
    density: Array = wash * (settling.clip(0.25, 1.0) * (1.0 - washed_out) + 0.55 * rim + bloom_rim)
    return density
