"""Mosaic: cut stones set in rows along curves, in grout."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.measure import find_contours
from skimage.segmentation import find_boundaries

from stylization.styles.fields import Array, noise, packed_circles, plane, smoothstep
from stylization.styles.pigment import lit, mixed, palette, toned, varied

# One palette per kind of motif, read from its border inwards: a stone for each row.
MEDALLIONS = [
    palette("2b1d1a", "d9a441", "b3392b", "efe2c4", "7d1f24", "e8b94f", "f4ead2"),
    palette("1b2233", "e9dcc0", "2c6e8f", "8fc1c4", "1d3f6e", "d8a03d", "f1e6cb"),
    palette("30201c", "efe1c6", "4c7a4a", "d3b04c", "a33a2a", "efe1c6", "26342c"),
    palette("241c2c", "d4a24a", "5b3a6e", "e6cfc0", "b2564a", "33608a", "f0e4cc"),
]
BANDS = [
    palette("1c2a4a", "23518a", "3c86b0", "8ec4cc", "dfe6d8", "f2ecd8"),
    palette("e9dfc8", "d9c49a", "c58b45", "a8512e", "75281f", "3a1a18"),
    palette("1a3a3c", "1f6a66", "4fa08c", "a9cfae", "e6e2c0", "d8a440"),
    palette("f0e6cf", "e2b857", "cf7f33", "a63d2b", "5a2130", "2a1a2c"),
]


def mosaic(size_px: int, rng: np.random.Generator) -> Array:
    """Roman tesserae: medallions among undulating bands, rows parallel to every outline."""
    unit = size_px / 640.0
    tile = 12.5 * unit
    motif, stones_of = _motifs(size_px, rng)
    depth = ndimage.distance_transform_edt(~find_boundaries(motif))
    x, y, angle = _rows(ndimage.gaussian_filter(depth, 1.5 * unit), tile, rng)

    column, row = x.astype(int).clip(0, size_px - 1), y.astype(int).clip(0, size_px - 1)
    course = (depth[row, column] / tile).astype(int)
    stones = np.array(
        [stones_of[m][min(c, len(stones_of[m]) - 1)] for m, c in zip(motif[row, column], course, strict=True)]
    )
    swapped = rng.random(len(x)) < 0.06
    stones[swapped] = stones[rng.permutation(len(x))[swapped]]
    stones = varied(stones, rng, lightness=6.5, hue=4.5)

    owner, edge, slope = _cut(size_px, x, y, angle, tile, rng)
    stone = smoothstep(0.7 * unit, 1.7 * unit, edge)
    grain = 0.05 * noise(size_px, 2 * unit, rng, 2.0) + 0.06 * noise(size_px, 14 * unit, rng, 3.0)
    grout = toned(palette("4a4038")[0], 3.0 * grain)
    colour = mixed(grout, toned(stones[owner], grain), stone)
    height = 2.2 * unit * smoothstep(0.3 * unit, 3.4 * unit, edge) + stone * slope
    height += 0.12 * unit * noise(size_px, 3 * unit, rng, 2.0)
    return lit(colour, height, depth=0.55, shine=0.10, soften_px=0.6 * unit)


def _motifs(size_px: int, rng: np.random.Generator) -> tuple[np.ndarray, list[Array]]:
    """A label for every pixel, and for every label its stones from the border inwards."""
    unit = size_px / 640.0
    x, y = plane(size_px)
    swell = 46.0 * np.sin(x / (92.0 * unit) + 0.8) + 22.0 * np.sin(x / (41.0 * unit) + y / (160.0 * unit))
    across = (0.92 * y + 0.38 * x) / unit + swell
    band = np.floor((across + 150.0) / 74.0).astype(int)
    stones_of = [BANDS[i % len(BANDS)][:: 1 if i % 3 else -1] for i in range(band.max() + 1)]

    radii = [112.0, 92.0, 74.0, 60.0, 60.0, 46.0, 46.0, 36.0, 36.0, 27.0, 27.0]
    discs = packed_circles(size_px, [r * unit for r in radii], rng, gap_px=14 * unit)
    for i, (centre_x, centre_y, radius) in enumerate(discs):
        bearing = np.arctan2(y - centre_y, x - centre_x)
        petals = 1.0 + 0.07 * np.cos((5 + i % 4) * bearing + i)
        band[np.hypot(x - centre_x, y - centre_y) < radius * petals] = len(stones_of)
        stones_of.append(MEDALLIONS[i % len(MEDALLIONS)])
    return band, stones_of


def _rows(depth: Array, tile: float, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """Where stones lie and how they are turned: in courses at whole multiples of the tile size."""
    stones = []
    for level in np.arange(0.5 * tile, depth.max(), tile):
        for contour in find_contours(depth, level):
            step = np.hypot(*np.diff(contour, axis=0).T)
            along = np.concatenate([[0.0], step.cumsum()])
            count = int(along[-1] / (1.04 * tile))
            if count < 1:
                continue
            at = (np.arange(count) + 0.5 + rng.uniform(-0.12, 0.12, count)) * along[-1] / count
            before, after = (
                [np.interp(at + shift, along, contour[:, axis]) for axis in (1, 0)]
                for shift in (-0.4 * tile, 0.4 * tile)
            )
            angle = np.arctan2(after[1] - before[1], after[0] - before[0])
            middle = [np.interp(at, along, contour[:, axis]) for axis in (1, 0)]
            stones.append(np.stack([*middle, angle], axis=-1))
    placed = np.concatenate(stones)

    # Where rows meet head on, the later stone gives way; where they leave a hole, a stone fills it.
    placed = placed[_spaced(placed[:, :2], 0.66 * tile)]
    size_px = depth.shape[0]
    filler = rng.uniform(0.0, size_px, (40_000, 2))
    filler = filler[cKDTree(placed[:, :2]).query(filler)[0] > 0.82 * tile]
    filler = filler[_spaced(filler, 0.8 * tile)]
    turned = np.column_stack([filler, rng.uniform(-0.8, 0.8, len(filler))])
    placed = np.vstack([placed, turned])
    placed[:, 2] += rng.normal(0.0, 0.06, len(placed))
    return placed[:, 0], placed[:, 1], placed[:, 2]


def _spaced(points: Array, distance: float) -> np.ndarray:
    """Which points to keep, in order of precedence, so that no two are closer than a distance."""
    keep = np.ones(len(points), dtype=bool)
    pairs = cKDTree(points).query_pairs(distance, output_type="ndarray")
    for first, second in pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]:
        if keep[first]:
            keep[second] = False
    return keep


def _cut(
    size_px: int, x: Array, y: Array, angle: Array, tile: float, rng: np.random.Generator
) -> tuple[np.ndarray, Array, Array]:
    """Shape the stones: each pixel's stone, its distance to the stone's edge, and the stone's tilt.

    A pixel belongs to the stone whose turned square reaches it first, so that neighbours that
    crowd each other end in a straight cut.
    """
    across, down = plane(size_px)
    pixels = np.stack([across.ravel(), down.ravel()], axis=-1)
    nearest = cKDTree(np.stack([x, y], axis=-1)).query(pixels, k=5)[1]
    offset_x = pixels[:, :1] - x[nearest]
    offset_y = pixels[:, 1:] - y[nearest]
    cosine, sine = np.cos(angle)[nearest], np.sin(angle)[nearest]
    along = np.abs(cosine * offset_x + sine * offset_y) / rng.normal(1.0, 0.07, len(x))[nearest]
    aside = np.abs(cosine * offset_y - sine * offset_x)
    reach = (along**5 + aside**5) ** 0.2

    order = np.argsort(reach, axis=1)[:, :2]
    first, second = np.take_along_axis(reach, order, axis=1).T
    edge = np.minimum(0.5 * (second - first), 0.66 * tile - first)
    owner = np.take_along_axis(nearest, order[:, :1], axis=1)[:, 0]
    tilt = rng.normal(0.0, 0.16, (2, len(x)))
    slope = tilt[0][owner] * (pixels[:, 0] - x[owner]) + tilt[1][owner] * (pixels[:, 1] - y[owner])
    shape = (size_px, size_px)
    return owner.reshape(shape), edge.reshape(shape), slope.reshape(shape)
