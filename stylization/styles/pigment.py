"""Colors and the surface that carries them: palettes, variation, layering, relief."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from PIL import ImageColor
from scipy import ndimage
from skimage.color import lab2rgb, rgb2lab

from stylization.styles.fields import Array


def palette(*codes: str) -> Array:
    """Return colors written as hexadecimal codes, as an array (colors, 3)."""
    return np.array([ImageColor.getrgb(f"#{code}") for code in codes], dtype=np.float64) / 255.0


def ramp(colors: Array, position: Array, stops: Sequence[float] | None = None) -> Array:
    """Blend colors along a gradient; position runs from 0 to 1."""
    at = np.linspace(0.0, 1.0, len(colors)) if stops is None else np.asarray(stops)
    return np.stack([np.interp(position, at, colors[:, channel]) for channel in range(3)], axis=-1)


def varied(colors: Array, rng: np.random.Generator, lightness: float, hue: float) -> Array:
    """Return colors (n, 3), each shifted at random in CIELAB."""
    lab: Array = rgb2lab(colors[None])
    lab[0] += rng.standard_normal(colors.shape) * np.array([lightness, hue, hue])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Conversion from CIE-LAB", UserWarning)
        shifted: Array = lab2rgb(lab)[0]
    return shifted.clip(0.0, 1.0)


def mixed(under: Array, over: Array, amount: Array) -> Array:
    """Lay one color over another; `amount` is a mask of the picture."""
    return under + (over - under) * amount[..., None]


def toned(color: Array, shade: Array) -> Array:
    """Make a color lighter or darker by a field around zero."""
    return (color * (1.0 + shade)[..., None]).clip(0.0, 1.0)


def lit(color: Array, height: Array, depth: float, shine: float = 0.0, soften_px: float = 0.0) -> Array:
    """Light a painted surface from the upper left: `height` in pixels times `depth` is its relief."""
    if soften_px:
        height = ndimage.gaussian_filter(height, soften_px)
    down, right = np.gradient(height * depth)
    length = np.sqrt(1.0 + down**2 + right**2)
    towards = (0.45 * right + 0.55 * down + 0.70) / length
    # Ratio to a flat surface, so that level paint keeps its color.
    shade = 1.0 + 0.9 * (towards / 0.70 - 1.0)
    gloss = shine * (towards.clip(0.0, 1.0) ** 24)
    surface: Array = color * shade.clip(0.25, 1.7)[..., None] + gloss[..., None]
    return surface.clip(0.0, 1.0)
