"""The file formats that are read, recognized by their content.

Pillow and libvips know many more. Some of them run programs (EPS), read neighboring files (SVG) or take text for pixels
(matrix), whatever the file's name ends in, so nothing is opened without its format's name.
"""

import io
import re
from collections.abc import Callable
from typing import BinaryIO, NamedTuple

import pyvips
from PIL import Image

from stylization.errors import Damaged

HEAD_BYTES = 256  # from the beginning of a file, enough for `detect`
MAX_SCANS = 100  # of a JPEG: an encoder writes about ten, and each costs a decoder a pass over the whole picture


class Format(NamedTuple):
    """A raster format: Pillow's name for it, libvips' loader (None: Pillow reads it) and its file name suffixes."""

    pillow: str
    loader: str | None
    suffixes: tuple[str, ...]
    recognizes: Callable[[bytes], bool]


def _begins_with(pattern: bytes) -> Callable[[bytes], bool]:
    return lambda head: bool(re.match(pattern, head, re.DOTALL))


def _is_avif(head: bytes) -> bool:
    brands = head[8 : min(int.from_bytes(head[:4], "big"), HEAD_BYTES)]
    return head[4:8] == b"ftyp" and any(brands[i : i + 4] in (b"avif", b"avis") for i in range(0, len(brands), 4))


FORMATS = (
    Format("JPEG", "jpegload", (".jpg", ".jpeg"), _begins_with(rb"\xff\xd8\xff")),
    Format("PNG", "pngload", (".png",), _begins_with(rb"\x89PNG\r\n\x1a\n")),
    Format("WEBP", "webpload", (".webp",), _begins_with(rb"RIFF....WEBP")),
    Format("TIFF", "tiffload", (".tif", ".tiff"), _begins_with(rb"II[*+]\0|MM\0[*+]")),
    Format("GIF", "gifload", (".gif",), _begins_with(rb"GIF8[79]a")),
    Format("AVIF", "heifload", (".avif",), _is_avif),
    Format("BMP", None, (".bmp",), _begins_with(rb"BM....\0\0\0\0|BM.{12}[\x0c-\x7c]\0\0\0")),
    Format("PPM", None, (".ppm", ".pgm", ".pbm"), _begins_with(rb"P[1-6][\s#]")),
)
SUFFIXES = frozenset(suffix for known in FORMATS for suffix in known.suffixes)
PILLOW_FORMATS = tuple(known.pillow for known in FORMATS)
NAMES = ", ".join(PILLOW_FORMATS)

# FFmpeg's demuxers and protocols for PyAV: a script of its concat demuxer or a playlist opens other files.
VIDEO_OPTIONS = {"format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm", "protocol_whitelist": "file"}
REMOTE_VIDEO_OPTIONS = VIDEO_OPTIONS | {"protocol_whitelist": "http,https,tcp,tls"}

# Loaders that libvips calls unsafe are blocked, except the one for this project's own temporary files.
pyvips.block_untrusted_set(True)
pyvips.operation_block_set("VipsForeignLoadRaw", False)


def detect(head: bytes) -> Format | None:
    """Return the format of a file that begins with these bytes, `HEAD_BYTES` of them or the whole file."""
    return next((known for known in FORMATS if known.recognizes(head)), None)


def detected(head: bytes, name: str) -> Format:
    """Return the format of a file that begins with these bytes. Raises `Damaged` with the file's name."""
    if not head:
        raise Damaged(f"{name} is empty", "empty")
    found = detect(head)
    if found is None:
        raise Damaged(f"{name} is not a picture in a supported format ({NAMES})", "not a picture")
    return found


def open_image(file: bytes | BinaryIO, name: str) -> Image.Image:
    """Open a picture by Pillow, its pixels not yet decoded.

    Raises `Damaged` for another format and for a JPEG of too many scans; what Pillow raises for a damaged file is left
    to `pictures.naming_damage`.
    """
    stream = io.BytesIO(file) if isinstance(file, bytes) else file
    start = stream.tell()
    found = detected(stream.read(HEAD_BYTES), name)
    stream.seek(start)
    if found.pillow == "JPEG":
        check_scans(stream.read(), name)
        stream.seek(start)
    return Image.open(stream, formats=[found.pillow])


def check_scans(jpeg: bytes, name: str) -> None:
    """Raise `Damaged` for a JPEG of more than `MAX_SCANS` scans, without decoding it."""
    if jpeg.count(b"\xff\xda") <= MAX_SCANS:  # thumbnails and what follows the picture included
        return
    num_scans, position = 0, 2
    while marker := _MARKER.search(jpeg, position):
        kind, start = marker[0][1], marker.end()
        num_scans += kind == 0xDA
        if num_scans > MAX_SCANS:
            raise Damaged(f"{name} has more than {MAX_SCANS} progressive scans, and is not decoded", "too many scans")
        if kind == 0xD9:
            return
        position = start + int.from_bytes(jpeg[start : start + 2], "big")


_MARKER = re.compile(
    rb"\xff[^\x00\x01\xff\xd0-\xd8]"
)  # of a segment: between bytes of a scan only 0 and restarts occur
