"""Woodblock print: breaking waves in a few flat inks on paper."""

from __future__ import annotations

import numpy as np
from scipy.interpolate import CubicSpline

from stylization.styles.canvas import Canvas, tapered
from stylization.styles.fields import Array, noise, plane, smoothstep, stretched_noise
from stylization.styles.pigment import lit, mixed, palette, toned

KEY, PRUSSIAN, BLUE, PALE, FOAM, CLAY, ROSE = palette(
    "10233f", "1c4677", "4a86b4", "a6c8cf", "f3e8cd", "d9764a", "eab994"
)
BARE = palette("efdfbb")[0]

# A wave of height 1 that breaks to the right: the back from the trough to the tip, and the hollow front.
BACK = np.array([(-1.75, 0.0), (-1.15, 0.16), (-0.62, 0.50), (-0.12, 0.86), (0.34, 1.0), (0.74, 0.86), (0.88, 0.60)])
FRONT = np.array([(1.35, 0.0), (0.72, 0.06), (0.32, 0.24), (0.17, 0.46), (0.27, 0.66), (0.52, 0.72), (0.88, 0.60)])


def waves(size_px: int, rng: np.random.Generator) -> Array:
    """Rows of curling waves under a graded sky, keyed in prussian blue."""
    unit = size_px / 640.0
    canvas = Canvas(size_px, BARE)
    _sky(canvas, size_px, rng)
    for row in range(7):
        base = size_px * (0.34 + 0.135 * row)
        height = size_px * (0.13 + 0.022 * row)
        spacing = 2.05 * height
        offset = rng.uniform(0.0, spacing)
        _swell(canvas, size_px, base - 0.16 * height, unit, rng)
        for i in rng.permutation(int(size_px / spacing) + 3):
            foot = np.array([(i - 1) * spacing + offset + rng.normal(0.0, 0.12) * height, base])
            size = height * rng.uniform(0.78, 1.22) * np.array([1.0 if rng.random() < 0.85 else -1.0, 1.0])
            _wave(canvas, foot + np.array([0.0, 0.35 * height]), size * np.array([1.0, 1.3]), unit, rng)
    return _pulled(canvas.colour(), size_px, rng)


def _curve(knots: Array, count: int = 70) -> Array:
    """A smooth curve through the knots."""
    at = np.concatenate([[0.0], np.hypot(*np.diff(knots, axis=0).T).cumsum()])
    points: Array = CubicSpline(at, knots)(np.linspace(0.0, at[-1], count))
    return points


def _wave(canvas: Canvas, foot: Array, size: Array, unit: float, rng: np.random.Generator) -> None:
    """One breaker: striped body, foam along the crest, claws at the lip, spray in the air."""

    def placed(knots: Array) -> Array:
        wobble = rng.normal(0.0, 0.022, knots.shape)
        points: Array = foot + (knots + wobble) * size * np.array([1.0, -1.0])
        return points

    tip = placed(BACK[-1:])
    back, front = (_curve(np.vstack([placed(knots[:-1]), tip])) for knots in (BACK, FRONT))
    outline = np.vstack([back, front[::-1]])
    canvas.polygon(outline, PRUSSIAN)

    # Stripes run from the trough to the tip between the back and the front, and meet at the tip.
    edges = np.cumsum(rng.uniform(0.6, 1.4, 15))
    edges = edges / edges[-1]
    for i in range(1, 13, 2):
        ends = edges[i], edges[i] + 0.62 * (edges[i + 1] - edges[i])
        lower, upper = (back + t * (front - back) for t in ends)
        ink = (BLUE, PALE, FOAM, BLUE, PALE, BLUE)[(i // 2) % 6]
        start = int(rng.integers(0, 16))
        canvas.polygon(np.vstack([lower[start:], upper[start:][::-1]]), ink)
    canvas.line(np.vstack([back, front[::-1]]), KEY, 2.6 * unit)
    _foam(canvas, back, front, abs(float(size[0])), float(np.sign(size[0])), unit, rng)


def _foam(
    canvas: Canvas,
    back: Array,
    front: Array,
    height: float,
    heading: float,
    unit: float,
    rng: np.random.Generator,
) -> None:
    """Scallops along the back of the crest and clawing fingers under its lip, in one outlined mass."""
    crest = back[30:]
    swelling = np.sin(np.linspace(0.25, 1.0, len(crest)) * np.pi * 0.72)
    blobs = []
    for point, swell in zip(crest[::2], swelling[::2], strict=True):
        radius = height * (0.030 + 0.040 * swell) * rng.uniform(0.75, 1.3)
        blobs.append((*(point + rng.normal(0.0, 0.012 * height, 2)), radius))
    roots = np.vstack([front[46:][::3], back[56:][::3]])
    for root in roots:
        blobs += _claw(root, height * rng.uniform(0.75, 1.35), heading, rng)
    for x, y, radius in blobs:
        canvas.dot(x, y, radius + 1.7 * unit, KEY)
    for x, y, radius in blobs:
        canvas.dot(x, y, radius, FOAM)
    # Shade inside the foam keeps it from lying flat.
    for point, swell in zip(crest[1::3], swelling[1::3], strict=True):
        inner = point + height * np.array([-0.02 * heading, 0.035])
        arc = np.linspace(0.2, 2.6, 8) + rng.uniform(-0.5, 0.5)
        ring = inner + height * 0.036 * swell * np.stack([np.cos(arc), np.sin(arc)], axis=-1)
        canvas.line(ring, BLUE if rng.random() < 0.6 else PALE, 2.0 * unit)
    for _ in range(16):
        drop = back[-1] + height * np.array([heading * rng.uniform(-0.35, 0.75), rng.uniform(-0.62, 0.30)])
        radius = height * rng.uniform(0.010, 0.026)
        canvas.dot(drop[0], drop[1], radius + 1.3 * unit, KEY)
        canvas.dot(drop[0], drop[1], radius, FOAM)


def _claw(root: Array, height: float, heading: float, rng: np.random.Generator) -> list[tuple[float, float, float]]:
    """A finger of foam that hooks forwards and down: a chain of shrinking drops."""
    angle = 0.5 * np.pi + rng.normal(0.0, 0.35)
    point = root.astype(float).copy()
    chain = []
    for i in range(9):
        radius = height * 0.036 * (1.0 - i / 10.0) ** 0.8
        chain.append((float(point[0]), float(point[1]), float(radius)))
        point += 0.9 * radius * np.array([heading * np.cos(angle - 0.9), np.sin(angle - 0.9)])
        angle += 0.22
    return chain


def _swell(canvas: Canvas, size_px: int, level: float, unit: float, rng: np.random.Generator) -> None:
    """The open sea between two rows of breakers: ruled with rolling contour lines."""
    x = np.linspace(-10.0, size_px + 10.0, 160)
    phase = rng.uniform(0.0, 6.3, 2)
    bottom = np.array([(size_px + 10.0, size_px + 10.0), (-10.0, size_px + 10.0)])
    inks = (PRUSSIAN, PALE, BLUE, FOAM, PRUSSIAN, BLUE, PALE, PRUSSIAN)
    for i in range(14):
        roll = 9.0 * np.sin(x / (46 * unit) + phase[0] + 0.35 * i)
        chop = 5.0 * np.sin(x / (19 * unit) + phase[1] - 0.2 * i)
        y = level + unit * (8.5 * i + roll + chop)
        surface = np.stack([x, y], axis=-1)
        canvas.polygon(np.vstack([surface, bottom]), inks[i % len(inks)])
        canvas.line(surface, KEY, 1.7 * unit)


def _sky(canvas: Canvas, size_px: int, rng: np.random.Generator) -> None:
    """A low sun behind drifting tongues of mist."""
    unit = size_px / 640.0
    canvas.dot(0.70 * size_px, 0.155 * size_px, 0.095 * size_px, CLAY)
    for i in rng.permutation(32):
        y = size_px * (0.03 + 0.0098 * i) + rng.normal(0.0, 3.0) * unit
        x, length = size_px * rng.uniform(-0.30, 0.90), size_px * rng.uniform(0.25, 0.60)
        at = np.linspace(0.0, 1.0, 60)
        middle = y + 3.5 * unit * np.sin(at * rng.uniform(5.0, 11.0) + rng.uniform(0.0, 6.3))
        path = np.stack([x + length * at, middle], axis=-1)
        # A tongue swells and thins before it ends, like smoke drawn with a knife.
        bulge = 0.7 + 0.3 * np.sin(at * rng.uniform(9.0, 16.0) + rng.uniform(0.0, 6.3))
        breadth = unit * rng.uniform(7.0, 14.0) * np.sin(np.pi * at) ** 0.45 * bulge
        canvas.polygon(tapered(path, breadth + 3.0 * unit), KEY)
        canvas.polygon(tapered(path, breadth), (PALE, FOAM, BLUE, FOAM, ROSE)[i % 5])


def _pulled(colour: Array, size_px: int, rng: np.random.Generator) -> Array:
    """The impression: a sky wiped onto the block, wood grain and fibres, ink that did not take."""
    unit = size_px / 640.0
    _, y = plane(size_px)
    grain = stretched_noise(size_px, 60 * unit, 1.1 * unit, rng)
    mottle = noise(size_px, 3 * unit, rng, 2.2)
    pool = noise(size_px, 45 * unit, rng, 3.5)

    # The wipe is darkest at the top, shows the strokes of the cloth, and ends in a blush at the horizon.
    bare = (np.abs(colour - BARE).max(axis=-1) < 0.02).astype(np.float64)
    dusk = smoothstep(0.10, 0.30, y / size_px) * (0.75 + 0.08 * grain)
    colour = mixed(colour, ROSE, dusk.clip(0.0, 1.0) * bare)
    night = (1.0 - smoothstep(0.0, 0.17, y / size_px)) * (0.95 + 0.07 * grain)
    colour = mixed(colour, PRUSSIAN, night.clip(0.0, 1.0) * bare)

    darkness = 1.0 - colour.mean(axis=-1)
    starved = smoothstep(1.3, 3.0, mottle + 0.5 * grain + 0.3 * pool) * darkness
    printed = toned(colour, (0.045 * grain + 0.04 * mottle + 0.05 * pool) * (0.4 + darkness))
    printed = mixed(printed, FOAM, 0.45 * starved)
    return lit(printed, 0.35 * unit * mottle, depth=0.16, soften_px=0.6 * unit)
