"""Stained glass: panes of coloured glass held by lead."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from skimage.measure import label
from skimage.segmentation import find_boundaries

from stylization.styles.fields import Array, noise, plane, sample, smoothstep, stretched_noise
from stylization.styles.pigment import lit, mixed, palette, varied

RUBY, AMBER, EMERALD, COBALT, VIOLET, CLEAR = range(6)
GLASS = [
    palette("d3122a", "a90f2e", "e8402a", "c21a4b"),
    palette("ffb81c", "ff8f12", "ffd95a", "f2701d"),
    palette("0f9a4c", "38b54a", "0b7d62", "8ccf3c"),
    palette("1440c8", "0b5fd6", "1a2f9c", "2296e0"),
    palette("6a1fb0", "8d3cc9", "4b1d9a", "c045a8"),
    palette("fff3cf", "d9f1f5", "ffe6d2", "e8f7dc"),
]

# Middle as fractions of the window, radius in px at 640, and number of rings.
WHEELS = [
    (0.31, 0.36, 158, 5),
    (0.80, 0.72, 122, 5),
    (0.86, 0.14, 84, 3),
    (0.20, 0.88, 88, 3),
    (0.56, 0.06, 44, 3),
    (0.50, 0.74, 42, 3),
]


def stained_glass(size_px: int, rng: np.random.Generator) -> Array:
    """A leaded window against the light: rose wheels and ribbons over a field of bent quarries."""
    unit = size_px / 640.0
    part, pattern = _cartoon(size_px, rng)
    part, kind = _without_slivers(part, pattern, 160 * unit**2)
    came = ndimage.distance_transform_edt(~find_boundaries(part))
    frame = ndimage.distance_transform_edt(~find_boundaries(pattern // 10))
    thick = 2.0 * unit * (1.0 + 0.08 * noise(size_px, 14 * unit, rng))
    lead = np.minimum(came - thick, frame - 1.7 * thick)

    first_pixel = np.unique(part, return_index=True)[1]
    pane_kind = kind.ravel()[first_pixel]
    tints = np.array([GLASS[k][rng.integers(len(GLASS[k]))] for k in pane_kind])
    colour = varied(tints, rng, lightness=5.0, hue=7.0)[part]

    colour = _glow(colour, part, lead, unit, rng)
    body = smoothstep(-0.5 * unit, 0.4 * unit, lead)
    halo = ndimage.gaussian_filter(colour * body[..., None], (5 * unit, 5 * unit, 0))
    metal = palette("14120f")[0] + 0.10 * halo
    patina = 0.03 * noise(size_px, 2.5 * unit, rng, 2.0)[..., None]
    bead = (thick - (lead + thick).clip(0.0)).clip(0.0)
    metal = (metal + patina).clip(0.0, 1.0)
    metal = lit(metal, np.sqrt(bead * unit), depth=0.9, shine=0.12, soften_px=0.5 * unit)
    window: Array = mixed(metal, colour, body) + 0.10 * halo
    return window.clip(0.0, 1.0)


def _cartoon(size_px: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The full-size drawing: a number for every piece, and a pattern number ending in its kind of glass."""
    unit = size_px / 640.0
    x, y = plane(size_px)
    down = (y + 26 * unit * noise(size_px, 150 * unit, rng, 6.0)) / (52 * unit)
    row = np.floor(down).astype(int) + 4
    across = (x + 26 * unit * noise(size_px, 170 * unit, rng, 6.0)) / (64 * unit) + 0.5 * (row % 2)
    column = np.floor(across).astype(int) + 4
    half = (across + down) % 2.0 < 1.0
    part = (row * 40 + column) * 2 + half
    kinds = np.where((row * 3 + column) % 4 == 0, EMERALD, COBALT)
    pattern = 10 + np.where((row + column) % 5 == 0, VIOLET, kinds)

    for i, (offset, slant) in enumerate([(0.16, 0.30), (0.60, -0.36), (0.88, 0.22)]):
        curve = size_px * offset + slant * x + 46 * unit * np.sin(x / (78 * unit) + 2.1 * i)
        across = (y - curve) / (27 * unit)
        inside = np.abs(across) < 1.0
        piece = np.floor((x + 14 * unit * across) / (38 * unit)).astype(int) + 2
        part = np.where(inside, 100_000 * (i + 1) + piece * 2 + (across > 0), part)
        kinds = np.where(across > 0, AMBER, np.where(piece % 3 == 0, CLEAR, RUBY))
        pattern = np.where(inside, 10 * (i + 2) + kinds, pattern)

    for i, (centre_x, centre_y, radius, rings) in enumerate(WHEELS):
        from_centre = x - centre_x * size_px, y - centre_y * size_px
        piece, kinds, inside = _wheel(*from_centre, radius * unit, rings, i)
        part = np.where(inside, 1_000_000 * (i + 1) + piece, part)
        pattern = np.where(inside, 10 * (i + 10) + kinds, pattern)
    return part, pattern


def _wheel(x: Array, y: Array, radius: float, rings: int, turn: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A rose window: rings of petals around a boss."""
    bearing = np.arctan2(y, x) / (2.0 * np.pi) + 0.07 * turn
    spokes = 8 + 2 * (turn % 3)
    scallop = 1.0 + 0.05 * np.abs(np.sin(np.pi * spokes * bearing))
    distance = np.hypot(x, y) / (radius * scallop)
    edges = np.array([0.16, 0.36, 0.52, 0.82, 1.0] if rings == 5 else [0.26, 0.68, 1.0])
    # The petals of one ring lean into the next, so that the spokes do not line up like a pie.
    ring = np.searchsorted(edges, distance)
    count = np.array([1, spokes, 2 * spokes, spokes, 3 * spokes, 1] if rings == 5 else [1, 6, 12, 1])[ring]
    lean = 0.25 / spokes * np.sin(2.0 * np.pi * distance) * (1 if turn % 2 else -1)
    piece = np.floor((bearing + lean + 0.5 * (ring % 2) / count) % 1.0 * count).astype(int)
    orders = [
        [AMBER, RUBY, CLEAR, COBALT, AMBER],
        [CLEAR, VIOLET, AMBER, EMERALD, RUBY],
        [RUBY, AMBER, COBALT, RUBY, CLEAR],
    ]
    order = np.array([*orders[turn % 3], COBALT])
    alternate = np.array([*orders[(turn + 1) % 3], COBALT])
    kinds = np.where(piece % 2 == 1, alternate[ring], order[ring])
    return ring * 100 + piece, kinds, distance < 1.0


def _without_slivers(part: np.ndarray, pattern: np.ndarray, least_px: float) -> tuple[np.ndarray, np.ndarray]:
    """Connected panes numbered from 0 and their kinds; pieces too small to cut join a neighbour."""
    panes = label(part, background=-1, connectivity=1) - 1
    small = (np.bincount(panes.ravel()) < least_px)[panes]
    row, column = ndimage.distance_transform_edt(small, return_distances=False, return_indices=True)
    panes, kind = panes[row, column], (pattern % 10)[row, column]
    return np.unique(panes, return_inverse=True)[1].reshape(part.shape), kind


def _glow(colour: Array, part: np.ndarray, lead: Array, unit: float, rng: np.random.Generator) -> Array:
    """Daylight through hand-made glass: bright hearts, dusty edges, reams and seeds."""
    size_px = len(colour)
    panes = part.max() + 1
    x, y = plane(size_px)
    angle = rng.uniform(0.0, np.pi, panes)[part]
    ream_field = stretched_noise(size_px, 30 * unit, 1.6 * unit, rng)
    along, aside = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    ream = sample(ream_field, along, aside)
    ripple = noise(size_px, 7 * unit, rng)
    seeds = smoothstep(2.4, 3.2, noise(size_px, 2.2 * unit, rng, 6.0))

    heart = smoothstep(-3 * unit, 9 * unit, lead)
    sun = 1.0 + 0.13 * noise(size_px, 200 * unit, rng, 6.0)
    thickness = 0.12 * rng.standard_normal(panes)[part] + 0.085 * (ream + ripple)
    light = sun * (0.62 + 0.58 * heart + thickness)
    glass = colour ** (1.3 - 0.5 * heart)[..., None] * light[..., None]
    # The strongest light burns out towards white, as it does in the eye.
    burn = (0.20 * heart**3 * (0.6 + 0.4 * ripple).clip(0.0, 1.5) + 0.5 * seeds).clip(0.0, 0.7)
    return mixed(glass, np.full_like(glass, 1.0), burn).clip(0.0, 1.0)
