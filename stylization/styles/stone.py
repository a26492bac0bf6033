"""Polished stone: banded minerals folded under pressure and healed with gold."""

from __future__ import annotations

import numpy as np

from stylization.styles.fields import Array, noise, plane, sample, smoothstep
from stylization.styles.pigment import lit, mixed, palette, ramp, toned

MALACHITE = palette("04231d", "0b5a45", "2e9a74", "a5dcb4", "0d6b52", "063a30", "57b98f", "032019")
LAPIS = palette("0a1038", "1a2f86", "3a62c4", "c9d6ee", "20409c", "0d1a54", "6f90d8", "080c2a")
RHODONITE = palette("3a0d1c", "8e2440", "d66a7e", "f6d5cf", "b23c58", "5a1228", "eaa6a2", "240812")
ONYX = palette("f6f0e4", "e0c9a4", "fbf6ec", "8a6f60", "f3e9d8", "c08d58", "fffaf2", "3e3236")
GOLD = palette("5a3208", "a96a14", "e0a52c", "ffe08a", "fff6cf")


def marble(size_px: int, rng: np.random.Generator) -> Array:
    """A slab of four minerals in folded bands, cracked and veined with gold."""
    unit = size_px / 640.0
    x, y = _folded(size_px, rng)
    bed = (0.8 * x + 0.6 * y) / unit
    cloud = noise(size_px, 24 * unit, rng, 4.5)
    fine = noise(size_px, 3 * unit, rng, 3.0)

    # Which mineral lies where: broad lenses read off a second, slower direction of the same folds.
    lens = sample(noise(size_px, 115 * unit, rng, 5.0), x, y) + 0.02 * cloud
    across = sample(noise(size_px, 90 * unit, rng, 5.0), x, y) + 0.02 * cloud
    minerals = [
        _banded(MALACHITE, bed + 9.0 * lens, 58.0, cloud, fine),
        _banded(LAPIS, bed - 12.0 * across, 71.0, cloud, fine),
        _banded(RHODONITE, bed + 14.0 * across, 64.0, cloud, fine),
        _banded(ONYX, 0.7 * bed + 10.0 * lens, 83.0, cloud, fine),
    ]
    soft = 0.02
    upper = mixed(minerals[0], minerals[1], smoothstep(-soft, soft, across))
    lower = mixed(minerals[3], minerals[2], smoothstep(-soft, soft, across + 0.15))
    colour = mixed(upper, lower, smoothstep(-soft, soft, lens))
    height = 0.5 * unit * cloud

    # Dark seams part the minerals; finer fissures run through all of them.
    cross_seam = np.where(lens < 0.0, _crack(across, unit), _crack(across + 0.15, unit))
    seams = np.minimum(_crack(lens, unit), cross_seam)
    fissures = _crack(sample(noise(size_px, 60 * unit, rng, 4.0), x, y) + 0.3, unit)
    colour = toned(colour, -0.75 * (1.0 - smoothstep(0.0, 6.5 * unit, seams)))
    healed = 1.0 - smoothstep(0.2 * unit, 1.5 * unit, fissures)
    colour = mixed(colour, ONYX[2], 0.85 * healed)
    colour, height = _gilded(colour, height, seams, x, y, unit, rng)
    return lit(colour, height, depth=0.5, shine=0.10, soften_px=0.7 * unit)


def _folded(size_px: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Coordinates of the bedding before it was folded: the plane warped by warped noise."""
    unit = size_px / 640.0
    x, y = plane(size_px)
    for amplitude, feature in ((80.0, 190.0), (40.0, 85.0), (9.0, 28.0), (1.2, 8.0)):
        push = noise(size_px, feature * unit, rng, 5.0), noise(size_px, feature * unit, rng, 5.0)
        x, y = (
            x + amplitude * unit * sample(push[0], x, y),
            y + amplitude * unit * sample(push[1], x, y),
        )
    return x, y


def _banded(colours: Array, bed: Array, period: float, cloud: Array, fine: Array) -> Array:
    """Agate bands: broad gradients with hair lines of growth inside them."""
    phase = (bed + 0.35 * fine + 3.0 * cloud) / period
    # A triangle wave runs through the palette and back, so that no band ends in a sawtooth.
    colour = ramp(colours, np.abs(2.0 * (phase % 1.0) - 1.0))
    growth = np.sin(2.0 * np.pi * phase * 7.0) + 0.6 * np.sin(2.0 * np.pi * phase * 17.0 + 2.0 * cloud)
    return toned(colour, 0.11 * growth + 0.05 * cloud + 0.035 * fine)


def _crack(field: Array, unit: float) -> Array:
    """Distance in pixels to the line where a field changes sign, as the field's slope tells it."""
    down, right = np.gradient(field)
    distance: Array = np.abs(field) / (np.hypot(down, right) + 2e-4 / unit)
    return distance


def _gilded(
    colour: Array, height: Array, seams: Array, x: Array, y: Array, unit: float, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Gold run into the seams and into veins of its own, standing proud of the polished stone."""
    size_px = len(height)
    swell = 1.0 + 0.9 * noise(size_px, 45 * unit, rng, 4.0)
    vein = _crack(sample(noise(size_px, 95 * unit, rng, 4.5), x, y) - 0.2, unit) + 0.3 * unit
    branch = _crack(sample(noise(size_px, 42 * unit, rng, 4.5), y, x) - 0.9, unit) + 0.9 * unit
    metal = np.maximum.reduce(
        [
            2.1 * unit * swell - seams,
            1.9 * unit * swell - vein,
            1.5 * unit * swell - branch,
        ]
    )
    # Flakes shed from the veins lie thickest beside them.
    flakes = noise(size_px, 2.2 * unit, rng, 4.0) - 1.5 - 0.05 * np.minimum(seams, vein) / unit
    metal = np.maximum(metal, 1.4 * unit * flakes)
    leaf = smoothstep(-0.1 * unit, 0.4 * unit, metal)
    crumple = 0.48 + 0.20 * noise(size_px, 5 * unit, rng, 3.0) + 0.12 * noise(size_px, 18 * unit, rng)
    gold = ramp(GOLD, crumple.clip(0.0, 1.0))
    rise = unit * np.sqrt((metal / unit).clip(0.0)) + 0.25 * unit * leaf * crumple
    return mixed(colour, gold, leaf), height + 1.8 * rise
