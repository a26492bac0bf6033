"""Ink: bold sumi brush strokes over gray washes on warm paper."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from stylization.styles.canvas import curve, mask, normals, rotation, tapered
from stylization.styles.fields import Array, noise, scattered, window
from stylization.styles.pigment import mixed, palette

PAPER, WASH, BLACK, SEAL = palette("efe3c8", "5d5851", "14110f", "b5291c")


def ink(size_px: int, rng: np.random.Generator) -> Array:
    """Lay washes, then broad strokes that run dry, then slim leaves and round blots, one in eight of them vermilion."""
    unit = size_px / 640.0
    color = np.broadcast_to(PAPER, (size_px, size_px, 3)) * (1.0 + 0.02 * noise(size_px, 80 * unit, rng))[..., None]

    def brush(
        x: float, y: float, length: float, width: float, angle: float, paint: Array, load: float, dry: bool
    ) -> None:
        path = _sweep(x, y, length * unit * rng.uniform(0.8, 1.2), angle, rng)
        part = window(size_px, x, y, 0.9 * length * unit)
        stroke = _stroke(part, path, width * unit * rng.uniform(0.8, 1.2), rng, dry)
        soft = ndimage.gaussian_filter(stroke, 0.8 * unit)
        # A pale wash dries with a darker rim.
        rim = soft * (1.0 - ndimage.gaussian_filter(stroke, 6 * unit))
        color[part] = mixed(color[part], paint, (load * soft + (1.0 - load) * rim).clip(0.0, 1.0))

    for x, y in zip(*scattered(size_px, 170 * unit, rng), strict=True):
        brush(x, y, 220.0, 84.0, rng.normal(-0.5, 0.5), WASH, rng.uniform(0.25, 0.6), False)
    for x, y in zip(*scattered(size_px, 165 * unit, rng, jitter=0.35), strict=True):
        brush(x, y, 230.0, 40.0, rng.normal(-0.8, 0.6), BLACK, 0.98, True)
    for i, (x, y) in enumerate(zip(*scattered(size_px, 118 * unit, rng), strict=True)):
        paint = SEAL if i % 8 == 5 else BLACK
        if i % 3:
            brush(x, y, 125.0, 20.0, rng.normal(0.9, 0.5), paint, 0.98, False)
        else:
            brush(x, y, 34.0, 30.0, 0.0, paint, 0.98, False)
    return color


def _sweep(x: float, y: float, length: float, angle: float, rng: np.random.Generator) -> Array:
    """Return a bent path through a point."""
    along = np.linspace(-0.5, 0.5, 5)
    bend = rng.choice([-1.0, 1.0]) * rng.uniform(0.05, 0.3)
    knots = length * np.stack([along, bend * (along**2 * 4.0 - 0.5) + rng.normal(0.0, 0.02, 5)], axis=-1)
    return curve(knots @ rotation(angle) + np.array([x, y]))


def _stroke(part: tuple[slice, slice], path: Array, width: float, rng: np.random.Generator, dry: bool) -> Array:
    """Return the mask of one stroke: it lands round, swells and lifts; a dry one parts into broad hairs."""
    at = np.linspace(0.0, 1.0, len(path))
    pressure = np.sqrt(np.sin(np.pi * at**0.75).clip(0.0)) * (0.9 + 0.15 * np.sin(6.0 * at + 6.3 * rng.random()))
    widths = width * pressure * np.where(at > 0.5, 1.2 - 0.4 * at, 1.0)
    stroke = mask(part, tapered(path, widths))
    if not dry:
        return stroke
    gaps = []
    for side in rng.permutation([-0.33, -0.12, 0.1, 0.3])[:3]:
        hair = path[int(len(path) * rng.uniform(0.45, 0.75)) :]
        tail = widths[-len(hair) :]
        gaps.append(
            tapered(hair + side * tail[:, None] * normals(hair), 0.2 * tail.max() * np.linspace(0.05, 1.0, len(hair)))
        )
    return stroke * (1.0 - mask(part, *gaps))
