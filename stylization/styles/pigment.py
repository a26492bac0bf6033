"""Colours and the surface that carries them: palettes, tonal variation, relief, grain."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from PIL import ImageColor
from scipy import ndimage
from skimage.color import lab2rgb, rgb2lab

from stylization.styles.fields import Array


def palette(*codes: str) -> Array:
    """Colours written as hexadecimal codes, as an array (colours, 3)."""
    return np.array([ImageColor.getrgb(f"#{code}") for code in codes], dtype=np.float64) / 255.0


def ramp(colours: Array, position: Array, stops: Sequence[float] | None = None) -> Array:
    """Colours blended along a gradient; position runs from 0 to 1."""
    at = np.linspace(0.0, 1.0, len(colours)) if stops is None else np.asarray(stops)
    return np.stack([np.interp(position, at, colours[:, channel]) for channel in range(3)], axis=-1)


def varied(colours: Array, rng: np.random.Generator, lightness: float, hue: float) -> Array:
    """Colours (n, 3), each shifted at random in CIELAB: no two strokes are mixed alike."""
    lab: Array = rgb2lab(colours[None])
    lab[0] += rng.standard_normal(colours.shape) * np.array([lightness, hue, hue])
    shifted: Array = from_lab(lab)[0]
    return shifted


def from_lab(lab: Array) -> Array:
    """CIELAB to RGB; colours that no screen can show become the nearest that it can."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Conversion from CIE-LAB", UserWarning)
        colours: Array = lab2rgb(lab)
    return colours.clip(0.0, 1.0)


def mixed(under: Array, over: Array, amount: Array) -> Array:
    """One colour laid over another; `amount` is a mask of the picture."""
    return under + (over - under) * amount[..., None]


def lit(colour: Array, height: Array, depth: float, shine: float = 0.0, soften_px: float = 0.0) -> Array:
    """A painted surface lit from the upper left: `height` in pixels times `depth` is its relief."""
    if soften_px:
        height = ndimage.gaussian_filter(height, soften_px)
    down, right = np.gradient(height * depth)
    length = np.sqrt(1.0 + down**2 + right**2)
    towards = (0.45 * right + 0.55 * down + 0.70) / length
    # Ratio to a flat surface, so that level paint keeps its colour.
    shade = 1.0 + 0.9 * (towards / 0.70 - 1.0)
    gloss = shine * (towards.clip(0.0, 1.0) ** 24)
    surface: Array = colour * shade.clip(0.25, 1.7)[..., None] + gloss[..., None]
    return surface.clip(0.0, 1.0)


def toned(colour: Array, shade: Array) -> Array:
    """Colour made lighter or darker by a field around zero."""
    return (colour * (1.0 + shade)[..., None]).clip(0.0, 1.0)
