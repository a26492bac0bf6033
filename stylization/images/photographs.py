"""A photograph as a file: read in parts, with what it says beside its pixels, and written again repainted.

libvips decodes and encodes in strips, so a photograph of any size goes through without being in memory as a whole.
"""

from __future__ import annotations

import copy
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyvips
from numpy.typing import NDArray
from PIL import Image

from stylization.errors import Damaged, InputError, written_whole
from stylization.images import formats, pictures
from stylization.images.files import check_suffix, read_bytes
from stylization.memory import release_mapped

if TYPE_CHECKING:
    Span = tuple[int, int]

# What is larger when decoded waits in a file in the folder for temporary files, not in memory.
os.environ.setdefault("VIPS_DISC_THRESHOLD", "16m")
BESIDE = ("exif-", "xmp-", "iptc-", "png-comment", "photoshop-data")  # fields that go from one file into the next


class Photograph:
    """An upright photograph in sRGB, of `depth` 8 or 16 bits, `height` times `width` pixels.

    EXIF's rotation is applied; opacity, EXIF and the colour profile wait for `save`. Raises `InputError` for what is
    no picture or is damaged.
    """

    def __init__(self, source: str | Path) -> None:
        self.name = str(source)
        image = self._opened()
        if image.get_typeof("orientation"):
            image = image.autorot()
        self.depth = 16 if image.format in ("ushort", "short", "uint", "int", "float", "double") else 8
        self.opacity = image[image.bands - 1] if image.hasalpha() else None
        self.profile: bytes | None = None
        colours = image.flatten() if image.bands == 2 and self.opacity is None else image
        if self.opacity is not None:
            colours = image.extract_band(0, n=image.bands - 1)
        self.srgb = self._to_srgb(colours)
        self.height, self.width = self.srgb.height, self.srgb.width
        self.beside = {
            field: (image.get_typeof(field), image.get(field))
            for field in image.get_fields()
            if field.startswith(BESIDE) and "Orientation" not in field  # which has been applied
        }
        self.resolution = image.xres, image.yres
        self.region = pyvips.Region.new(self.srgb)
        self.part((0, 1), (0, 1))  # decodes it: damage is told now

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
        check_suffix(path)
        suffix = path.suffix.lower()
        if self.depth == 16 and suffix not in (".png", ".tif", ".tiff"):
            painted = (painted / 257).rint().cast("uchar") if painted.format == "ushort" else painted
        depth = 16 if painted.format == "ushort" else 8
        painted = painted.copy(interpretation="rgb16" if depth == 16 else "srgb")
        with tempfile.TemporaryDirectory() as folder:
            if self.profile is not None:
                profile = Path(folder) / "profile.icc"
                profile.write_bytes(self.profile)
                painted = painted.icc_transform(str(profile), input_profile="srgb", depth=depth)
            if self.opacity is not None and suffix in (".png", ".webp", ".tif", ".tiff"):
                opacity = self.opacity.cast("ushort" if depth == 16 else "uchar")
                painted = painted.bandjoin(opacity if (depth == 16) == (self.depth == 16) else self.opacity / 257)
            painted = painted.copy(xres=self.resolution[0], yres=self.resolution[1])
            for field, (kind, value) in self.beside.items():
                painted.set_type(kind, field, value)
            painted.set_type(pyvips.GValue.gint_type, "orientation", 1)
            _write(painted, path)

    def _opened(self) -> pyvips.Image:
        try:
            if self.name.startswith(("http://", "https://")):
                return pyvips.Image.new_from_buffer(read_bytes(self.name), "", fail_on="truncated")
            path = Path(self.name).expanduser()
            with path.open("rb") as file:
                found = formats.detected(file.read(formats.HEAD_BYTES), self.name)
                if found.pillow == "JPEG":
                    file.seek(0)
                    formats.check_scans(file.read(), self.name)
            if found.loader is None:
                return pyvips.Image.new_from_array(np.asarray(pictures.read(self.name)))
            # Not what libvips remembers of the name: the file may be another by now.
            return pyvips.Operation.call(found.loader, str(path), fail_on="truncated", revalidate=True)
        except OSError as error:
            raise InputError(f"cannot read {self.name}: {error.strerror or error}") from None
        except pyvips.Error as error:
            raise _damaged(self.name, error) from None

    def _to_srgb(self, image: pyvips.Image) -> pyvips.Image:
        space, depth = ("rgb16", 16) if self.depth == 16 else ("srgb", 8)
        if image.get_typeof("icc-profile-data"):
            profile = image.get("icc-profile-data")
            try:
                converted = image.icc_transform("srgb", embedded=True, depth=depth)
                self.profile = profile if image.bands == 3 else None
                return converted.copy(interpretation=space)
            except pyvips.Error:
                image = image.copy()  # a broken profile is common and says nothing about the pixels
                image.remove("icc-profile-data")
        try:
            return image.colourspace(space)[0:3].cast("ushort" if depth == 16 else "uchar")
        except pyvips.Error as error:
            raise _damaged(self.name, error) from None


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
    with written_whole(path) as file:
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
    told = _first_line(error)
    return Damaged(f"{name} is damaged: {told}", "truncated" if "end of" in told.lower() else "corrupt")


def _first_line(error: pyvips.Error) -> str:
    return str(error.detail or error.message).strip().splitlines()[0]
