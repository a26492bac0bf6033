"""Masks: where to repaint, for photographs, videos and styles alike."""

from pathlib import Path

import numpy as np
import pyvips
from numpy.typing import NDArray

from stylization.images.photographs import Photograph


def read_mask(source: str | Path) -> pyvips.Image:
    """Return one band of 8 bits: luminance times alpha, so that black and transparent are left alone."""
    mask = Photograph(source)
    luminance = mask.srgb.colourspace("b-w")  # of 8 bits
    if mask.opacity is not None:
        luminance = luminance * (mask.opacity / (2.0**mask.depth - 1))
    return luminance.rint().cast("uchar")


def resized_mask(mask: pyvips.Image, width: int, height: int) -> pyvips.Image:
    """Return a mask stretched over a picture of any size."""
    return mask.resize(width / mask.width, vscale=height / mask.height)


def mask_shares(mask: pyvips.Image, top: int = 0, bottom: int | None = None) -> NDArray[np.float32]:
    """Return rows of a mask as shares (h, w) in [0, 1]."""
    rows = (mask.height if bottom is None else bottom) - top
    levels = mask.crop(0, top, mask.width, rows).numpy().reshape(rows, mask.width)
    shares: NDArray[np.float32] = levels.astype(np.float32) / np.float32(255)
    return shares
