"""A photograph as a file: read in parts, with what it says beside its pixels, and written again repainted.

libvips decodes and encodes in strips, so a photograph of any size goes through without being in memory as a whole.
"""

from __future__ import annotations

import copy
import math
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyvips
from numpy.typing import NDArray
from PIL import Image

from stylization.errors import DISK_ERRORS, Damaged, InputError, warn
from stylization.files import atomic_write
from stylization.images import formats, metadata, pictures, profiles
from stylization.images.files import TRANSPARENT, check_suffix, read_bytes, regular_file
from stylization.memory import release_mapped

if TYPE_CHECKING:
    Span = tuple[int, int]

# What is larger when decoded waits in a file in the folder for temporary files, not in memory.
os.environ.setdefault("VIPS_DISC_THRESHOLD", "16m")
MAX_MEGAPIXELS = 500.0  # of a picture that nobody said is larger: its tiles take 12 GB of temporary files
MOST_PX = {"JPEG": 65500, "WEBP": 16383, "GIF": 65535, "AVIF": 16384}  # of a side, in the encoders
OTHER_SPACES = ("lab", "labs", "labq", "xyz", "yxy", "lch", "cmc")  # whose samples are no levels of light
BESIDE = ("exif-", "xmp-", "iptc-", "png-comment", "photoshop-data")  # fields that go from one file into the next


class Photograph:
    """An upright photograph in sRGB, of `depth` 8 or 16 bits, `height` times `width` pixels.

    EXIF's rotation is applied; opacity, EXIF and the color profile wait for `save`. Of several pages or frames it is
    the first. Raises `InputError` for what is no picture, is damaged, or has more than `max_megapixels`. What is lost
    is said in a warning.
    """

    def __init__(self, source: str | Path, max_megapixels: float = MAX_MEGAPIXELS) -> None:
        self.name = str(source)
        image = self._opened(max_megapixels)
        if image.get_typeof("n-pages") and image.get("n-pages") > 1:
            warn(f"{self.name} has {image.get('n-pages')} pages or frames: only the first is read")
        if image.get_typeof("orientation"):
            image = image.autorot()
        if image.format not in ("uchar", "ushort") and image.interpretation not in OTHER_SPACES:
            image = self._in_16_bits(image)
        self.depth = 8 if image.format == "uchar" else 16
        num_colors = image.bands - image.hasalpha()
        self.opacity = image[num_colors] if image.hasalpha() else None
        self.profile: bytes | None = None
        self.srgb = self._to_srgb(image[:num_colors])
        self.height, self.width = self.srgb.height, self.srgb.width
        beside = {
            field: (image.get_typeof(field), metadata.without_previews(field, image.get(field)))
            for field in image.get_fields()
            if field.startswith(BESIDE) and "Orientation" not in field  # which has been applied
        }
        self.beside = {field: (kind, value) for field, (kind, value) in beside.items() if value is not None}
        self.resolution = image.xres, image.yres
        self.region = pyvips.Region.new(self.srgb)
        self.part((0, 1), (0, 1))  # decodes it: damage is reported now

    def part(self, rows: Span, columns: Span) -> NDArray[np.float32]:
        """A part of it, (3, h, w) in [0, 1]."""
        (top, bottom), (left, right) = rows, columns
        h, w = bottom - top, right - left
        try:
            raw = self.region.fetch(left, top, w, h)
        except pyvips.Error as error:
            raise _damaged(self.name, error) from None
        pixels = np.frombuffer(raw, np.uint16 if self.depth == 16 else np.uint8).reshape(h, w, 3)
        levels = np.ascontiguousarray(pixels.transpose(2, 0, 1), np.float32)
        levels /= 2**self.depth - 1
        return levels

    def whole(self) -> NDArray[np.float32]:
        """All of it, (3, h, w) in [0, 1]."""
        return self.part((0, self.height), (0, self.width))

    def reduced(self, side_px: int) -> Photograph:
        """The same photograph with its long side at most so many pixels."""
        share = side_px / max(self.height, self.width)
        return self if share >= 1 else self.showing(self.srgb.resize(share))

    def showing(self, srgb: pyvips.Image, depth: int | None = None) -> Photograph:
        """The same photograph with other pixels, of any size, of its own or another depth."""
        other = copy.copy(self)
        other.srgb, other.region, other.depth = srgb, pyvips.Region.new(srgb), depth or self.depth
        other.height, other.width = srgb.height, srgb.width
        return other

    def save(self, painted: pyvips.Image, path: Path) -> None:
        """Write a repainted version of it, sRGB of 8 or 16 bits, with what the file said beside its pixels.

        Opacity, 16 bits and colour profiles are kept where the format carries them. Whole or not at all.
        """
        self.check_output(path)
        suffix = path.suffix.lower()
        if self.depth == 16 and suffix not in (".png", ".tif", ".tiff"):
            painted = (painted / 257).rint().cast("uchar") if painted.format == "ushort" else painted
        depth = 16 if painted.format == "ushort" else 8
        painted = painted.copy(interpretation="rgb16" if depth == 16 else "srgb")
        if self.profile is not None:
            painted = profiles.from_srgb(painted, self.profile, depth)
        if self.opacity is not None and suffix in TRANSPARENT:
            opacity = self.opacity if (depth == 16) == (self.depth == 16) else (self.opacity / 257).rint()
            painted = painted.bandjoin(opacity.cast("ushort" if depth == 16 else "uchar"))
        elif self.opacity is not None and self.opacity.min() < 2**self.depth - 1:
            warn(f"{path}: {suffix} holds no transparency, which is dropped; .png does")
        painted = painted.copy(xres=self.resolution[0], yres=self.resolution[1])
        for field, (kind, value) in self.beside.items():
            painted.set_type(kind, field, value)
        painted.set_type(pyvips.GValue.gint_type, "orientation", 1)
        _write(painted, path)

    def check_output(self, path: Path) -> None:
        """Raise `InputError` if the photograph cannot be written there, before it is painted."""
        side_px = max(self.height, self.width)
        most_px = MOST_PX.get(check_suffix(path), side_px)
        if side_px > most_px:
            raise InputError(f"cannot write {path}: {path.suffix} has sides of at most {most_px} px, not {side_px}")

    def _opened(self, max_megapixels: float) -> pyvips.Image:
        content: bytes | Path
        if self.name.startswith(("http://", "https://")):
            content = read_bytes(self.name)
            head = content[: formats.HEAD_BYTES]
        else:
            content = regular_file(self.name)
            head = read_bytes(self.name, formats.HEAD_BYTES)
        found = formats.detected(head, self.name)
        if found.pillow == "JPEG":
            formats.check_scans(content if isinstance(content, bytes) else read_bytes(self.name), self.name)
        if found.loader is None:
            picture = pictures.read(content if isinstance(content, bytes) else str(content), self.name)
            check_pixels(self.name, picture.width, picture.height, max_megapixels)
            return pyvips.Image.new_from_array(np.asarray(picture))
        try:
            # The decoders of TIFF and JPEG call pixels that are lost a warning.
            strict = _loaded(found.loader, content, "warning" if found.pillow in ("JPEG", "TIFF") else "error")
            check_pixels(self.name, strict.width, strict.height, max_megapixels)
            if found.pillow == "TIFF":  # decoded part by part: damage would show in the middle of painting
                (strict == 0).avg()
            if found.pillow == "JPEG" and not self._decodes(strict):
                return _loaded(found.loader, content, "error")
            return strict
        except pyvips.Error as error:
            raise _damaged(self.name, error) from None

    @staticmethod
    def _decodes(jpeg: pyvips.Image) -> bool:
        """Return whether libjpeg has nothing to say; raise for what it says of damage."""
        try:
            jpeg.crop(0, 0, 1, 1).avg()
        except pyvips.Error as error:
            if not pictures.harmless(str(error)):
                raise
            return False
        return True

    def _in_16_bits(self, image: pyvips.Image) -> pyvips.Image:
        """Bring samples of 32 bits, signed integers or floats to 16 bits."""
        try:
            low, high = (math.nan, math.nan) if (image != image).max() else (image.min(), image.max())
            white = pictures.white_level("f" if image.format in ("float", "double") else "i", low, high)
        except pyvips.Error as error:
            raise _damaged(self.name, error) from None
        except ValueError as error:
            raise Damaged(f"{self.name} is damaged: {error}", "corrupt") from None
        scaled = (image * (65535 / white)).rint().cast("ushort")
        return scaled.copy(interpretation="rgb16" if image.bands - image.hasalpha() == 3 else "grey16")

    def _to_srgb(self, image: pyvips.Image) -> pyvips.Image:
        space, depth = ("rgb16", 16) if self.depth == 16 else ("srgb", 8)
        try:
            if image.get_typeof("icc-profile-data"):
                profile = image.get("icc-profile-data")
                complaint = profiles.complaint(profile, image.bands)
                if complaint is None:
                    self.profile = profile if image.bands == 3 and profiles.is_writable(profile) else None
                    converted = image.icc_transform("srgb", embedded=True, depth=depth)
                    return converted.copy(interpretation=space)
                warn(f"{self.name}: {complaint}, and is ignored")
                image = image.copy()
                image.remove("icc-profile-data")
            converted = image.colourspace(space).cast("ushort" if depth == 16 else "uchar")
        except pyvips.Error as error:
            raise _damaged(self.name, error) from None
        if converted.bands < 3:
            raise Damaged(f"{self.name} has {image.bands} channels, which are no colors", "corrupt")
        return converted[0:3]


def check_pixels(name: str, width: int, height: int, max_megapixels: float) -> None:
    """Raise `Damaged` for a picture of too many pixels."""
    if width * height > max_megapixels * 1e6:
        raise Damaged(
            f"{name} has {width} x {height} pixels, more than {max_megapixels:g} megapixels; "
            "raise --max-megapixels if it is meant to be so large",
            "too large",
        )


def _loaded(loader: str, content: bytes | Path, fail_on: str) -> pyvips.Image:
    if isinstance(content, bytes):
        return pyvips.Operation.call(f"{loader}_buffer", content, fail_on=fail_on)
    # Not what libvips remembers of the name: the file may be another by now.
    return pyvips.Operation.call(loader, str(content), fail_on=fail_on, revalidate=True)


def as_image(pixels: NDArray[np.float32], depth: int) -> pyvips.Image:
    """Pixels (3, h, w) in [0, 1] as a picture of so many bits."""
    return pyvips.Image.new_from_array(quantized(pixels, depth).transpose(1, 2, 0).copy())


def quantized(pixels: NDArray[np.float32], depth: int) -> NDArray[np.uint8 | np.uint16]:
    """Values in [0, 1] as whole numbers of so many bits."""
    levels = np.rint(pixels.clip(0, 1) * (2**depth - 1))
    whole: NDArray[np.uint8 | np.uint16] = levels.astype(np.uint16 if depth == 16 else np.uint8)
    return whole


def _write(image: pyvips.Image, path: Path) -> None:
    suffix = path.suffix.lower()
    options = {".jpg": "[Q=95,subsample_mode=off]", ".jpeg": "[Q=95,subsample_mode=off]", ".webp": "[Q=95]"}
    with atomic_write(path) as file:
        if suffix in (".bmp", ".ppm"):
            Image.fromarray(image.numpy()).save(file, format=check_suffix(path))
            return
        image.set_progress(True)
        image.signal_connect("eval", lambda *_: release_mapped())
        target = pyvips.Target.new_to_descriptor(file.fileno())
        try:
            image.write_to_target(target, suffix + options.get(suffix, ""))
        except pyvips.Error as error:
            raise InputError(f"cannot write {path}: {_first_line(error)}") from None


def _damaged(name: str, error: pyvips.Error) -> Damaged:
    """The damage that libvips reports. Raises `OSError` where it is the disk that fails, for temporary files."""
    for number in DISK_ERRORS:
        if os.strerror(number) in str(error):
            raise OSError(number, os.strerror(number), tempfile.gettempdir()) from None
    reported = _first_line(error)
    return Damaged(f"{name} is damaged: {reported}", "truncated" if "end of" in reported.lower() else "corrupt")


def _first_line(error: pyvips.Error) -> str:
    reported = str(error.detail).strip()  # empty where libvips remembers that it failed before
    return reported.splitlines()[0] if reported else "its pixels cannot be decoded"
