"""Pictures in and out: the only module that knows bytes, files, EXIF and colour profiles.

Between here and here, an image is a float RGB tensor in [0, 1], shaped (3, h, w) or (b, 3, h, w).
"""

import io
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError
from torch import Tensor

from stylization.errors import InputError, written_whole

_SRGB = ImageCms.createProfile("sRGB")


def read(source: str | Path | bytes) -> Image.Image:
    """A picture as upright 8-bit sRGB, whatever it was: EXIF rotation applied, ICC profile converted,
    grey, palette, CMYK and 16-bit widened or narrowed, transparency laid on white.

    `source` is a path, an http(s) URL or the file's bytes. Raises `InputError` naming it and the reason.
    """
    name = "picture" if isinstance(source, bytes) else str(source)
    content = source if isinstance(source, bytes) else _read_bytes(name)
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            return _to_srgb(ImageOps.exif_transpose(image))
    except UnidentifiedImageError:
        raise InputError(f"{name} is not a picture that Pillow can read") from None
    except Image.DecompressionBombError as error:
        raise InputError(f"{name} is too large to open: {error}") from None
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow's decoders raise on damaged files
        raise InputError(f"{name} is damaged: {error}") from None


def _read_bytes(name: str) -> bytes:
    try:
        if name.startswith(("http://", "https://")):
            with urllib.request.urlopen(name, timeout=60) as response:
                return bytes(response.read())
        return Path(name).expanduser().read_bytes()
    except (urllib.error.URLError, TimeoutError) as error:
        raise InputError(f"cannot fetch {name}: {getattr(error, 'reason', error)}") from None
    except OSError as error:
        raise InputError(f"cannot read {name}: {error.strerror or error}") from None


def _to_srgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        # 16-bit grey: Pillow's own convert("L") clips at 255 instead of scaling.
        samples = np.asarray(image, dtype=np.float64)
        image = Image.fromarray((samples / max(samples.max(), 65535.0) * 255.0).round().astype(np.uint8))
    if image.mode == "P" or "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    profile = image.info.get("icc_profile")
    if profile and image.mode in ("RGB", "RGBA", "CMYK", "L"):
        if image.mode == "RGBA":
            image = image.convert("RGB")
        try:
            converted = ImageCms.profileToProfile(
                image, ImageCms.ImageCmsProfile(io.BytesIO(profile)), _SRGB, outputMode="RGB"
            )
            image = converted or image
        except (ImageCms.PyCMSError, OSError):
            pass  # a broken profile is common in the wild and says nothing about the pixels: take them as sRGB
    return image.convert("RGB")


def shrink(image: Image.Image, short_side_px: int) -> Image.Image:
    """The picture reduced so that its short side is `short_side_px`; smaller ones are left as they are."""
    scale = short_side_px / min(image.size)
    if scale >= 1:
        return image
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS)


def to_uint8(image: Image.Image) -> Tensor:
    """The picture's bytes as a (3, h, w) uint8 tensor: a quarter of the float's size across processes."""
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).contiguous()


def to_float(pixels: Tensor) -> Tensor:
    """uint8 in 0..255 to float32 in [0, 1], on the tensor's own device."""
    return pixels.float().div_(255.0)


def to_tensor(image: Image.Image) -> Tensor:
    """The picture as a (3, h, w) float tensor in [0, 1]."""
    return to_float(to_uint8(image))


def to_picture(image: Tensor) -> Image.Image:
    """A (3, h, w) float tensor in [0, 1], clamped and rounded to 8 bits."""
    pixels = image.detach().float().clamp(0.0, 1.0).mul(255.0).round().to(torch.uint8)
    return Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy())


def save(image: Image.Image, path: Path) -> None:
    """Write the picture whole or not at all, in the format that the suffix names. Raises `InputError`."""
    image_format = Image.registered_extensions().get(path.suffix.lower())
    if image_format is None or image_format not in Image.SAVE:
        raise InputError(f"cannot write {path}: no picture format has the suffix '{path.suffix}' (try .png or .jpg)")
    options = {"quality": 95, "subsampling": 0} if image_format == "JPEG" else {}
    with written_whole(path) as file:
        image.save(file, format=image_format, **options)
