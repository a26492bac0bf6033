"""Images of every kind: what can be shown is shown rightly, what cannot be is skipped, replaced and named."""

import csv
import io
import random
import struct
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from stylization import images
from stylization.content import Content, Stream, folder
from stylization.content.stream import Skip, as_csv, collated
from stylization.errors import Damaged, InputError
from stylization.images import crops


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def photograph(width: int = 160, height: int = 120, seed: int = 0) -> Image.Image:
    """Smooth, coloured, nowhere symmetric."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def png_of(width: int, height: int) -> bytes:
    """A PNG that declares a size and holds nearly nothing: a decompression bomb if it is large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )


def damaged() -> dict[str, tuple[bytes, str]]:
    """A hundred kinds of damage: a file's name, its bytes, and the reason that must be given."""
    jpeg, png = encoded(photograph(), "JPEG", quality=90), encoded(photograph(), "PNG")
    progressive = encoded(photograph(), "JPEG", quality=90, progressive=True)
    kinds: dict[str, tuple[bytes, str]] = {}
    for k in range(20):  # cut anywhere behind the header
        cut = 700 + k * (len(jpeg) - 800) // 20
        kinds[f"cut{k:02d}.jpg"] = jpeg[:cut], "truncated"
    for k in range(10):
        kinds[f"cut_progressive{k}.jpg"] = progressive[: 900 + k * (len(progressive) - 1000) // 10], "truncated"
    for k in range(10):
        kinds[f"cut{k}.png"] = png[: 100 + k * (len(png) - 200) // 10], "truncated"
    for k in range(10):  # zeros in the middle: most decoders show a grey smear and say nothing
        start = len(jpeg) // 2 + 31 * k
        kinds[f"zeroed{k}.jpg"] = jpeg[:start] + bytes(200) + jpeg[start + 200 :], "corrupt"
    for k in range(10):
        kinds[f"flipped{k}.png"] = (
            png[: 200 + 60 * k] + bytes([png[200 + 60 * k] ^ 255]) + png[201 + 60 * k :],
            "corrupt",
        )
    for suffix in ("jpg", "jpeg", "png", "webp", "bmp", "tif", "gif", "ppm"):
        kinds[f"empty.{suffix}"] = b"", "empty"
    for k, text in enumerate(
        (b"<html>404</html>", b"{}", b"GIT LFS", b"\0" * 4096, b"%PDF-1.4", b"PK\x03\x04", b"\xff\xd8")
    ):
        kinds[f"text{k}.jpg"] = text, "not a picture"
    kinds["header_only.jpg"] = jpeg[:150], "truncated"
    for k in range(8):
        kinds[f"small{k}.png"] = encoded(photograph(1 + 4 * k, 90), "PNG"), "too small"
    for k in range(8):
        kinds[f"long{k}.png"] = encoded(photograph(400 + 9 * k, 40), "PNG"), "too elongated"
    for k in range(8):
        kinds[f"bomb{k}.png"] = png_of(20_000 + k, 20_000), "too large"
    return kinds


def test_there_are_a_hundred_kinds() -> None:
    assert len(damaged()) >= 100


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every kind of damage, and twenty sound pictures among them."""
    root = tmp_path_factory.mktemp("mixed")
    for name, (content, _) in damaged().items():
        (root / name).write_bytes(content)
    for i in range(20):
        (root / f"sound{i:02d}.jpg").write_bytes(encoded(photograph(seed=i), "JPEG"))
    (root / "absent.jpg").symlink_to(root / "nowhere.jpg")
    return root


def test_every_damaged_image_is_named_with_its_reason_and_every_sound_one_is_shown(mixed: Path) -> None:
    source = folder(mixed)
    stream = Stream(source, 32, seed=0)
    samples = [stream[n] for n in range(len(source))]  # one pass
    batch = collated(samples)
    assert batch.pixels.shape == (len(source), 3, 32, 32)
    reasons = {skip.image: skip.reason for skip in batch.skips}
    expected = {name: reason for name, (_, reason) in damaged().items()} | {"absent.jpg": "unreadable"}
    wrong = {name: (reasons.get(name), reason) for name, reason in expected.items() if reasons.get(name) != reason}
    assert not {k: v for k, v in wrong.items() if v[0] is None}, "neither shown nor named"
    # A cut or a smear is told apart from the other only where the decoder can: both are damage.
    assert not {k: v for k, v in wrong.items() if {*v} != {"truncated", "corrupt"}}
    assert set(reasons) == set(expected)
    shown = {source.name(i) for i in batch.images}
    assert shown == {f"sound{i:02d}.jpg" for i in range(20)}


def test_substitute_is_a_function_of_seed_and_number(mixed: Path) -> None:
    source = folder(mixed)
    one, other = Stream(source, 32, seed=0), Stream(source, 32, seed=0)
    for n in random.Random(0).sample(range(500), 12):
        assert torch.equal(one[n].pixels, other[n].pixels)
        assert one[n].skips == other[n].skips


def test_skipped_csv_names_each_image_once() -> None:
    skips = [Skip(3, "b.jpg", "empty", "b.jpg is empty"), Skip(4, "a.jpg", "corrupt", 'a, "quoted"')]
    rows = list(csv.DictReader(io.StringIO(as_csv([*skips, skips[0]._replace(n=9)]).decode())))
    assert [(x["image"], x["reason"], x["times"], x["first_sample"]) for x in rows] == [
        ("b.jpg", "empty", "2", "3"),
        ("a.jpg", "corrupt", "1", "4"),
    ]
    assert rows[1]["detail"] == 'a, "quoted"'


def test_nothing_but_damage_is_an_error_that_shows_an_example(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_text("no picture")
    with pytest.raises(InputError, match=r"in a row.*broken\.jpg"):
        Stream(folder(tmp_path), 16, seed=0)[0]


def test_more_damage_than_the_allowed_share_stops_the_run(mixed: Path) -> None:
    content = Content(folder(mixed), folder(mixed), 32, 32, 4, 0, num_held_out=2, max_damaged_share=0.5)
    assert all(name.startswith("sound") for name in content.held_out_names)
    batches = [collated([content.stream[4 * k + i] for i in range(4)]) for k in range(40)]

    def train() -> None:
        for batch in batches:
            content.on_after_batch_transfer(batch, 0)

    with pytest.raises(InputError, match=r"images could not be used \(.*truncated.*max_damaged_share=0\.5"):
        train()
    assert len(content.skips) + content.num_samples >= content.ENOUGH_TRIED


def upright(content: bytes) -> torch.Tensor:
    """The largest square at the top left as `images.read` and Pillow see it."""
    image = images.read(content)
    side = min(image.size)
    return images.to_uint8(image.resize((64, 64), Image.Resampling.BILINEAR, box=(0, 0, side, side)))


def crop(content: bytes) -> torch.Tensor:
    picture = images.Encoded(content, "picture")
    return picture.crop(0, 0, min(picture.width, picture.height), 64)


def unusual() -> dict[str, bytes]:
    """Pictures that many loaders turn, tint or refuse."""
    photo = photograph(200, 150)
    kinds: dict[str, bytes] = {}
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        kinds[f"EXIF orientation {orientation}"] = encoded(photo, "JPEG", quality=95, exif=exif)
        kinds[f"EXIF orientation {orientation}, grey"] = encoded(photo.convert("L"), "JPEG", quality=95, exif=exif)
    kinds["CMYK"] = encoded(photo.convert("CMYK"), "JPEG", quality=95)
    kinds["progressive"] = encoded(photo, "JPEG", quality=95, progressive=True)
    kinds["4:4:4"] = encoded(photo, "JPEG", quality=95, subsampling=0)
    kinds["palette"] = encoded(photo.quantize(64), "PNG")
    kinds["alpha"] = encoded(photo.convert("RGBA"), "PNG")
    kinds["1 bit"] = encoded(photo.convert("1"), "PNG")
    grey = np.asarray(photo.convert("L")).astype(np.uint16) * 257
    kinds["16 bit"] = encoded(Image.fromarray(grey), "PNG")
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    kinds["ICC"] = encoded(photo, "JPEG", quality=95, icc_profile=lab)
    kinds["a broken ICC profile"] = encoded(photo, "JPEG", quality=95, icc_profile=b"nonsense")
    jpeg = encoded(photo, "JPEG", quality=95)
    kinds["stray bytes between segments"] = jpeg[: jpeg.index(b"\xff\xda")] + b"xx" + jpeg[jpeg.index(b"\xff\xda") :]
    kinds["bytes after the end"] = jpeg + b"trailer"
    return kinds


@pytest.mark.parametrize("kind", list(unusual()))
def test_unusual_pictures_are_converted_as_pillow_does_it(kind: str) -> None:
    content = unusual()[kind]
    difference = (crop(content).double() - upright(content).double()).abs()
    assert difference.mean() < 1.5, kind  # another decoder, another filter: a level or two
    assert len({*Counter(map(tuple, crop(content).flatten(1).T.tolist()))}) > 1


@pytest.mark.parametrize("reduction", [2, 4, 8])
def test_large_jpegs_are_decoded_at_the_scale_that_is_needed(reduction: int, monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded(photograph(64 * 2 * reduction, 64 * reduction), "JPEG", quality=95)
    sizes = []
    decode = crops.simplejpeg.decode_jpeg
    monkeypatch.setattr(
        crops.simplejpeg, "decode_jpeg", lambda *a, **k: sizes.append((x := decode(*a, **k)).shape[:2]) or x
    )
    assert (crop(content).double() - upright(content).double()).abs().mean() < 2
    assert sizes == [(64, 128)]
    images.Encoded(content, "picture").crop(0, 0, 64, 64)  # a crop at full size needs the full size
    assert sizes[1] == (64 * reduction, 128 * reduction)


def test_damage_keeps_its_reason() -> None:
    with pytest.raises(Damaged) as caught:
        images.read(b"")
    assert caught.value.reason == "empty"
