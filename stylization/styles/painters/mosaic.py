"""Mosaic: cut stones set in rows along curves, in dark grout."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.measure import find_contours
from skimage.segmentation import find_boundaries

from stylization.styles.fields import Array, noise, packed_circles, plane, smoothstep, warped
from stylization.styles.pigment import lit, mixed, palette, varied

# Stones of a band or medallion, one color for each row from its border inwards.
BANDS = [
    palette("16314f", "2c6f96", "7fbccb", "e9e4cf"),
    palette("7a2419", "c25a2c", "e6a54a", "f3dfae"),
    palette("efe3c6", "d8b98a", "a9744a", "5e2f22"),
    palette("123b3a", "2f7f72", "8fc0a0", "f0e3b8"),
]
MEDALLIONS = [
    palette("f4e6c4", "8f2a24", "e2a63c", "8f2a24", "f4e6c4"),
    palette("f2e2bd", "1d4468", "6fb1c4", "1d4468", "e2a63c"),
    palette("f6ead0", "1f5b50", "d99b3a", "f6ead0", "8f2a24"),
]
GROUT = palette("241d1b")[0]


def mosaic(size_px: int, rng: np.random.Generator) -> Array:
    """Tesserae of 24 px: medallions among undulating bands, with rows parallel to every outline."""
    unit = size_px / 640.0
    tile = 24.0 * unit
    motif, stones_of = _motifs(size_px, tile, rng)
    depth = ndimage.distance_transform_edt(~find_boundaries(motif))
    x, y, angle = _rows(ndimage.gaussian_filter(depth, 2.0 * unit), tile, rng)

    column, row = x.astype(int).clip(0, size_px - 1), y.astype(int).clip(0, size_px - 1)
    course = (depth[row, column] / tile).astype(int)
    stones = np.array(
        [stones_of[m][min(c, len(stones_of[m]) - 1)] for m, c in zip(motif[row, column], course, strict=True)]
    )
    stones = varied(stones, rng, lightness=5.5, hue=4.0)
    owner, edge, slope = _cut(size_px, x, y, angle, tile, rng)
    stone = smoothstep(1.3 * unit, 2.4 * unit, edge)
    height = 3.0 * unit * smoothstep(0.5 * unit, 6.0 * unit, edge) + stone * slope
    shade = 1.0 + 0.05 * noise(size_px, 30 * unit, rng)
    color = mixed(GROUT, stones[owner] * shade[..., None], stone)
    return lit(color, height, depth=0.6, shine=0.08, soften_px=1.2 * unit)


def _motifs(size_px: int, tile: float, rng: np.random.Generator) -> tuple[np.ndarray, list[Array]]:
    """Label every pixel with its band or medallion; return the labels and the stones of each."""
    unit = size_px / 640.0
    x, y = plane(size_px)
    bent_x, bent_y = warped(size_px, rng, (60 * unit, 150 * unit))
    band = np.floor((0.92 * bent_y + 0.38 * bent_x) / (5.6 * tile)).astype(int)
    band -= band.min()
    stones_of = [BANDS[i % len(BANDS)] for i in range(band.max() + 1)]
    for i, (center_x, center_y, radius) in enumerate(
        packed_circles(size_px, [r * unit for r in (112, 90, 90, 66, 66, 66)], rng, gap_px=1.5 * tile)
    ):
        bearing = np.arctan2(y - center_y, x - center_x)
        petals = 1.0 + 0.06 * np.cos((5 + i % 3) * bearing + i)
        band[np.hypot(x - center_x, y - center_y) < radius * petals] = len(stones_of)
        stones_of.append(MEDALLIONS[i % len(MEDALLIONS)])
    return band, stones_of


def _rows(depth: Array, tile: float, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """Place the stones, in rows at whole multiples of the tile size; return their x, y and angle."""
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
    filler = rng.uniform(0.0, size_px, (10_000, 2))
    filler = filler[cKDTree(placed[:, :2]).query(filler)[0] > 0.82 * tile]
    filler = filler[_spaced(filler, 0.8 * tile)]
    turned = np.column_stack([filler, rng.uniform(-0.8, 0.8, len(filler))])
    placed = np.vstack([placed, turned])
    placed[:, 2] += rng.normal(0.0, 0.06, len(placed))
    return placed[:, 0], placed[:, 1], placed[:, 2]


def _spaced(points: Array, distance: float) -> np.ndarray:
    """Select points in order of precedence so that no two are closer than a distance."""
    keep = np.ones(len(points), dtype=bool)
    pairs = cKDTree(points).query_pairs(distance, output_type="ndarray")
    for first, second in pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]:
        if keep[first]:
            keep[second] = False
    return keep


def _cut(
    size_px: int, x: Array, y: Array, angle: Array, tile: float, rng: np.random.Generator
) -> tuple[np.ndarray, Array, Array]:
    """Return each pixel's stone, its distance to the stone's edge, and the stone's tilt.

    A pixel belongs to the stone whose turned square reaches it first, so that crowded neighbors
    end in a straight cut.
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
    tilt = rng.normal(0.0, 0.10, (2, len(x)))
    slope = tilt[0][owner] * (pixels[:, 0] - x[owner]) + tilt[1][owner] * (pixels[:, 1] - y[owner])
    shape = (size_px, size_px)
    return owner.reshape(shape), edge.reshape(shape), slope.reshape(shape)
