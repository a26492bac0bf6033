"""Woodcut: tapered gouges through black, over flat areas of cream, vermilion, ochre and teal."""

from __future__ import annotations

import numpy as np

from stylization.styles.canvas import Canvas, tapered
from stylization.styles.fields import Array, cells, flow, noise, scattered, smoothstep, streamlines, warped
from stylization.styles.pigment import mixed, palette

BLACK = palette("16120f")[0]
INKS = palette("f2e6c8", "f2e6c8", "c83a22", "e0a13a", "2f6f6c", "f2e6c8")


def woodcut(size_px: int, rng: np.random.Generator) -> Array:
    """Cut the block along a flow that turns from one area to the next; areas are divided by a thick black line."""
    unit = size_px / 640.0
    bent = warped(size_px, rng, (26 * unit, 110 * unit))
    x, y = scattered(size_px, 128 * unit, rng, jitter=0.38)
    area, edge = cells(*bent, np.stack([x, y], axis=-1))
    inks = INKS[rng.integers(len(INKS), size=len(x))]

    # The direction of the knife belongs to the area; the noise bends the cuts within it.
    angle = rng.uniform(0.0, np.pi, len(x))[area] + 0.35 * noise(size_px, 70 * unit, rng, 6.0)
    knife = np.cos(angle), np.sin(angle)
    cuts = Canvas(size_px, np.zeros(3))
    at_x, at_y = scattered(size_px, 24 * unit, rng, jitter=0.22)
    for path in streamlines(knife, at_x, at_y, unit * rng.uniform(60.0, 110.0, len(at_x)), steps=16):
        at = np.linspace(0.0, 1.0, len(path))
        widths = unit * rng.uniform(10.0, 15.0) * np.sin(np.pi * at**0.7) ** 0.8
        cuts.polygon(tapered(path, widths), np.ones(3))
    cut = cuts.color()[..., 0] * smoothstep(4.5 * unit, 5.5 * unit, edge)
    return mixed(BLACK, inks[area], cut)
