"""One picture as Pillow sees it: from bytes to upright 8-bit sRGB, and back into a file."""

import contextlib
import io
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from stylization.errors import DISK_ERRORS, Damaged
from stylization.files import atomic_write
from stylization.images import formats
from stylization.images.files import check_suffix, read_bytes

SRGB = ImageCms.createProfile("sRGB")


def read(source: str | Path | bytes, name: str | None = None) -> Image.Image:
    """A picture as upright 8-bit sRGB, whatever it was: EXIF rotation applied, ICC profile converted,
    grey, palette, CMYK and 16-bit widened or narrowed, transparency laid on white.

    `source` is a path, an http(s) URL or the file's bytes. Raises `InputError` with its `name` and the reason.
    """
    content = source if isinstance(source, bytes) else read_bytes(str(source))
    name = name or ("picture" if isinstance(source, bytes) else str(source))
    with naming_damage(name), opened(content, name) as image:
        image.load()
        return to_srgb(ImageOps.exif_transpose(image))


def opened(content: bytes, name: str) -> Image.Image:
    with naming_damage(name):
        return formats.open_image(content, name)


@contextlib.contextmanager
def naming_damage(name: str) -> Iterator[None]:
    """Tell what Pillow's decoders raise as `Damaged`, with the picture's name and a reason to count it under."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # twice as large, it is an error
        try:
            yield
        except UnidentifiedImageError:
            raise Damaged(f"{name} is not a picture that Pillow can read", "not a picture") from None
        except Image.DecompressionBombError as error:
            raise Damaged(f"{name} is too large to open: {error}", "too large") from None
        except Damaged:
            raise
        except MemoryError:
            raise Damaged(f"{name} is damaged: its sizes are too large for the memory", "corrupt") from None
        except (
            Exception
        ) as error:  # plugins raise whatever their parsers meet: RuntimeError, struct.error, KeyError, ...
            if isinstance(error, OSError) and error.errno in DISK_ERRORS:
                raise
            reason = "truncated" if "truncated" in str(error).lower() else "corrupt"
            raise Damaged(f"{name} is damaged: {error}", reason) from None


def to_srgb(image: Image.Image) -> Image.Image:
    """The picture as 8-bit sRGB, transparency laid on white."""
    colors, opacity = without_opacity(image)
    return colors if opacity is None else Image.composite(colors, Image.new("RGB", image.size, "white"), opacity)


def without_opacity(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """The picture of any mode as 8-bit sRGB, and its opacity if it has any."""
    profile = image.info.get("icc_profile")
    if image.mode.startswith("I") or image.mode == "F":
        image = _in_8_bits(image)
    if image.has_transparency_data and image.mode != "RGBA":
        image = image.convert("RGBA")
    opacity = image.getchannel("A") if image.mode == "RGBA" else None
    if opacity is not None:
        image = image.convert("RGB")
    if profile:
        image = through_profile(image, profile)
    return image.convert("RGB"), opacity


def _in_8_bits(image: Image.Image) -> Image.Image:
    """Gray of 16 or 32 bits, or floats: Pillow's own convert("L") clips at 255 instead of scaling."""
    samples = np.asarray(image, dtype=np.float64)
    white = 65535.0
    if image.mode in ("I", "F") and image.format != "PPM":  # whose samples Pillow brings to 16 bits
        white = white_level("f" if image.mode == "F" else "i", samples.min(), samples.max())
    return Image.fromarray((samples.clip(0, white) / white * 255.0).round().astype(np.uint8))


def white_level(kind: Literal["i", "f"], low: float, high: float) -> float:
    """Return the level of white of a picture with samples from `low` to `high`, integers of 32 bits or floats.

    Floats are in [0, 1]. Integers are those of 8, 16, 31 or 32 bits, whichever hold them: few files state it.
    Raises `ValueError` for samples below 0 or, of floats, beyond 1.
    """
    whites = (1.0,) if kind == "f" else (255.0, 65535.0, 2.0**31 - 1, 2.0**32 - 1)
    white = next((white for white in whites if high <= white), None)
    if not low >= 0 or white is None:
        raise ValueError(f"samples from {low:g} to {high:g}; save it with 8 or 16 bits, or floats in [0, 1]")
    return white


def harmless(warning: str) -> bool:
    """Whether libjpeg did not lose pixels: it also warns of stray bytes between two segments, and of odd headers.

    Bytes left at the end of the image, marker 0xd9, are what its decoder could not make sense of: pixels are lost.
    """
    lost = "corrupt jpeg data" in warning.lower() or "premature end" in warning.lower()
    return not lost or ("extraneous bytes before marker" in warning and "0xd9" not in warning)


def through_profile(image: Image.Image, profile: bytes) -> Image.Image:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return ImageCms.profileToProfile(image, source, SRGB, outputMode="RGB") or image
    except (ImageCms.PyCMSError, OSError):
        return image  # a broken profile is common in the wild and says nothing about the pixels: take them as sRGB


def shrink(image: Image.Image, short_side_px: int) -> Image.Image:
    """The picture reduced so that its short side is `short_side_px`; smaller ones are left as they are."""
    scale = short_side_px / min(image.size)
    if scale >= 1:
        return image
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS)


def save(image: Image.Image, path: Path) -> None:
    """Write the picture whole or not at all, in the format that the suffix names. Raises `InputError`."""
    write(image, path, check_suffix(path), {})


def write(image: Image.Image, path: Path, image_format: str, options: Mapping[str, Any]) -> None:
    """Write the picture whole or not at all, in a format of Pillow's and with its options."""
    with atomic_write(path) as file:
        file.write(encoded(image, image_format, options))


def encoded(image: Image.Image, image_format: str, options: Mapping[str, Any] | None = None) -> bytes:
    """The picture's file, in a format of Pillow's and with its options."""
    quality = {"quality": 95, "subsampling": 0} if image_format == "JPEG" else {}
    file = io.BytesIO()
    image.save(file, image_format, **quality, **(options or {}))
    return file.getvalue()
