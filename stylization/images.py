"""Pictures in and out: the only module that knows bytes, files, EXIF and colour profiles.

Between here and here, an image is a float RGB tensor in [0, 1], shaped (3, h, w) or (b, 3, h, w).
"""

import contextlib
import http.client
import io
import struct
import urllib.error
import urllib.request
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np
import simplejpeg
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, ImageOps, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional

from stylization.errors import Damaged, InputError, written_whole

_SRGB = ImageCms.createProfile("sRGB")


def read(source: str | Path | bytes, name: str | None = None) -> Image.Image:
    """A picture as upright 8-bit sRGB, whatever it was: EXIF rotation applied, ICC profile converted,
    grey, palette, CMYK and 16-bit widened or narrowed, transparency laid on white.

    `source` is a path, an http(s) URL or the file's bytes. Raises `InputError` with its `name` and the reason.
    """
    content = source if isinstance(source, bytes) else _read_bytes(str(source))
    name = name or ("picture" if isinstance(source, bytes) else str(source))
    with _naming_damage(name), _open(content, name) as image:
        image.load()
        return _to_srgb(ImageOps.exif_transpose(image))


class Photo(NamedTuple):
    """An upright 8-bit sRGB picture, and what its file said beside it: opacity, EXIF without the orientation, and the
    colour profile it came in."""

    picture: Image.Image
    opacity: Image.Image | None
    exif: bytes
    profile: bytes | None


def read_photo(source: str | Path) -> Photo:
    """A picture with what must not be lost when it is repainted. Raises `InputError`."""
    content, name = _read_bytes(str(source)), str(source)
    with _naming_damage(name), _open(content, name) as image:
        image.load()
        exif = image.getexif()
        upright = ImageOps.exif_transpose(image)
        exif.pop(ExifTags.Base.Orientation, None)
        profile = image.info.get("icc_profile") if image.mode == "RGB" else None
        has_opacity = upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info
        opacity = upright.convert("RGBA").getchannel("A") if has_opacity else None
        if opacity is not None:  # colours as they are, not laid on white: the opacity is put back
            upright = upright.convert("RGBA").convert("RGB")
        return Photo(_to_srgb(upright), opacity, exif.tobytes() if len(exif) else b"", profile)


def save_photo(picture: Image.Image, photo: Photo, path: Path) -> None:
    """Write a repainted photograph with its own EXIF, colour profile and opacity, as far as the format carries them."""
    image_format = check_suffix(path)
    options: dict[str, Any] = {"exif": photo.exif} if photo.exif else {}
    if photo.profile is not None:
        with contextlib.suppress(ImageCms.PyCMSError, OSError):  # a broken profile was not applied either
            own = ImageCms.ImageCmsProfile(io.BytesIO(photo.profile))
            picture = ImageCms.profileToProfile(picture, _SRGB, own, outputMode="RGB") or picture
            options["icc_profile"] = photo.profile
    if photo.opacity is not None and image_format in ("PNG", "WEBP", "TIFF"):
        picture = picture.copy()
        picture.putalpha(photo.opacity)
    _write(picture, path, image_format, options)


def _open(content: bytes, name: str) -> Image.Image:
    if not content:
        raise Damaged(f"{name} is empty", "empty")
    with _naming_damage(name):
        return Image.open(io.BytesIO(content))


@contextlib.contextmanager
def _naming_damage(name: str) -> Iterator[None]:
    """Tell what Pillow's decoders raise as `Damaged`, with the picture's name and a reason to count it under."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # twice as large, it is an error
        try:
            yield
        except UnidentifiedImageError:
            raise Damaged(f"{name} is not a picture that Pillow can read", "not a picture") from None
        except Image.DecompressionBombError as error:
            raise Damaged(f"{name} is too large to open: {error}", "too large") from None
        except (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error) as error:
            reason = "truncated" if "truncated" in str(error).lower() else "corrupt"
            raise Damaged(f"{name} is damaged: {error}", reason) from None


class Encoded:
    """A picture still encoded: its upright `width` and `height` are known, its pixels only when a crop needs them.

    Raises `Damaged` with its `name` if it is no picture, now, or if its pixels turn out to be damaged, later.
    """

    def __init__(self, content: bytes, name: str) -> None:
        self.content, self.name = content, name
        self.image = _open(content, name)
        with _naming_damage(name):
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
        with _naming_damage(self.name):
            pixels = torch.from_numpy(np.array(_to_srgb(ImageOps.exif_transpose(self.image))))
        return square(pixels, left, top, side, size_px)

    def _decode(self, reduction: int) -> Tensor | None:
        """The upright picture, (h / reduction, w / reduction, 3), in its own colours; None leaves it to Pillow."""
        width, height = self.image.size
        try:
            pixels = simplejpeg.decode_jpeg(
                self.content, min_height=-(-height // reduction), min_width=-(-width // reduction)
            )
        except ValueError as error:
            if _harmless(str(error)):
                return None
            reason = "truncated" if "premature end" in str(error).lower() else "corrupt"
            raise Damaged(f"{self.name} is damaged: {error}", reason) from None
        upright = _UPRIGHT.get(self.orientation, lambda x: x)(pixels)
        return torch.from_numpy(np.ascontiguousarray(upright))

    def _to_srgb(self, crop: Tensor) -> Tensor:
        profile = self.image.info.get("icc_profile")
        if not profile or self.image.mode != "RGB":
            return crop
        return to_uint8(_through_profile(Image.fromarray(crop.permute(1, 2, 0).numpy()), profile))


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


def _harmless(warning: str) -> bool:
    """Whether libjpeg only met stray bytes between two segments. At the end of the image, marker 0xd9, they are what
    its decoder could not make sense of: pixels have been lost."""
    return "extraneous bytes before marker" in warning and "0xd9" not in warning


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


SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm"})  # of what is read


def paired_paths(inputs: Sequence[str], output: Path, keep_suffix: bool = False) -> list[tuple[str, Path]]:
    """Each picture that is asked for, and the path of what will be made of it.

    One picture's output is the `output` itself, if that has a picture's suffix; otherwise it is a folder, in which a
    folder's pictures keep their places below it, as PNG, or with `keep_suffix` in their own format. Raises `InputError`
    if there is none, or if two would be written to one path, or into the folder that is read.
    """

    def renamed(path: Path) -> Path:
        own = Image.registered_extensions().get(path.suffix.lower()) in Image.SAVE and path.suffix.lower() != ".gif"
        return path if keep_suffix and own else path.with_suffix(".png")

    pairs: list[tuple[str, Path]] = []
    for name in inputs:
        root = Path(name).expanduser()
        if root.is_dir():
            if output.resolve().is_relative_to(root.resolve()):
                raise InputError(f"--output {output} is inside the folder {root} that is read: choose another")
            found = sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES)
            pairs += [(str(path), output / renamed(path.relative_to(root))) for path in found]
        elif len(inputs) == 1 and output.suffix:
            check_suffix(output)
            return [(name, output)]
        else:
            pairs.append((name, output / renamed(Path(Path(urlsplit(name).path).name))))
    if not pairs:
        raise InputError(f"no picture in {', '.join(inputs) or 'what was given'}: name pictures or folders of them")
    if len({path for _, path in pairs}) < len(pairs):
        raise InputError("two pictures have the same name: give the folder above them, which keeps them apart")
    if output.is_file():
        raise InputError(f"--output {output} is a file: for several pictures give a folder")
    return pairs


def check_suffix(path: Path) -> str:
    """The picture format that the suffix names. Raises `InputError` if there is none that can be written."""
    image_format = Image.registered_extensions().get(path.suffix.lower())
    if image_format is None or image_format not in Image.SAVE:
        raise InputError(f"cannot write {path}: no picture format has the suffix '{path.suffix}' (try .png or .jpg)")
    return image_format


def save(image: Image.Image, path: Path) -> None:
    """Write the picture whole or not at all, in the format that the suffix names. Raises `InputError`."""
    _write(image, path, check_suffix(path), {})


def _write(image: Image.Image, path: Path, image_format: str, options: Mapping[str, Any]) -> None:
    quality = {"quality": 95, "subsampling": 0} if image_format == "JPEG" else {}
    with written_whole(path) as file:
        image.save(file, format=image_format, **quality, **options)
