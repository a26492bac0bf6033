"""Woodcut: tapered gouges through black, over flat areas of cream, vermilion, ochre and teal."""

from __future__ import annotations

import numpy as np

from stylization.styles.canvas import Canvas, tapered
from stylization.styles.fields import Array, cells, noise, scattered, smoothstep, streamlines, warped
from stylization.styles.pigment import mixed, palette

BLACK = palette("16120f")[0]
INKS = palette("f2e6c8", "c83a22", "f2e6c8", "e0a13a", "2f6f6c")


def woodcut(size_px: int, rng: np.random.Generator) -> Array:
    """Cut the block along a flow that turns from one area to the next; a black line divides the areas."""
    unit = size_px / 640.0
    bent = warped(size_px, rng, (26 * unit, 110 * unit))
    x, y = scattered(size_px, 145 * unit, rng, jitter=0.38)
    area, edge = cells(*bent, np.stack([x, y], axis=-1))
    inks = INKS[np.arange(len(x)) % len(INKS)]

    # The direction of the knife belongs to the area; the noise bends the cuts within it.
    angle = rng.uniform(0.0, np.pi, len(x))[area] + 0.35 * noise(size_px, 70 * unit, rng, 6.0)
    knife = np.cos(angle), np.sin(angle)
    cuts = Canvas(size_px, np.zeros(3))
    at_x, at_y = scattered(size_px, 31 * unit, rng, jitter=0.22)
    for path in streamlines(knife, at_x, at_y, unit * rng.uniform(80.0, 135.0, len(at_x)), steps=16):
        at = np.linspace(0.0, 1.0, len(path))
        widths = unit * rng.uniform(11.0, 16.5) * np.sin(np.pi * at**0.7) ** 0.8
        cuts.polygon(tapered(path, widths), np.ones(3))
    cut = cuts.color()[..., 0] * smoothstep(2.5 * unit, 3.5 * unit, edge)
    return mixed(BLACK, inks[area], cut)
