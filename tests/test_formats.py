"""Formats are recognized by their content, and nothing else is opened, whatever its name is."""

import io
import subprocess
from pathlib import Path

import pytest
import pyvips
from PIL import Image

from stylization import images
from stylization.errors import Damaged
from stylization.images import Photograph, formats


def encoded(kind: str, **options: object) -> bytes:
    content = io.BytesIO()
    Image.linear_gradient("L").resize((24, 16)).convert("RGB").save(content, kind, **options)
    return content.getvalue()


def foreign() -> dict[str, bytes]:
    """Files of formats that run programs, read their neighbors, or are text."""
    svg = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><image href="secret.png"/></svg>'
    return {
        "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\nshowpage\n",
        "EPS with a preview": b"\xc5\xd0\xd3\xc6" + bytes(60),
        "PDF": b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\n",
        "SVG": svg.encode(),
        "SVG after a declaration": b'<?xml version="1.0"?>\n' + svg.encode(),
        "a matrix of libvips": b"2 2 1 0\n1 2\n3 4\n",
        "a file of libvips": b"\x08\xf2\xa6\xb6" + bytes(80),
        "CSV": b"1,2\n3,4\n",
        "FITS": b"SIMPLE  =                    T" + b" " * 2850,
        "JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(60),
        "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(60),
        "an icon": b"\0\0\1\0\1\0\x10\x10\0\0\1\0\x20\0" + bytes(60),
        "a text that begins as a bitmap": b"BM is what it says, and nothing else that is in it\n",
    }


@pytest.mark.parametrize("known", formats.FORMATS, ids=lambda known: known.pillow)
def test_every_format_is_recognized_and_read_under_any_name(known: formats.Format, tmp_path: Path) -> None:
    content = encoded(known.pillow)
    assert formats.detect(content[: formats.HEAD_BYTES]) is known
    (tmp_path / "picture.dat").write_bytes(content)
    assert images.read(tmp_path / "picture.dat").size == (24, 16)
    assert Photograph(tmp_path / "picture.dat").whole().shape == (3, 16, 24)


@pytest.mark.parametrize("kind", foreign())
def test_other_formats_are_rejected_in_one_line_without_a_process(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a process was started"))
    path = tmp_path / "photo.jpg"
    path.write_bytes(foreign()[kind])
    for read in (images.read, Photograph, lambda path: images.read_upload(path.read_bytes(), 10**6)):
        with pytest.raises(Damaged, match="not a picture in a supported format") as caught:
            read(path)
        assert caught.value.reason == "not a picture" and "\n" not in str(caught.value)


def test_unsafe_loaders_of_libvips_are_blocked(tmp_path: Path) -> None:
    (tmp_path / "photo.svg").write_bytes(foreign()["SVG"])
    with pytest.raises(pyvips.Error, match=r"blocked|not a known"):
        pyvips.Image.svgload(str(tmp_path / "photo.svg"))


def scans(num: int) -> bytes:
    """A progressive JPEG whose last scan is repeated."""
    whole = encoded("JPEG", progressive=True)
    start = whole.rindex(b"\xff\xda")
    return whole[:start] + whole[start:-2] * num + b"\xff\xd9"


def test_a_jpeg_of_too_many_scans_is_rejected_before_it_is_decoded(tmp_path: Path) -> None:
    assert formats.open_image(scans(40), "photo").size == (24, 16)
    with pytest.raises(Damaged, match="more than 100 progressive scans") as caught:
        formats.open_image(scans(4000), "photo")
    assert caught.value.reason == "too many scans"
    (tmp_path / "photo.jpg").write_bytes(scans(4000))
    for read in (images.read, Photograph):
        with pytest.raises(Damaged, match="more than 100 progressive scans"):
            read(tmp_path / "photo.jpg")


def test_markers_beside_the_picture_are_no_scans() -> None:
    plain = encoded("JPEG")
    comment = b"\xff\xfe\x10\x02" + b"\xff\xda" * 2048
    for content in (plain + b"\xff\xda" * 5000, plain[:2] + comment + plain[2:]):
        assert formats.open_image(content, "photo").size == (24, 16)
    # An end of the image inside a comment hides nothing that follows it.
    hidden = scans(4000)
    start = hidden.index(b"\xff\xda")
    with pytest.raises(Damaged, match="progressive scans"):
        formats.open_image(hidden[:start] + b"\xff\xfe\0\x04\xff\xd9" + hidden[start:], "photo")
