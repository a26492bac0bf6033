"""Bright abstract painting: coiled pebbles outlined in dark, among ribbons of pebbled ground."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from stylization.styles.fields import Array, noise, packed_circles, plane, smoothstep
from stylization.styles.pigment import lit, mixed, palette, toned, varied

OUTLINE = palette("1d1030")[0]
COILS = [
    palette("e8173c", "ffb000", "ffe9a8", "f2552c"),
    palette("1273d4", "7fd0f0", "fdf6dc", "2a3fb0"),
    palette("ff6fa8", "d81b72", "ffd9c8", "7a2bbf"),
    palette("1fa05a", "c4de3a", "fff3b0", "0d7f86"),
    palette("ff8a1e", "ffd23c", "c8281e", "fff0cc"),
    palette("6a35c8", "b48cf0", "ffe36a", "2b8fd8"),
]
GROUND = palette("0f9aa8", "f5c531", "e2452d", "3fb86a", "f28cb4", "2553b8", "fbe9c0", "8a3fb0")


def candy(size_px: int, rng: np.random.Generator) -> Array:
    """Spiral sweets of all sizes on bands that echo their outlines."""
    unit = size_px / 640.0
    x, y = plane(size_px)
    # A hand does not draw true circles: everything is drawn on slightly rubbery canvas.
    for axis in (x, y):
        axis += 7.0 * unit * noise(size_px, 60 * unit, rng, 6.0)
        axis += 0.8 * unit * noise(size_px, 11 * unit, rng, 4.0)

    radii = [104.0, 82.0, 70.0, 58.0, 52.0, 46.0] + [38.0] * 4 + [31.0] * 7 + [24.0] * 10 + [18.0] * 14
    sweets = packed_circles(size_px, [r * unit for r in radii], rng, gap_px=9 * unit, tries=200)
    gap = _clearance(x, y, sweets)
    colour, line = _ribbons(gap, x, y, unit, rng)
    _strew(colour, line, gap, x, y, unit, rng)
    for i, (centre_x, centre_y, radius) in enumerate(sweets):
        across, down = x - centre_x, y - centre_y
        if np.hypot(across, down).min() >= radius:
            continue  # the rubber has pulled a sweet at the border out of the picture
        colours = COILS[i % len(COILS)]
        window, inside, paint, edge = _coil(across, down, radius, colours, unit, rng)
        colour[window][inside] = paint[inside]
        line[window][inside] = edge[inside]
    return _painted(colour, line, unit, rng)


def _clearance(x: Array, y: Array, circles: Array) -> Array:
    """The distance from every pixel to the nearest circle's rim; negative inside."""
    gap = np.full(x.shape, np.inf)
    for centre_x, centre_y, radius in circles:
        gap = np.minimum(gap, np.hypot(x - centre_x, y - centre_y) - radius)
    return gap


def _ribbons(gap: Array, x: Array, y: Array, unit: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Bands of ground that run around the sweets, and the distance to the lines between them."""
    width = 11.5 * unit
    band = np.floor(gap / width).astype(int)
    # Cross lines cut each band into pieces that take turns in colour.
    patch = np.floor((x + 0.55 * y) / (95 * unit)) + np.floor((0.8 * y - 0.3 * x) / (120 * unit))
    tint = (3 * band + 2 * patch.astype(int)) % len(GROUND)
    colour = varied(GROUND, rng, lightness=2.0, hue=3.0)[tint]
    within = gap - band * width
    return colour, np.minimum(within, width - within)


def _strew(colour: Array, line: Array, gap: Array, x: Array, y: Array, unit: float, rng: np.random.Generator) -> None:
    """Paint beads onto the ground wherever they find room, most of them with a core of another colour."""
    room = gap.copy()
    for row, column in rng.integers(0, len(gap), (6000, 2)):
        radius = min(room[row, column] - 1.5 * unit, rng.uniform(4.5, 10.5) * unit)
        if radius < 4.0 * unit:
            continue
        reach = int(radius + 14 * unit)
        window = np.s_[max(0, row - reach) : row + reach, max(0, column - reach) : column + reach]
        distance = np.hypot(x[window] - x[row, column], y[window] - y[row, column]) - radius
        room[window] = np.minimum(room[window], distance)

        skin, core = varied(GROUND[rng.integers(len(GROUND), size=2)], rng, lightness=4.0, hue=6.0)
        inside = distance < 0.0
        colour[window][inside] = skin
        if radius > 6.5 * unit:
            colour[window][distance < -0.55 * radius] = core
        line[window][inside] = -distance[inside]
        line[window][(distance >= 0.0) & (distance < 1.2 * unit)] = 0.0


def _coil(
    x: Array, y: Array, radius: float, colours: Array, unit: float, rng: np.random.Generator
) -> tuple[tuple[slice, slice], np.ndarray, Array, Array]:
    """One sweet: its window of the picture, its pixels, their colours and distance to an outline."""
    row, column = np.nonzero(np.hypot(x, y) < radius)
    window = np.s_[row.min() : row.max() + 1, column.min() : column.max() + 1]
    distance = np.hypot(x[window], y[window])
    bearing = np.arctan2(y[window], x[window]) / (2.0 * np.pi) + rng.random()
    pitch = max(6.5 * unit, radius / rng.uniform(4.5, 6.5))
    arms, sense = int(rng.integers(1, 4)), rng.choice([-1, 1])
    # Arms wind outwards: crossing one means moving by a pitch, so `turns` counts the crossings.
    turns = distance / pitch + sense * arms * bearing + 0.10 * np.sin(2.0 * np.pi * 3.0 * bearing)
    arm = np.floor(turns).astype(int)
    slice_ = np.floor(bearing * max(6, int(radius / (5 * unit)))).astype(int) % 2
    shade = varied(colours, rng, lightness=3.0, hue=4.0)
    # Every third arm is sliced crosswise, like liquorice.
    paint = shade[(arm + (arm % 3 == 0) * slice_) % len(colours)]
    edge = np.minimum(turns - arm, arm + 1 - turns) * pitch
    rim, wall = radius - distance, 0.16 * radius
    paint[rim < wall] = shade[2 * slice_[rim < wall]]
    edge = np.where(rim < wall, np.minimum(rim, wall - rim), np.minimum(edge, rim - wall))
    return window, distance < radius, paint, edge


def _painted(colour: Array, line: Array, unit: float, rng: np.random.Generator) -> Array:
    """The drawing in thick acrylic: domed fields of colour, brushed, between inked outlines."""
    size_px = len(line)
    weight = 1.35 * unit * (1.0 + 0.30 * noise(size_px, 20 * unit, rng, 4.0))
    field = smoothstep(-0.4 * unit, 0.5 * unit, line - weight)
    brushed = noise(size_px, 3.0 * unit, rng, 2.5)
    pool = noise(size_px, 16 * unit, rng, 4.0)
    dome = smoothstep(0.0, 7 * unit, line)
    shaded = toned(colour, 0.20 * (dome - 0.6) + 0.055 * pool + 0.03 * brushed)
    ink = toned(OUTLINE, 0.25 * brushed)
    height = 3.0 * unit * np.sqrt(dome) * field + 0.15 * unit * brushed
    soft = ndimage.gaussian_filter(height, 0.8 * unit)
    return lit(mixed(ink, shaded, field), soft, depth=0.55, shine=0.13)
