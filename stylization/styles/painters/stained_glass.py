"""Stained glass: large panes of glowing glass in thick dark lead."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from skimage.segmentation import find_boundaries

from stylization.styles.fields import Array, cells, noise, packed_circles, plane, scattered, smoothstep, warped
from stylization.styles.pigment import lit, mixed, palette, varied

FIELD = palette("1a4aa8", "2a74c4", "5fb0dc", "147a7c", "2f9464", "5a379a", "b4dce4", "a4d4b8")
ROSES = [
    palette("f6c445", "c22030", "f8e6b0", "b0306a", "e8842a"),
    palette("f3e6c0", "e8842a", "8c1c34", "f6c445", "2e9a6a"),
    palette("c22030", "f8dc8a", "2a57b0", "f3e6c0", "8c1c34"),
]
LEAD = palette("15120f")[0]


def stained_glass(size_px: int, rng: np.random.Generator) -> Array:
    """Set rose windows in a field of bent panes; the glass is brighter at the heart of each pane."""
    unit = size_px / 640.0
    bent = warped(size_px, rng, (16 * unit, 90 * unit))
    pane, _ = cells(*bent, np.stack(scattered(size_px, 90 * unit, rng, jitter=0.34), axis=-1))
    tint = FIELD[rng.integers(len(FIELD), size=pane.max() + 1)][pane]
    x, y = plane(size_px)
    radii = [r * unit for r in (128, 104, 84, 84, 62, 62, 62)]
    for i, circle in enumerate(packed_circles(size_px, radii, rng, gap_px=26 * unit, tries=300)):
        piece, colors, inside = _rose(x, y, circle, i)
        pane = np.where(inside, 10_000 * (i + 1) + piece, pane)
        tint = np.where(inside[..., None], colors, tint)

    number = np.unique(pane, return_inverse=True)[1].reshape(pane.shape)
    shift = varied(np.full((number.max() + 1, 3), 0.5), rng, lightness=6.0, hue=6.0) - 0.5
    lead = ndimage.distance_transform_edt(~find_boundaries(number)) - 3.4 * unit
    heart = smoothstep(0.0, 16 * unit, lead)
    light = 0.68 + 0.46 * heart + 0.07 * noise(size_px, 34 * unit, rng)
    glass = ((tint + shift[number]).clip(0.02, 1.0) ** 1.15 * light[..., None]).clip(0.0, 1.0)
    color = mixed(LEAD, glass, smoothstep(-0.5 * unit, 0.7 * unit, lead))
    return lit(color, 1.2 * unit * smoothstep(0.0, -3.4 * unit, lead), depth=0.8, soften_px=0.8 * unit)


def _rose(x: Array, y: Array, circle: Array, number: int) -> tuple[np.ndarray, Array, np.ndarray]:
    """Return pane numbers, colors and the mask of a rose window: rings of petals around a boss."""
    center_x, center_y, radius = circle
    across, down = x - center_x, y - center_y
    petals = 6 + number % 3
    bearing = np.arctan2(down, across) / (2.0 * np.pi) + 0.07 * number
    distance = np.hypot(across, down) / (radius * (1.0 + 0.07 * np.abs(np.sin(np.pi * petals * bearing))))
    edges = np.array([0.24, 0.62, 1.0]) if radius / x.shape[0] > 0.12 else np.array([0.36, 1.0])
    ring = np.searchsorted(edges, distance)
    count = np.array([1, petals, petals, 1])[ring]
    sector = np.floor((bearing + 0.5 * (ring % 2) / count + 0.06 * distance) % 1.0 * count).astype(int)
    colors = ROSES[number % len(ROSES)]
    return ring * 100 + sector, colors[(2 * ring + sector % 2) % len(colors)], distance < 1.0
