"""Pictures in and out: the only module that knows bytes, files, EXIF and colour profiles.

Between here and here, an image is a float RGB tensor in [0, 1], shaped (3, h, w) or (b, 3, h, w).
"""

import http.client
import io
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError
from torch import Tensor

from stylization.errors import InputError, written_whole

_SRGB = ImageCms.createProfile("sRGB")


def read(source: str | Path | bytes, name: str | None = None) -> Image.Image:
    """A picture as upright 8-bit sRGB, whatever it was: EXIF rotation applied, ICC profile converted,
    grey, palette, CMYK and 16-bit widened or narrowed, transparency laid on white.

    `source` is a path, an http(s) URL or the file's bytes. Raises `InputError` with its `name` and the reason.
    """
    content = source if isinstance(source, bytes) else _read_bytes(str(source))
    name = name or ("picture" if isinstance(source, bytes) else str(source))
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
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ValueError) as error:
        raise InputError(f"cannot fetch {name}: {getattr(error, 'reason', error)}") from None
    except OSError as error:
        raise InputError(f"cannot read {name}: {error.strerror or error}") from None


def _to_srgb(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if image.mode.startswith("I") or image.mode == "F":
        # 16-bit grey: Pillow's own convert("L") clips at 255 instead of scaling.
        samples = np.asarray(image, dtype=np.float64)
        image = Image.fromarray((samples / max(samples.max(), 65535.0) * 255.0).round().astype(np.uint8))
    if image.mode == "P" or "transparency" in image.info or image.mode in ("LA", "PA", "RGBa", "La"):
        image = image.convert("RGBA")
    opacity = image.getchannel("A") if image.mode == "RGBA" else None
    if opacity is not None:
        image = image.convert("RGB")
    if profile:
        image = _through_profile(image, profile)
    image = image.convert("RGB")
    return image if opacity is None else Image.composite(image, Image.new("RGB", image.size, "white"), opacity)


def _through_profile(image: Image.Image, profile: bytes) -> Image.Image:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return ImageCms.profileToProfile(image, source, _SRGB, outputMode="RGB") or image
    except (ImageCms.PyCMSError, OSError):
        return image  # a broken profile is common in the wild and says nothing about the pixels: take them as sRGB


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


def sheet(columns: Sequence[Tensor], gap_px: int = 6) -> Image.Image:
    """Batches side by side, on white: a row for each image, a column for each (b, 3, h, w) batch."""
    rows = torch.stack(list(columns), dim=1)  # (b, columns, 3, h, w)
    b, num_columns, _, h, w = rows.shape
    canvas = torch.ones(3, b * (h + gap_px) - gap_px, num_columns * (w + gap_px) - gap_px)
    for row in range(b):
        for column in range(num_columns):
            top, left = row * (h + gap_px), column * (w + gap_px)
            canvas[:, top : top + h, left : left + w] = rows[row, column]
    return to_picture(canvas)


def check_suffix(path: Path) -> str:
    """The picture format that the suffix names. Raises `InputError` if there is none that can be written."""
    image_format = Image.registered_extensions().get(path.suffix.lower())
    if image_format is None or image_format not in Image.SAVE:
        raise InputError(f"cannot write {path}: no picture format has the suffix '{path.suffix}' (try .png or .jpg)")
    return image_format


def save(image: Image.Image, path: Path) -> None:
    """Write the picture whole or not at all, in the format that the suffix names. Raises `InputError`."""
    image_format = check_suffix(path)
    options = {"quality": 95, "subsampling": 0} if image_format == "JPEG" else {}
    with written_whole(path) as file:
        image.save(file, format=image_format, **options)
