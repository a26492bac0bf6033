"""Scalar and vector fields over the picture plane: coordinates, noise, cells, flow, scattered points."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage
from scipy.spatial import cKDTree

Array = NDArray[np.float64]


def plane(size_px: int) -> tuple[Array, Array]:
    """Return the x and y coordinate of every pixel, in pixels."""
    y, x = np.mgrid[0:size_px, 0:size_px].astype(np.float64)
    return x, y


def noise(size_px: int, feature_px: float, rng: np.random.Generator, roughness: float = 4.0) -> Array:
    """Return Gaussian noise with zero mean and unit deviation, correlated over about `feature_px`.

    The spectrum falls as a power law beyond the feature size: roughness 2 is craggy, 6 is silky.
    """
    frequency = np.hypot(fft.fftfreq(size_px)[:, None], fft.rfftfreq(size_px)[None, :])
    amplitude = (1.0 + (2.0 * frequency * feature_px) ** 2) ** (-roughness / 2.0)
    amplitude[0, 0] = 0.0
    spectrum = fft.rfft2(rng.standard_normal((size_px, size_px))) * amplitude
    field: Array = fft.irfft2(spectrum, (size_px, size_px))
    field /= field.std()
    return field


def warped(size_px: int, rng: np.random.Generator, *pushes: tuple[float, float]) -> tuple[Array, Array]:
    """Return the coordinates of a plane displaced by smooth noise; each push is (amplitude_px, feature_px)."""
    x, y = plane(size_px)
    for amplitude, feature in pushes:
        push = [noise(size_px, feature, rng, 6.0) for _ in range(2)]
        x, y = x + amplitude * sample(push[0], x, y), y + amplitude * sample(push[1], x, y)
    return x, y


def smoothstep(low: float, high: float, field: Array) -> Array:
    """Return a ramp from 0 at `low` to 1 at `high` with no kink at either end."""
    t: Array = ((field - low) / (high - low)).clip(0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def sample(field: Array, x: Array, y: Array) -> Array:
    """Read a field at real-valued coordinates, wrapping around at the border."""
    values: Array = ndimage.map_coordinates(field, [y, x], order=1, mode="grid-wrap")
    return values


def cells(x: Array, y: Array, points: Array) -> tuple[NDArray[np.intp], Array]:
    """Return each pixel's nearest point (its Voronoi cell) and its distance to the cell's edge."""
    near, index = cKDTree(points).query(np.stack([x.ravel(), y.ravel()], axis=-1), k=2)
    apart = np.hypot(*(points[index[:, 0]] - points[index[:, 1]]).T) + 1e-9
    edge = (near[:, 1] ** 2 - near[:, 0] ** 2) / (2.0 * apart)
    return index[:, 0].reshape(x.shape), edge.reshape(x.shape)


def flow(potential: Array) -> tuple[Array, Array]:
    """Return the unit vector along the contour lines of a potential: a flow without sources."""
    down, right = np.gradient(potential)
    length = np.hypot(down, right) + 1e-12
    return down / length, -right / length


def streamlines(direction: tuple[Array, Array], x: Array, y: Array, lengths_px: Array, steps: int = 12) -> Array:
    """Return curves through the points (x, y) along a direction field: an array (curves, steps, 2)."""
    size_px = direction[0].shape[0]
    stride = lengths_px / (steps - 1)
    halves = []
    for sign in (-1.0, 1.0):
        position = np.stack([x, y], axis=-1)
        half = [position]
        for _ in range(steps // 2):
            column, row = position.round().astype(int).clip(0, size_px - 1).T
            heading = np.stack([direction[0][row, column], direction[1][row, column]], axis=-1)
            position = position + sign * stride[:, None] * heading
            half.append(position)
        halves.append(half)
    return np.stack(halves[0][:0:-1] + halves[1], axis=1)


def scattered(size_px: int, spacing_px: float, rng: np.random.Generator, jitter: float = 0.5) -> tuple[Array, Array]:
    """Return points of a jittered hexagonal grid that covers the picture and its margin, in random order."""
    rows = int(size_px / (spacing_px * 0.87)) + 3
    columns = int(size_px / spacing_px) + 3
    row, column = np.mgrid[0:rows, 0:columns]
    x = (column - 1.0 + 0.5 * (row % 2)) * spacing_px
    y = (row - 1.0) * spacing_px * 0.87
    points = np.stack([x.ravel(), y.ravel()], axis=-1)
    points += rng.uniform(-jitter, jitter, points.shape) * spacing_px
    points = rng.permutation(points)
    return points[:, 0], points[:, 1]


def packed_circles(
    size_px: int, radii_px: list[float], rng: np.random.Generator, gap_px: float = 0.0, tries: int = 60
) -> Array:
    """Return circles (x, y, radius) thrown one after another, each kept where it touches no earlier one."""
    kept = np.empty((0, 3))
    for radius in radii_px:
        candidates = rng.uniform(-0.5 * radius, size_px + 0.5 * radius, (tries, 2))
        clearance = np.full(tries, np.inf)
        if len(kept):
            distance = np.hypot(*(candidates[:, None] - kept[None, :, :2]).transpose(2, 0, 1))
            clearance = (distance - kept[None, :, 2]).min(axis=1) - radius - gap_px
        if clearance.max() > 0.0:
            kept = np.vstack([kept, [*candidates[(clearance > 0.0).argmax()], radius]])
    return kept


def window(size_px: int, x: float, y: float, reach_px: float) -> tuple[slice, slice]:
    """Return the rows and columns of the picture within a square of half-side `reach_px` about a point."""
    top, left = (int(np.clip(at - reach_px, 0, size_px)) for at in (y, x))
    bottom, right = (int(np.clip(at + reach_px + 1, 0, size_px)) for at in (y, x))
    return slice(top, bottom), slice(left, right)
