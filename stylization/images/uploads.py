"""Photographs that somebody sends: in few formats, held to a limit before they are decoded, sent back in their own."""

from dataclasses import dataclass

from PIL import Image

from stylization.errors import Damaged
from stylization.images.photographs import Photo, photo_of, restored
from stylization.images.pictures import encoded, naming_damage, opened

UPLOAD_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM")  # Pillow has more, some of which run programs
SENT_BACK = {"JPEG": "JPEG", "MPO": "JPEG", "PNG": "PNG", "WEBP": "WEBP"}  # an MPO is a JPEG with more behind it
NAME = "the upload"


@dataclass(frozen=True)
class Upload:
    """A photograph that was sent, perhaps reduced; the long side it had, and the format it is sent back in."""

    photo: Photo
    long_side_px: int
    image_format: str

    @property
    def media_type(self) -> str:
        return f"image/{self.image_format.lower()}"

    def encode(self, picture: Image.Image) -> bytes:
        """The photograph repainted, as a file with its own EXIF, colour profile and opacity."""
        picture, options = restored(picture, self.photo, self.image_format)
        return encoded(picture, self.image_format, options)


def read_upload(content: bytes, max_pixels: int, size_px: int | None = None) -> Upload:
    """The photograph in a file, its long side reduced to `size_px` if it is longer.

    Raises `Damaged`; where the file's header promises more than `max_pixels`, before anything is decoded.
    """
    with naming_damage(NAME), opened(content, NAME, UPLOAD_FORMATS) as image:
        width, height = image.size
        if width * height > max_pixels:
            raise Damaged(
                f"{NAME} is {width} x {height} pixels: {max_pixels / 1e6:g} megapixels are the most", "too large"
            )
        image_format = SENT_BACK.get(str(image.format), "PNG")
        if size_px is not None:
            image.draft(None, (size_px, size_px))  # a JPEG decodes to 1/2, 1/4, 1/8 for less
        photo = photo_of(image)
    return Upload(photo if size_px is None else _reduced(photo, size_px), max(width, height), image_format)


def _reduced(photo: Photo, size_px: int) -> Photo:
    scale = size_px / max(photo.picture.size)
    if scale >= 1:
        return photo
    size = (max(1, round(photo.picture.width * scale)), max(1, round(photo.picture.height * scale)))
    opacity = photo.opacity and photo.opacity.resize(size, Image.Resampling.LANCZOS)
    return photo._replace(picture=photo.picture.resize(size, Image.Resampling.LANCZOS), opacity=opacity)
