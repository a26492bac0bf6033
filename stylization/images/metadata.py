"""Metadata without the previews of the photograph that they carry: a repainted file must not hold the original."""

import contextlib
import re
import struct

from PIL import ExifTags, Image

_PHOTOSHOP, _IPTC = b"Photoshop 3.0\0", 0x0404  # the resource of Photoshop's that holds IPTC's text
_RESOURCE = struct.Struct(">4sHB")


def without_previews(field: str, value: object) -> object | None:
    """Return the value of a metadata field of libvips without pictures in it; None if nothing is left."""
    if field.startswith("exif-ifd1-") or (field.startswith("exif-") and "MakerNote" in field):
        return None
    if "Raw profile type" in field:  # EXIF and others as text, by ImageMagick
        return None
    if not isinstance(value, bytes):
        return value
    if field == "exif-data":
        return exif_without_previews(value)
    if field in ("iptc-data", "photoshop-data"):
        return _text_only(value)
    if field == "xmp-data" and re.search(rb"xmpGImg|GImage|GDepth|Thumbnail", value):
        return None
    return value


def exif_without_previews(content: bytes) -> bytes | None:
    """Return EXIF without its orientation, thumbnail and maker's notes; None if nothing is left or it is broken."""
    with contextlib.suppress(Exception):  # written by any program, and parsed by Pillow without checks
        exif = Image.Exif()
        exif.load(content)
        return stripped(exif)
    return None


def stripped(exif: Image.Exif) -> bytes | None:
    """Return Pillow's EXIF without its orientation, thumbnail and maker's notes; None if nothing is left."""
    kept = Image.Exif()
    for tag, value in exif.items():
        if tag not in (ExifTags.Base.Orientation, *list(ExifTags.IFD)):
            kept[tag] = value
    for ifd in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
        tags = {tag: value for tag, value in exif.get_ifd(ifd).items() if tag not in list(ExifTags.IFD)}
        if tags:
            kept.get_ifd(ifd).update(tags)
            kept[ifd] = kept.get_ifd(ifd)
    return kept.tobytes() if len(kept) else None


def _text_only(content: bytes) -> bytes | None:
    """Return a block of Photoshop's with only its IPTC text; other content unchanged."""
    start = len(_PHOTOSHOP) if content.startswith(_PHOTOSHOP) else 0
    if content[start : start + 4] != b"8BIM":
        return content
    kept, position = b"", start
    while position + 12 <= len(content):
        signature, number, name_bytes = _RESOURCE.unpack_from(content, position)
        data = position + _RESOURCE.size + name_bytes + (name_bytes + 1) % 2 + 4
        size = int.from_bytes(content[data - 4 : data], "big")
        end = data + size + size % 2
        if signature != b"8BIM" or data > len(content):
            break
        if number == _IPTC:
            kept += content[position:end]
        position = end
    return content[:start] + kept if kept else None
