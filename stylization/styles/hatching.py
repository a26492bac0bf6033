"""Pen and ink: forms modelled by crosshatching alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import ndimage
from skimage.segmentation import find_boundaries

from stylization.styles.canvas import mask, tapered
from stylization.styles.fields import (
    Array,
    flow,
    noise,
    packed_circles,
    plane,
    scattered,
    smoothstep,
    streamlines,
)
from stylization.styles.pigment import lit, mixed, palette, toned

PAPER, INK, SEPIA, WASH = palette("f3e7cd", "14100e", "94401a", "d39a5c")

# Light falls from the upper left, towards the viewer's side of the forms.
LIGHT = np.array([-0.52, -0.58, 0.63])


class Pass(NamedTuple):
    """One layer of hatching; lengths in px at 640."""

    turn: float  # from the form's own direction, in radians
    darkness: float  # the tone at which the pen starts
    gap: float
    length: float
    weight: float


PASSES = [
    Pass(turn=0.00, darkness=0.10, gap=4.3, length=46.0, weight=1.35),
    Pass(turn=0.75, darkness=0.44, gap=4.3, length=34.0, weight=1.35),
    Pass(turn=-0.70, darkness=0.62, gap=4.2, length=28.0, weight=1.45),
    Pass(turn=1.55, darkness=0.78, gap=3.8, length=22.0, weight=1.60),
]


class Forms(NamedTuple):
    """What is drawn: which form each pixel shows, its tone (0 light, 1 dark), and the way lines run."""

    form: np.ndarray
    tone: Array
    direction: tuple[Array, Array]


def ink(size_px: int, rng: np.random.Generator) -> Array:
    """A shingle of banded boulders in black crosshatching, with sepia wash and sepia lines."""
    unit = size_px / 640.0
    forms = _boulders(size_px, rng)
    stained = rng.random(forms.form.max() + 1) < 0.38
    black: list[Array] = []
    brown: list[Array] = []
    for layer in PASSES:
        for stroke, form in _hatched(forms, layer, rng):
            sepia = stained[form] and layer.darkness < 0.5 and rng.random() < 0.75
            (brown if sepia else black).append(stroke)

    fibre = noise(size_px, 2 * unit, rng, 2.2)
    stain = noise(size_px, 110 * unit, rng, 4.0)
    paper = toned(PAPER, 0.014 * fibre + 0.03 * stain)
    pool = smoothstep(-0.2, 0.9, 1.3 * forms.tone - 0.3 + 0.28 * noise(size_px, 26 * unit, rng, 3.5))
    paper = mixed(paper, WASH, pool * np.where(stained, 0.85, 0.16)[forms.form])

    outline = ndimage.distance_transform_edt(~find_boundaries(forms.form))
    swell = 1.0 + 0.45 * noise(size_px, 30 * unit, rng, 4.0) + 0.9 * (forms.tone - 0.5)
    contour = (outline < 0.85 * unit * swell).astype(np.float64)
    skip = 0.80 + 0.20 * smoothstep(-2.0, -0.9, fibre)
    paper = mixed(paper, SEPIA, 0.92 * skip * mask(size_px, brown))
    pen = np.maximum(mask(size_px, black), contour)
    drawn = mixed(paper, INK, 0.96 * skip * pen)
    return lit(drawn, 0.3 * unit * fibre, depth=0.10, soften_px=0.6 * unit)


def _boulders(size_px: int, rng: np.random.Generator) -> Forms:
    """Stones heaped from the far edge to the near one, each over the ones behind it."""
    unit = size_px / 640.0
    x, y = plane(size_px)
    # Noise in the coordinates gives each stone a lumpy outline, and the outline a shaky hand.
    for axis in (x, y):
        axis += 5.0 * unit * noise(size_px, 40 * unit, rng, 5.0)
        axis += 0.5 * unit * noise(size_px, 7 * unit, rng)
    radii = [74.0, 70.0, 66.0] + [56.0] * 6 + [44.0] * 12 + [32.0] * 24 + [22.0] * 50 + [15.0] * 90
    stones = packed_circles(size_px, [r * unit for r in radii], rng, gap_px=-4 * unit, tries=200)

    stones = stones[np.argsort(stones[:, 1] + 0.6 * stones[:, 2])]
    form = np.zeros((size_px, size_px), dtype=int)
    tone = 0.80 + 0.13 * noise(size_px, 34 * unit, rng)
    across, down = flow(noise(size_px, 70 * unit, rng, 5.0))
    for i, (centre_x, centre_y, radius) in enumerate(stones, start=1):
        near = radius * 1.3 + 45.0 * unit
        top, left = max(0, int(centre_y - near)), max(0, int(centre_x - near))
        window = np.s_[top : int(centre_y + near) + 1, left : int(centre_x + near) + 1]
        flat, lean = rng.uniform(0.84, 1.0), rng.normal(0.0, 0.3)
        dx, dy = (x[window] - centre_x) / (1.13 * radius), (y[window] - centre_y) / (1.13 * radius)
        dx, dy = np.cos(lean) * dx + np.sin(lean) * dy, (np.cos(lean) * dy - np.sin(lean) * dx) / flat
        reach = np.hypot(dx, dy)
        # What lies behind darkens where the stone comes near, more so on the side away from the light.
        nearness = np.exp(-(reach - 1.0).clip(0.0) * radius / (13.0 * unit))
        tone[window] += 0.55 * nearness * (0.75 + 0.35 * (dx + dy)).clip(0.0)
        normal = np.stack([dx, dy, np.sqrt((1.0 - reach**2).clip(0.0))])
        shade, slices = _modelled(normal, reach, radius / unit, rng)
        inside = reach < 1.0
        for field, values in zip((tone, across, down), (shade, *flow(slices)), strict=True):
            field[window][inside] = values[inside]
        form[window][inside] = i
    return Forms(form, tone.clip(0.0, 1.0), (across, down))


def _modelled(normal: Array, reach: Array, radius: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """A stone's tone, and a field whose contour lines are the slices the pen follows."""
    facing = np.tensordot(LIGHT, normal, axes=1)
    shade = 0.83 - 0.90 * facing
    # Light thrown back by the neighbours keeps the far rim from going black.
    shade = np.minimum(shade, 0.92 - 0.30 * smoothstep(0.80, 1.0, reach))
    azimuth = rng.uniform(0.0, 2.0 * np.pi)
    axis = np.array([0.8 * np.cos(azimuth), 0.8 * np.sin(azimuth), 0.6])
    slices = np.tensordot(axis, normal, axes=1)
    if radius > 20.0:
        strata = np.sin(slices * radius / rng.uniform(5.0, 9.0) + rng.uniform(0.0, 6.3))
        shade = shade + rng.choice([0.0, 0.25, 0.38, 0.5]) * smoothstep(0.2, 0.7, strata)
    return shade + rng.normal(0.0, 0.07), slices


def _hatched(forms: Forms, layer: Pass, rng: np.random.Generator) -> list[tuple[Array, int]]:
    """The strokes of one layer with the form each lies on: evenly spaced, ending where light begins."""
    size_px = len(forms.tone)
    unit = size_px / 640.0
    x, y = scattered(size_px, 4.4 * unit, rng)
    on_sheet = (x > 0) & (y > 0) & (x < size_px - 1) & (y < size_px - 1)
    x, y = x[on_sheet], y[on_sheet]
    cosine, sine = np.cos(layer.turn), np.sin(layer.turn)
    right, down = forms.direction
    paths = streamlines(
        (cosine * right - sine * down, sine * right + cosine * down),
        x, y, layer.length * unit * rng.uniform(0.6, 1.3, len(x)), steps=16,
    )  # fmt: skip

    column, row = paths.round().astype(int).clip(0, size_px - 1).transpose(2, 0, 1)
    middle = paths.shape[1] // 2
    tone, form = forms.tone[row, column], forms.form[row, column]
    limit = layer.darkness + rng.normal(0.0, 0.035, (len(x), 1))
    allowed = (tone > limit) & (form == form[:, middle : middle + 1])
    taken = np.zeros((size_px, size_px), dtype=bool)
    strokes = []
    for i in np.flatnonzero(allowed[:, middle]):
        free = allowed[i] & ~taken[row[i], column[i]]
        if not free[middle]:
            continue
        blocked = np.flatnonzero(~free)
        start = max(blocked[blocked < middle], default=-1) + 1
        stop = min(blocked[blocked > middle], default=len(free))
        if stop - start < 4:
            continue
        half = int(layer.gap * unit * (1.12 - 0.38 * tone[i, middle]))
        for r, c in zip(row[i, start:stop], column[i, start:stop], strict=True):
            taken[max(0, r - half) : r + half + 1, max(0, c - half) : c + half + 1] = True
        # The nib bites as it lands, then lifts.
        press = np.sin(np.linspace(0.20, 0.95, stop - start) * np.pi) ** 0.6
        heft = layer.weight * unit * (0.75 + 0.6 * tone[i, middle]) * rng.uniform(0.8, 1.2)
        strokes.append((tapered(paths[i, start:stop], heft * press), int(form[i, middle])))
    return strokes
