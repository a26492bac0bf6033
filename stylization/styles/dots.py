"""Pointillism: a landscape built from dots of unmixed colour."""

from __future__ import annotations

import numpy as np
from skimage.color import hsv2rgb, rgb2hsv, rgb2lab

from stylization.styles.canvas import Canvas
from stylization.styles.fields import Array, noise, plane, scattered, smoothstep
from stylization.styles.pigment import from_lab, lit, mixed, palette, ramp, toned, varied

SKY = palette("3d6fc0", "6f9fd8", "b7b6e0", "f3b9b0", "fbd37c", "fff0b0")
HILLS = palette("6a68b8", "5a7fb4", "4f9a86")
MEADOW = palette("c9c43a", "7fae35", "3c8a45", "0f4a48")
FLOWERS = palette("e8402f", "f28a1e", "f7d63a", "d94f93", "f6f0dc")
LEAVES = palette("0e1a44", "17503f", "3f8a3a", "a6b832", "f0b43a")

# Middle, foot, height and breadth as fractions of the picture.
TREES = [(0.13, 0.80, 0.60, 0.17), (0.90, 0.76, 0.42, 0.12), (0.31, 0.73, 0.27, 0.07)]

# Dot radius and spacing in px at 640, from the ground to the last sparkle.
LAYERS = [(7.5, 9.0), (5.6, 8.0), (4.8, 8.2), (3.3, 13.0)]


def pointillism(size_px: int, rng: np.random.Generator) -> Array:
    """Evening by a river in dots whose neighbours are mixed by the eye, not on the palette."""
    unit = size_px / 640.0
    scene = _landscape(size_px, rng)
    canvas = Canvas(size_px, palette("e9dcc0")[0])
    for radius, spacing in LAYERS:
        x, y = scattered(size_px, spacing * unit, rng)
        column, row = x.astype(int).clip(0, size_px - 1), y.astype(int).clip(0, size_px - 1)
        colours = _divided(scene[row, column], rng)
        radii = radius * unit * rng.uniform(0.75, 1.15, len(x))
        thickness = rng.uniform(1.0, 2.4, len(x))
        for dab in zip(x, y, radii, colours, thickness, strict=True):
            _dab(canvas, *dab, rng)
    grain = 0.025 * noise(size_px, 1.6 * unit, rng, 2.0)
    colour = toned(canvas.colour(), grain)
    return lit(colour, canvas.height() * unit, depth=0.5, shine=0.05, soften_px=0.8 * unit)


def _dab(
    canvas: Canvas, x: float, y: float, radius: float, colour: Array, height: float, rng: np.random.Generator
) -> None:
    """The print of a round brush: never quite a circle."""
    angle = np.linspace(0.0, 2.0 * np.pi, 12, endpoint=False)
    turn = rng.uniform(0.0, 2.0 * np.pi, 2)
    lobes = 1.0 + 0.10 * np.cos(2.0 * angle + turn[0]) + 0.06 * np.cos(3.0 * angle + turn[1])
    outline = np.stack([x + radius * lobes * np.cos(angle), y + radius * lobes * np.sin(angle)], axis=-1)
    canvas.polygon(outline, colour, height)


def _divided(colours: Array, rng: np.random.Generator) -> Array:
    """Colours split into purer neighbours on the colour wheel, with some complementaries."""
    hsv = rgb2hsv(colours[None])[0]
    count = len(hsv)
    hsv[:, 0] = (hsv[:, 0] + rng.normal(0.0, 0.045, count)) % 1.0
    hsv[:, 1] = (hsv[:, 1] * rng.uniform(0.75, 1.45, count) + 0.10).clip(0.0, 1.0)
    hsv[:, 2] = (hsv[:, 2] * rng.uniform(0.86, 1.16, count)).clip(0.0, 1.0)
    lab = rgb2lab(hsv2rgb(hsv[None]))[0]
    # A complementary of equal lightness makes a passage shimmer without speckling it.
    opposed = rng.random(count) < 0.09
    lab[opposed, 1:] *= -0.8
    return varied(from_lab(lab[None])[0], rng, lightness=4.0, hue=4.0)


def _landscape(size_px: int, rng: np.random.Generator) -> Array:
    """The colours of the scene: sky and sun, hills, a river that mirrors them, meadow and trees."""
    unit = size_px / 640.0
    x, y = plane(size_px)
    u, v = x / size_px, y / size_px
    bank = 0.68 + 0.05 * np.sin(4.2 * u + 0.6) + 0.14 * (u - 0.5) ** 2
    shore = 0.44
    # The river shows what lies as far above the shore, drawn out by ripples.
    ripple = 0.010 * noise(size_px, 16 * unit, rng)
    above = np.where(v < shore, v, 2.0 * shore - v + ripple).clip(0.0, shore)

    cloud = noise(size_px, 60 * unit, rng)
    scene = ramp(SKY, ((above / shore) ** 1.1 + 0.09 * cloud).clip(0.0, 1.0))
    sun = np.hypot(u - 0.62, 1.15 * (above - 0.24))
    scene = mixed(scene, SKY[-1], 0.9 * np.exp(-((sun / 0.10) ** 2)))
    scene = mixed(scene, palette("ffb040")[0], 0.75 * np.exp(-(((sun - 0.13) / 0.05) ** 2)))
    for i, colour in enumerate(HILLS):
        bearing = (7.0 + 3.0 * i) * u + 2.0 * i + 0.5
        ridge = shore - 0.13 + 0.045 * i - 0.035 * np.sin(bearing)
        lit_side = toned(colour, 0.30 * np.cos(bearing))
        scene = mixed(scene, lit_side, smoothstep(0.0, 0.012, above - ridge))
    scene = np.where((v > shore)[..., None], 0.86 * scene + palette("0a1c3c")[0] * 0.5, scene)

    depth = ((v - bank) / (1.0 - bank)).clip(0.0, 1.0)
    stripes = 0.16 * np.sin(36.0 * (v - bank) / (0.4 + depth) + 3.0 * cloud)
    meadow = ramp(MEADOW, (depth + stripes + 0.08 * cloud).clip(0.0, 1.0))
    for i, colour in enumerate(FLOWERS):
        drift = smoothstep(1.05, 1.5, noise(size_px, 15 * unit, rng) + 0.35 * np.sin(9.0 * u + 1.7 * i))
        meadow = mixed(meadow, colour, 0.9 * drift)
    scene = mixed(scene, meadow, smoothstep(0.0, 0.008, v - bank))
    return _trees(scene, u, v, rng)


def _trees(scene: Array, u: Array, v: Array, rng: np.random.Generator) -> Array:
    """Crowns lit from the sun's side, on trunks that stand on the near bank."""
    size_px = len(scene)
    ragged = noise(size_px, 0.035 * size_px, rng, 3.0)
    for centre, foot, height, breadth in TREES:
        standing = (v < foot) & (v > foot - 0.6 * height)
        trunk = standing & (np.abs(u - centre - 0.012 * np.sin(9.0 * v)) < 0.014)
        scene = mixed(scene, palette("4a2148")[0], trunk.astype(float))
        across, down = (u - centre) / breadth, (v - (foot - 0.66 * height)) / (0.5 * height)
        inside = 1.0 - np.hypot(across, down) + 0.17 * ragged
        towards_sun = 0.42 * across * np.sign(0.62 - centre) - 0.28 * down + 0.20 * ragged
        crown = ramp(LEAVES, (0.42 + towards_sun).clip(0.0, 1.0))
        scene = mixed(scene, crown, smoothstep(0.0, 0.05, inside))
    return scene
