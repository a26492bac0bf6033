"""Pictures painted at another size and enlarged again, by the same kernels for files, arrays and tensors.

libvips computes in strips, so a photograph of any size goes through without being in memory as a whole. Pictures are
sRGB of 16 bits in between, whatever their own depth.
"""

import numpy as np
import pyvips
from numpy.typing import NDArray

from stylization.images.photographs import as_image

Size = tuple[int, int]  # height, width
Pixels = NDArray[np.float32]  # (3, h, w) in [0, 1]
LEVELS = 65535


def to_16_bits(picture: pyvips.Image) -> pyvips.Image:
    """A picture of 8 or 16 bits, as one of 16 bits."""
    if picture.format == "ushort":
        return picture
    return (picture.cast("uchar") * 257).cast("ushort").copy(interpretation="rgb16")


def resized(picture: pyvips.Image, size: Size) -> pyvips.Image:
    """A picture of 16 bits at this size, bilinear, antialiased where it is reduced."""
    return _rounded(_resized(picture, size, "linear"))


def enlarged(stylized: pyvips.Image, small: pyvips.Image, photo: pyvips.Image) -> pyvips.Image:
    """The stylization of a resized photograph at the size of the photograph, bicubic, with the details that only the
    photograph has. All have 16 bits."""
    size = photo.height, photo.width
    large = _resized(stylized, size, "cubic")
    if photo.width > small.width:
        large = large + (photo.cast("float") - _resized(small, size, "cubic"))
    return _rounded(large)


def resized_pixels(x: Pixels, size: Size) -> Pixels:
    """As `resized`, of an array."""
    return x if size == x.shape[1:] else _pixels(resized(as_image(x, 16), size))


def enlarged_pixels(stylized: Pixels, small: Pixels, photo: Pixels) -> Pixels:
    """As `enlarged`, of arrays."""
    if small.shape == photo.shape:
        return stylized
    return _pixels(enlarged(as_image(stylized, 16), as_image(small, 16), as_image(photo, 16)))


def _pixels(picture: pyvips.Image) -> Pixels:
    levels = np.ascontiguousarray(picture.numpy().transpose(2, 0, 1), np.float32)
    levels /= LEVELS
    return levels


def _resized(picture: pyvips.Image, size: Size, kernel: str) -> pyvips.Image:
    h, w = size
    return picture.cast("float").resize(w / picture.width, vscale=h / picture.height, kernel=kernel)


def _rounded(picture: pyvips.Image) -> pyvips.Image:
    return picture.rint().cast("ushort").copy(interpretation="rgb16")
