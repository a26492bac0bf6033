"""Photographs that somebody sends: in few formats, held to a limit before they are decoded, sent back in their own."""

import contextlib
import io
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyvips
from PIL import Image, ImageCms, ImageOps

from stylization.errors import Damaged
from stylization.images import formats
from stylization.images.metadata import stripped
from stylization.images.pictures import SRGB, encoded, harmless, naming_damage, opened, without_opacity

SENT_BACK = {"JPEG": "JPEG", "MPO": "JPEG", "PNG": "PNG", "WEBP": "WEBP"}  # an MPO is a JPEG with more behind it
NAME = "the upload"


class Photo(NamedTuple):
    """An upright 8-bit sRGB picture, and what its file said beside it: opacity, EXIF without the orientation, and the
    colour profile it came in."""

    picture: Image.Image
    opacity: Image.Image | None
    exif: bytes
    profile: bytes | None


@dataclass(frozen=True)
class Upload:
    """A photograph that was sent, perhaps reduced, and the format it is sent back in."""

    photo: Photo
    image_format: str

    @property
    def media_type(self) -> str:
        return f"image/{self.image_format.lower()}"

    def encode(self, picture: Image.Image) -> bytes:
        """The photograph repainted, as a file with its own EXIF, colour profile and opacity."""
        picture, options = restored(picture, self.photo, self.image_format)
        return encoded(picture, self.image_format, options)


def check_upload(head: bytes) -> None:
    """Raise `Damaged` if a file that begins with these `HEAD_BYTES` is not a picture in a supported format."""
    formats.detected(head, NAME)


def read_upload(content: bytes, max_pixels: int, size_px: int | None = None) -> Upload:
    """The photograph in a file, its long side reduced to `size_px` if it is longer.

    Raises `Damaged`; where the file's header promises more than `max_pixels`, before anything is decoded.
    """
    with naming_damage(NAME), opened(content, NAME) as image:
        width, height = image.size
        if width * height > max_pixels:
            raise Damaged(
                f"{NAME} is {width} x {height} pixels: {max_pixels / 1e6:g} megapixels are the most", "too large"
            )
        if image.format in ("JPEG", "MPO"):
            _check_jpeg(content)
        image_format = SENT_BACK.get(str(image.format), "PNG")
        if size_px is not None:
            image.draft(None, (size_px, size_px))  # a JPEG decodes to 1/2, 1/4, 1/8 for less
        photo = photo_of(image)
    return Upload(photo if size_px is None else _reduced(photo, size_px), image_format)


def _check_jpeg(content: bytes) -> None:
    """Raise `Damaged` for a JPEG that libjpeg warns of: Pillow hides what it says of lost pixels."""
    try:
        pyvips.Operation.call("jpegload_buffer", content, fail_on="warning", access="sequential").avg()
    except pyvips.Error as error:
        if not harmless(str(error)):
            raise Damaged(f"{NAME} is damaged: {str(error.detail).strip().split(chr(10))[0]}", "corrupt") from None


def _reduced(photo: Photo, size_px: int) -> Photo:
    scale = size_px / max(photo.picture.size)
    if scale >= 1:
        return photo
    size = (max(1, round(photo.picture.width * scale)), max(1, round(photo.picture.height * scale)))
    opacity = photo.opacity and photo.opacity.resize(size, Image.Resampling.LANCZOS)
    return photo._replace(picture=photo.picture.resize(size, Image.Resampling.LANCZOS), opacity=opacity)


def photo_of(image: Image.Image) -> Photo:
    """The photograph in an opened file."""
    image.load()
    exif = image.getexif()
    upright = ImageOps.exif_transpose(image)
    profile = image.info.get("icc_profile") if image.mode == "RGB" else None
    picture, opacity = without_opacity(upright)  # colors not laid on white: the opacity is put back
    return Photo(picture, opacity, stripped(exif) or b"", profile)


def restored(picture: Image.Image, photo: Photo, image_format: str) -> tuple[Image.Image, dict[str, Any]]:
    """A repainted photograph in its own colour profile and with its opacity, and the options to write it with."""
    options: dict[str, Any] = {"exif": photo.exif} if photo.exif else {}
    if photo.profile is not None:
        with contextlib.suppress(ImageCms.PyCMSError, OSError):  # a broken profile was not applied either
            own = ImageCms.ImageCmsProfile(io.BytesIO(photo.profile))
            picture = ImageCms.profileToProfile(picture, SRGB, own, outputMode="RGB") or picture
            options["icc_profile"] = photo.profile
    if photo.opacity is not None and image_format in ("PNG", "WEBP", "TIFF"):
        picture = picture.copy()
        picture.putalpha(photo.opacity)
    return picture, options
