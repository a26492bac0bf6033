"""Marble: folded bands of malachite, onyx and lapis, parted by veins of gold."""

from __future__ import annotations

import numpy as np

from stylization.styles.fields import Array, noise, smoothstep, warped
from stylization.styles.pigment import lit, mixed, palette, ramp

# A walk through the slab: neighbors differ in lightness.
BEDS = palette("082a2c", "0f5a54", "4fa38c", "cfe3cf", "f5ede0", "e7cdb4", "f7f1e6", "8fb0c8", "2b5a94", "0e2350")
GOLD = palette("7a4a12", "c98f2b", "f2d27a", "c98f2b")


def marble(size_px: int, rng: np.random.Generator) -> Array:
    """Fold flat beds of stone twice, and run gold along every second joint and through veins across the beds."""
    unit = size_px / 640.0
    x, y = warped(size_px, rng, (85 * unit, 150 * unit), (42 * unit, 75 * unit))
    bed = (0.8 * x + 0.6 * y) / (27.0 * unit) + 1.1 * noise(size_px, 110 * unit, rng, 5.0)
    number, within = np.floor(bed).astype(int), bed % 1.0
    triangle = np.abs((number % (2 * len(BEDS) - 2)) - (len(BEDS) - 1))
    following = np.abs(((number + 1) % (2 * len(BEDS) - 2)) - (len(BEDS) - 1))
    # Each bed is nearly flat and turns to the next within a third of its width.
    color = mixed(BEDS[triangle], BEDS[following], smoothstep(0.62, 0.98, within))
    color = color * (1.0 + 0.06 * noise(size_px, 45 * unit, rng))[..., None]

    swell = 1.0 + 0.45 * noise(size_px, 60 * unit, rng, 5.0)
    joint = _near_line(np.where(number % 5 == 2, within - 0.5, 1.0), bed, unit)
    vein_x, vein_y = warped(size_px, rng, (50 * unit, 90 * unit))
    vein = np.sin((0.5 * vein_x - 0.87 * vein_y) / (52.0 * unit) + 1.0)
    metal = 4.2 * unit * swell.clip(0.35) - np.minimum(joint, _near_line(vein, vein, unit))
    leaf = smoothstep(-0.6 * unit, 0.6 * unit, metal)
    gold = ramp(GOLD, (0.5 + 0.22 * noise(size_px, 16 * unit, rng, 4.0)).clip(0.0, 1.0))
    return lit(mixed(color, gold, leaf), 2.2 * unit * smoothstep(0.0, 3 * unit, metal), depth=0.8, soften_px=1.2 * unit)


def _near_line(value: Array, field: Array, unit: float) -> Array:
    """Return the distance in pixels to where `value` is zero, judged by the slope of `field`."""
    down, right = np.gradient(field)
    distance: Array = np.abs(value) / (np.hypot(down, right) + 2e-3 / unit)
    return distance
