"""Constructivist poster: bars, discs and wedges printed in few inks on rough paper."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from stylization.styles.canvas import mask
from stylization.styles.fields import Array, noise, plane, smoothstep, stretched_noise
from stylization.styles.pigment import lit, mixed, palette, toned

PAPER = palette("ecdfc0")[0]
RED, BLACK, MUSTARD, CREAM, BRICK, SLATE = palette("cf2a1e", "17130f", "dfa126", "f4ead0", "8e1d17", "6f7a78")

# The two directions that hold the composition together, in radians.
DIAGONAL, COUNTER = -0.62, 0.95


def constructivist(size_px: int, rng: np.random.Generator) -> Array:
    """Overlapping bars, rings, wedges and ruled fields about two diagonals."""
    unit = size_px / 640.0
    fibre = 0.5 * stretched_noise(size_px, 9 * unit, 0.8 * unit, rng) + noise(size_px, 2.5 * unit, rng, 2.0)
    tooth = noise(size_px, 1.4 * unit, rng, 2.0)
    stain = noise(size_px, 130 * unit, rng, 4.0)
    sheet = toned(PAPER, 0.035 * fibre + 0.03 * stain)
    height = 0.25 * fibre
    drift = noise(size_px, 60 * unit, rng, 3.0)
    for shape, ink, opacity in _composition(size_px, rng):
        # Each pull of the press starves elsewhere.
        drift = np.roll(drift, rng.integers(size_px, size=2), axis=(0, 1))
        sheet, height = _printed(sheet, height, shape * opacity, ink, tooth, drift)
    worn = smoothstep(2.2, 3.4, tooth + 0.5 * stain + 0.3 * fibre)
    sheet = mixed(sheet, CREAM, 0.6 * worn)
    return lit(sheet, height * unit, depth=0.22, soften_px=0.7 * unit)


def _printed(sheet: Array, height: Array, shape: Array, ink: Array, tooth: Array, drift: Array) -> tuple[Array, Array]:
    """One ink pressed on: mottled, starved along a drift, a little thicker than the paper."""
    cover = shape * smoothstep(-2.5, -1.4, tooth + 0.40 * drift)
    tint = toned(ink, 0.055 * drift + 0.045 * tooth)
    # Ink is partly transparent: what lies beneath deepens it.
    overprint = 0.80 * tint + 0.20 * tint * sheet / PAPER
    return mixed(sheet, overprint.clip(0.0, 1.0), cover), height + 0.9 * cover


def _composition(size_px: int, rng: np.random.Generator) -> Iterator[tuple[Array, Array, float]]:
    """The shapes from the bottom up, each with its ink and opacity."""
    board = _Board(size_px, rng)
    # Quarters of tone, so that no part of the sheet stays bare.
    yield board.bar(0.16, 0.18, 0.60, 0.34, COUNTER), MUSTARD, 0.95
    yield board.bar(0.86, 0.80, 0.70, 0.30, DIAGONAL), SLATE, 0.85
    yield board.bar(0.10, 0.86, 0.55, 0.30, DIAGONAL), BRICK, 0.95
    yield board.bar(0.92, 0.14, 0.50, 0.24, COUNTER), CREAM, 0.95
    yield board.ruled(0.82, 0.20, 0.20, 13.0, COUNTER), BLACK, 0.95
    yield board.ruled(0.16, 0.52, 0.16, 10.0, DIAGONAL), RED, 0.95
    yield board.halftone(0.72, 0.82, 0.21, 14.0), BLACK, 0.95
    yield board.halftone(0.24, 0.14, 0.17, 12.0), BRICK, 0.95
    # The great disc and what strikes it.
    yield board.ring(0.46, 0.45, 0.285, 0.0), BLACK, 0.97
    yield board.ring(0.46, 0.45, 0.245, 0.21), CREAM, 0.97
    yield board.ring(0.46, 0.45, 0.165, 0.0), RED, 0.97
    yield board.ring(0.46, 0.45, 0.115, 0.095), BLACK, 0.97
    yield board.ring(0.46, 0.45, 0.060, 0.0), MUSTARD, 0.97
    yield board.wedge(0.98, 0.30, 0.60, 0.13, DIAGONAL + np.pi), RED, 0.97
    yield board.wedge(0.04, 0.98, 0.66, 0.10, DIAGONAL), BLACK, 0.97
    yield board.wedge(0.30, 1.02, 0.52, 0.09, DIAGONAL - 0.5), MUSTARD, 0.95
    yield from _bars(board)
    yield from _scatter(board)


def _bars(board: _Board) -> Iterator[tuple[Array, Array, float]]:
    """Staves of bars along the two diagonals."""
    inks = [BLACK, RED, CREAM, MUSTARD, BLACK, BRICK]
    for i in range(9):
        x, y = 0.12 + 0.105 * i, 0.97 - 0.050 * i
        yield board.bar(x, y, 0.30 - 0.02 * (i % 4), 0.016 + 0.008 * (i % 3), COUNTER), inks[i % 6], 0.97
    for i in range(8):
        x, y = 0.60 + 0.045 * i, 0.46 + 0.062 * i
        width = 0.014 + 0.012 * (i % 3 == 0)
        yield board.bar(x, y, 0.52 - 0.04 * (i % 3), width, DIAGONAL), inks[(i + 3) % 6], 0.97
    for i in range(7):
        x, y = 0.05 + 0.052 * i, 0.40 - 0.058 * i
        width = 0.012 + 0.010 * (i % 2)
        yield board.bar(x, y, 0.36 - 0.03 * (i % 3), width, DIAGONAL), inks[(2 * i) % 6], 0.97
    for i in range(6):
        x, y = 0.56 + 0.080 * i, 0.02 + 0.046 * i
        yield board.bar(x, y, 0.26, 0.012 + 0.012 * (i % 2), COUNTER), inks[(i + 1) % 6], 0.97


def _scatter(board: _Board) -> Iterator[tuple[Array, Array, float]]:
    """Small discs, rings, triangles and a checkered strip that carry the eye between the bars."""
    yield board.checks(0.64, 0.66, 0.62, 0.052, DIAGONAL), BLACK, 0.97
    yield board.checks(0.20, 0.70, 0.40, 0.040, COUNTER), CREAM, 0.97
    for x, y, radius, hole, ink in [
        (0.86, 0.58, 0.085, 0.055, BLACK), (0.86, 0.58, 0.038, 0.0, RED),
        (0.11, 0.12, 0.080, 0.0, RED), (0.11, 0.12, 0.046, 0.028, CREAM),
        (0.72, 0.13, 0.060, 0.0, BLACK), (0.72, 0.13, 0.036, 0.0, MUSTARD),
        (0.34, 0.86, 0.070, 0.046, CREAM), (0.34, 0.86, 0.030, 0.0, BLACK),
        (0.93, 0.92, 0.074, 0.0, RED), (0.93, 0.92, 0.044, 0.026, BLACK),
        (0.07, 0.70, 0.052, 0.030, BLACK), (0.58, 0.90, 0.046, 0.0, MUSTARD),
        (0.95, 0.36, 0.040, 0.0, BLACK), (0.40, 0.07, 0.048, 0.026, BLACK),
    ]:  # fmt: skip
        yield board.ring(x, y, radius, hole), ink, 0.97
    for i in range(7):
        pennant = board.wedge(0.50 + 0.072 * i, 0.965 - 0.02 * (i % 2), 0.085, 0.035, -1.2)
        yield pennant, (CREAM, BLACK, RED)[i % 3], 0.97
    for i in range(6):
        yield board.wedge(0.03 + 0.05 * i, 0.33 - 0.012 * i, 0.075, 0.026, 0.9), (BLACK, CREAM)[i % 2], 0.97


class _Board:
    """The drawing board: positions and lengths as fractions of the sheet, cut by a slightly unsure hand."""

    def __init__(self, size_px: int, rng: np.random.Generator) -> None:
        self._size = size_px
        self._rng = rng
        self._x, self._y = plane(size_px)
        self._wander = 0.55 * size_px / 640.0 * noise(size_px, 12 * size_px / 640.0, rng, 3.0)

    def bar(self, x: float, y: float, length: float, width: float, angle: float) -> Array:
        """A rectangle about its middle."""
        along, aside = self._turned(x, y, angle + self._rng.normal(0.0, 0.012))
        return self._within(0.5 * length - np.abs(along), 0.5 * width - np.abs(aside))

    def ring(self, x: float, y: float, radius: float, hole: float) -> Array:
        """A disc, or an annulus when the hole has a radius."""
        distance = np.hypot(*self._turned(x, y, 0.0))
        return self._within(radius - distance, distance - hole)

    def wedge(self, x: float, y: float, length: float, width: float, angle: float) -> Array:
        """A triangle from its base at (x, y) to a point."""
        forward = np.array([np.cos(angle), np.sin(angle)])
        side = np.array([-forward[1], forward[0]]) * width
        base = np.array([x, y])
        corners = np.stack([base + side, base + length * forward, base - side])
        corners += self._rng.normal(0.0, 0.004, corners.shape)
        return mask(self._size, [corners * self._size])

    def ruled(self, x: float, y: float, radius: float, pitch: float, angle: float) -> Array:
        """A disc of parallel rules."""
        along, aside = self._turned(x, y, angle)
        rules = _wave(aside, pitch / 640.0)
        return self._within(radius - np.hypot(along, aside), rules)

    def halftone(self, x: float, y: float, radius: float, pitch: float) -> Array:
        """A disc of screen dots that shrink outwards."""
        along, aside = self._turned(x, y, 0.35)
        pitch /= 640.0
        distance = np.hypot(along, aside)
        screen = _wave(along, pitch) + _wave(aside, pitch) + pitch * (0.18 - 0.37 * distance / radius)
        return self._within(radius - distance, screen)

    def checks(self, x: float, y: float, length: float, width: float, angle: float) -> Array:
        """A strip of two rows of squares."""
        along, aside = self._turned(x, y, angle)
        squares = _wave(along, width) * np.sign(aside)
        return self._within(0.5 * length - np.abs(along), 0.5 * width - np.abs(aside), squares)

    def _turned(self, x: float, y: float, angle: float) -> tuple[Array, Array]:
        across, down = self._x / self._size - x, self._y / self._size - y
        cosine, sine = np.cos(angle), np.sin(angle)
        return cosine * across + sine * down, cosine * down - sine * across

    def _within(self, *margins: Array) -> Array:
        """Where every margin is positive, give or take the wander of the hand."""
        inside: Array = (np.minimum.reduce(margins) + self._wander / self._size > 0.0).astype(np.float64)
        return inside


def _wave(distance: Array, pitch: float) -> Array:
    """A cosine as steep as the distance itself where it crosses zero, so that edges wander evenly."""
    return np.cos(2.0 * np.pi * distance / pitch) * pitch / (2.0 * np.pi)
