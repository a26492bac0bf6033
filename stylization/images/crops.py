"""Square crops of pictures still encoded, decoded no larger than they need be."""

from collections.abc import Callable

import numpy as np
import simplejpeg
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps
from torch import Tensor
from torch.nn import functional

from stylization.errors import Damaged
from stylization.images.pictures import harmless, naming_damage, opened, through_profile, to_srgb
from stylization.images.tensors import to_uint8


class Encoded:
    """A picture still encoded: its upright `width` and `height` are known, its pixels only when a crop needs them.

    Raises `Damaged` with its `name` if it is no picture, now, or if its pixels turn out to be damaged, later.
    """

    def __init__(self, content: bytes, name: str) -> None:
        self.content, self.name = content, name
        self.image = opened(content, name)
        with naming_damage(name):
            self.orientation = self.image.getexif().get(ExifTags.Base.Orientation, 1)
        sideways = self.orientation in (5, 6, 7, 8)
        self.width, self.height = reversed(self.image.size) if sideways else self.image.size

    def crop(self, left: float, top: float, side: float, size_px: int) -> Tensor:
        """The square of `side` pixels at (left, top) as uint8 sRGB (3, size_px, size_px), antialiased.

        A JPEG is decoded at 1/8, 1/4, 1/2 of its size where that leaves the crop `ENOUGH` of its pixels: its cosine
        transform gives the reduced picture for less than the whole one.
        """
        if self.image.format == "JPEG" and self.image.mode in ("RGB", "L"):
            reduction = next((k for k in (8, 4, 2) if side / k >= ENOUGH * size_px), 1)
            pixels = self._decode(reduction)
            if pixels is not None:
                return self._to_srgb(square(pixels, left, top, side, size_px, reduction))
        with naming_damage(self.name):
            pixels = torch.from_numpy(np.array(to_srgb(ImageOps.exif_transpose(self.image))))
        return square(pixels, left, top, side, size_px)

    def _decode(self, reduction: int) -> Tensor | None:
        """The upright picture, (h / reduction, w / reduction, 3), in its own colours; None leaves it to Pillow."""
        width, height = self.image.size
        try:
            pixels = simplejpeg.decode_jpeg(
                self.content, min_height=-(-height // reduction), min_width=-(-width // reduction)
            )
        except ValueError as error:
            if harmless(str(error)):
                return None
            reason = "truncated" if "premature end" in str(error).lower() else "corrupt"
            raise Damaged(f"{self.name} is damaged: {error}", reason) from None
        upright = _UPRIGHT.get(self.orientation, lambda x: x)(pixels)
        return torch.from_numpy(np.ascontiguousarray(upright))

    def _to_srgb(self, crop: Tensor) -> Tensor:
        profile = self.image.info.get("icc_profile")
        if not profile or self.image.mode != "RGB":
            return crop
        return to_uint8(through_profile(Image.fromarray(crop.permute(1, 2, 0).numpy()), profile))


ENOUGH = 0.9  # of the pixels asked for: enlarging by a tenth cannot be seen, and spares decoding four times as many

_UPRIGHT: dict[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {  # of (h, w, 3), by EXIF's orientation
    2: np.fliplr,
    3: lambda x: np.rot90(x, 2),
    4: np.flipud,
    5: lambda x: x.transpose(1, 0, 2),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: np.rot90(x, 2).transpose(1, 0, 2),
    8: np.rot90,
}


def square(pixels: Tensor, left: float, top: float, side: float, size_px: int, reduction: int = 1) -> Tensor:
    """The square of `side` at (left, top) of (h, w, 3) uint8 pixels, resized: uint8 (3, size_px, size_px), antialiased.

    The square is given in the pixels of the picture before its `reduction`, and is cut at whole pixels after it.
    """
    h, w = pixels.shape[:2]
    cut = max(1, min(round(side / reduction), h, w))
    y, x = (min(round(start / reduction), end - cut) for start, end in ((top, h), (left, w)))
    # A batch of one whose strides say that the channels come last: for bytes so laid out PyTorch has vectorised
    # kernels, several times as fast as for planes, or as Pillow. The answer's are laid out so too.
    region = pixels[None, y : y + cut, x : x + cut].contiguous().permute(0, 3, 1, 2)
    if pixels.device.type == "cpu":
        return functional.interpolate(region, (size_px, size_px), mode="bilinear", antialias=True)[0]
    resized = functional.interpolate(region.float(), (size_px, size_px), mode="bilinear", antialias=True)[0]
    return resized.round().to(torch.uint8)
