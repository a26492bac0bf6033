"""Waves: a woodblock print of large curling breakers in flat blues and cream."""

from __future__ import annotations

import numpy as np

from stylization.styles.canvas import Canvas, curve, tapered
from stylization.styles.fields import Array
from stylization.styles.pigment import palette

KEY, PRUSSIAN, BLUE, PALE, FOAM, SAND = palette("0f2442", "1b4a80", "4c8bb8", "a9cdd2", "f5ecd4", "e9d6ac")

# A wave of height 1 that breaks to the right: the back from the trough to the tip, and the hollow front.
BACK = np.array([(-1.75, 0.0), (-1.15, 0.16), (-0.62, 0.50), (-0.12, 0.86), (0.34, 1.0), (0.74, 0.86), (0.88, 0.60)])
FRONT = np.array([(1.35, 0.0), (0.72, 0.06), (0.32, 0.24), (0.17, 0.46), (0.27, 0.66), (0.52, 0.72), (0.88, 0.60)])


def waves(size_px: int, rng: np.random.Generator) -> Array:
    """Stack rows of breakers from the top to the bottom, each row over the one behind it."""
    unit = size_px / 640.0
    canvas = Canvas(size_px, SAND)
    for row in range(7):
        base, height = unit * (-20.0 + 134.0 * row), 235.0 * unit
        spacing = 1.55 * height
        _trough(canvas, size_px, base - 0.1 * height, unit, rng)
        for i in rng.permutation(int(size_px / spacing) + 3):
            foot = np.array(
                [(i - 0.9 + 0.5 * (row % 2)) * spacing + rng.normal(0.0, 0.1) * height, base + 0.3 * height]
            )
            heading = 1.0 if rng.random() < 0.8 else -1.0
            _wave(canvas, foot, height * rng.uniform(0.85, 1.15) * np.array([heading, 1.1]), unit, rng)
    return canvas.color()


def _trough(canvas: Canvas, size_px: int, level: float, unit: float, rng: np.random.Generator) -> None:
    """Draw the water at the foot of a row: three broad rolling stripes."""
    x = np.linspace(-20.0, size_px + 20.0, 90)
    bottom = np.array([(size_px + 20.0, size_px + 20.0), (-20.0, size_px + 20.0)])
    for i, color in enumerate((BLUE, FOAM, PRUSSIAN)):
        roll = 10.0 * np.sin(x / (52 * unit) + rng.uniform(0.0, 6.3))
        surface = np.stack([x, level + unit * (22.0 * i + roll)], axis=-1)
        canvas.polygon(np.vstack([surface, bottom]), color)
        canvas.line(surface, KEY, 4.0 * unit)


def _wave(canvas: Canvas, foot: Array, size: Array, unit: float, rng: np.random.Generator) -> None:
    """Draw one breaker: a body with broad stripes that meet at the tip, a crest of foam and its claws."""

    def placed(knots: Array) -> Array:
        wobble = rng.normal(0.0, 0.018, knots.shape)
        points: Array = foot + (knots + wobble) * size * np.array([1.0, -1.0])
        return points

    tip = placed(BACK[-1:])
    back, front = (curve(np.vstack([placed(knots[:-1]), tip]), 70) for knots in (BACK, FRONT))
    outline = np.vstack([back, front[::-1]])
    canvas.polygon(outline, PRUSSIAN)
    for near, far, color in ((0.18, 0.34, BLUE), (0.48, 0.62, FOAM), (0.74, 0.88, PALE)):
        lower, upper = (back + t * (front - back) for t in (near, far))
        canvas.polygon(np.vstack([lower[6:], upper[6:][::-1]]), color)
    canvas.line(np.vstack([outline, outline[:2]]), KEY, 5.0 * unit)

    heading, height = float(np.sign(size[0])), abs(float(size[0]))
    scallops = height * np.where(np.arange(12) % 3 == 1, 0.085, 0.062)
    foam = list(zip(back[30:66:3], scallops, strict=True))
    claws = [_claw(root, height * rng.uniform(0.95, 1.35), heading, rng) for root in front[46:68:5]]
    for grow, color in ((4.0 * unit, KEY), (0.0, FOAM)):
        for claw, widths in claws:
            canvas.polygon(tapered(claw, widths + 2.0 * grow), color)
        for (x, y), radius in foam:
            canvas.dot(x, y, radius + grow, color)
    canvas.line(back[36:66] + np.array([0.0, 0.030 * height]), PALE, 0.045 * height)


def _claw(root: Array, height: float, heading: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return the path and the widths of a finger of foam that hooks forwards and down."""
    at = np.linspace(0.0, 1.0, 24)
    angle = 0.55 * np.pi + rng.normal(0.0, 0.2) - 1.9 * at
    step = np.stack([heading * np.cos(angle), np.sin(angle)], axis=-1)
    path = root + 0.22 * height * step.cumsum(axis=0) / len(at)
    return path, height * 0.11 * (1.0 - 0.75 * at)
