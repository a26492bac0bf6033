"""A photograph with what its file says beside its pixels."""

import contextlib
import io
from pathlib import Path
from typing import Any, NamedTuple

from PIL import ExifTags, Image, ImageCms, ImageOps

from stylization.images.files import check_suffix, read_bytes
from stylization.images.pictures import SRGB, naming_damage, opened, to_srgb, write


class Photo(NamedTuple):
    """An upright 8-bit sRGB picture, and what its file said beside it: opacity, EXIF without the orientation, and the
    colour profile it came in."""

    picture: Image.Image
    opacity: Image.Image | None
    exif: bytes
    profile: bytes | None


def read_photo(source: str | Path) -> Photo:
    """A picture with what must not be lost when it is repainted. Raises `InputError`."""
    content, name = read_bytes(str(source)), str(source)
    with naming_damage(name), opened(content, name) as image:
        return photo_of(image)


def photo_of(image: Image.Image) -> Photo:
    """The photograph in an opened file."""
    image.load()
    exif = image.getexif()
    upright = ImageOps.exif_transpose(image)
    exif.pop(ExifTags.Base.Orientation, None)
    profile = image.info.get("icc_profile") if image.mode == "RGB" else None
    has_opacity = upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info
    opacity = upright.convert("RGBA").getchannel("A") if has_opacity else None
    if opacity is not None:  # colours as they are, not laid on white: the opacity is put back
        upright = upright.convert("RGBA").convert("RGB")
    return Photo(to_srgb(upright), opacity, exif.tobytes() if len(exif) else b"", profile)


def save_photo(picture: Image.Image, photo: Photo, path: Path) -> None:
    """Write a repainted photograph with its own EXIF, colour profile and opacity, as far as the format carries them."""
    image_format = check_suffix(path)
    picture, options = restored(picture, photo, image_format)
    write(picture, path, image_format, options)


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
