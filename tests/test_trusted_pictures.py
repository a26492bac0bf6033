"""Damaged, odd and hostile pictures are reported in one line or read as they are meant, never painted wrong."""

import errno
import io
import os
import random
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import pyvips
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, TiffImagePlugin

from stylization import cli, images
from stylization.errors import Damaged, InputError
from stylization.images import Photograph, formats, photographs
from stylization.stylizer import Stylizer, load


def picture(width: int = 64, height: int = 48) -> Image.Image:
    coarse = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def encoded(kind: str, image: Image.Image | None = None, **options: object) -> bytes:
    content = io.BytesIO()
    (image or picture()).save(content, kind, **options)
    return content.getvalue()


def run(*words: object) -> int:
    try:
        cli.main(["apply", *map(str, words)])
    except SystemExit as stopped:
        return int(stopped.code or 0)
    return 0


def levels(path: Path) -> NDArray[np.int64]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), np.int64)


def damaged_tiffs() -> dict[str, bytes]:
    noise = pyvips.Image.new_from_array(np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8))
    kinds = {
        "strips cut": noise.tiffsave_buffer()[:12_000] + noise.tiffsave_buffer()[-400:],
        "deflated tiles": noise.tiffsave_buffer(tile=True, tile_width=32, tile_height=32, compression="deflate"),
        "deflated strips": noise.tiffsave_buffer(compression="deflate"),
    }
    for kind in ("deflated tiles", "deflated strips"):
        middle = len(kinds[kind]) // 2
        kinds[kind] = kinds[kind][:middle] + bytes(600) + kinds[kind][middle + 600 :]
    del kinds["strips cut"]
    raw = encoded("TIFF", picture(96, 96))
    kinds["cut"] = raw[: len(raw) // 2]
    return kinds


def damaged() -> dict[str, bytes]:
    jpeg = encoded("JPEG", picture(160, 120), quality=90)
    half = len(jpeg) // 2
    kinds = {f"{kind}.tif": content for kind, content in damaged_tiffs().items()}
    kinds["zeroed.jpg"] = jpeg[:half] + bytes(200) + jpeg[half + 200 :]
    for suffix, kind in ((".jpg", "JPEG"), (".png", "PNG"), (".webp", "WEBP"), (".gif", "GIF"), (".avif", "AVIF")):
        whole = encoded(kind, picture(160, 120))
        kinds[f"cut {kind}{suffix}"] = whole[: len(whole) // 2]
    return kinds


@pytest.mark.parametrize("name", damaged())
def test_damage_is_reported_with_status_1_and_nothing_is_written(
    name: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(damaged()[name])
    picture().save(tmp_path / "photo.png")
    output = tmp_path / "out.png"
    for words in ([tmp_path / name], [tmp_path / "photo.png", "--mask", tmp_path / name]):
        assert run(*words, "--model", model, "--output", output) == 1
        told = capsys.readouterr().err
        assert name in told and "damaged" in told and told.count("\n") == 1
        assert not output.exists()


def test_what_cannot_be_read_painted_or_written_is_skipped_and_the_rest_goes_on(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name, content in damaged().items():
        (folder / name).write_bytes(content)
    for name in ("a.jpg", "z.png"):
        picture().save(folder / name)
    encoded_gif = encoded("GIF")
    (folder / "b.gif").write_bytes(encoded_gif)
    picture(90, 4).save(folder / "long.webp")
    monkeypatch.setitem(photographs.MOST_PX, "WEBP", 80)
    assert run(folder, "--model", model, "--output", tmp_path / "out") == 1
    told = capsys.readouterr().err
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.jpg", "b.png", "z.png"}
    assert "long.webp: .webp has sides of at most 80 px" in told
    assert told.count("skipped: ") == len(damaged()) + 1


def test_harmless_warnings_of_libjpeg_are_no_damage(tmp_path: Path) -> None:
    jpeg = encoded("JPEG")
    (tmp_path / "stray.jpg").write_bytes(jpeg[: jpeg.index(b"\xff\xda")] + b"xx" + jpeg[jpeg.index(b"\xff\xda") :])
    (tmp_path / "trailer.jpg").write_bytes(jpeg + b"a film of the same moment" * 99)
    for name in ("stray.jpg", "trailer.jpg"):
        assert np.abs(Photograph(tmp_path / name).whole() * 255 - np.asarray(picture()).transpose(2, 0, 1)).mean() < 8


def test_tags_that_nobody_knows_are_no_damage(tmp_path: Path) -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[50999], tags.tagtype[50999] = "hello", 2
    picture().save(tmp_path / "photo.tif", tiffinfo=tags)
    assert Photograph(tmp_path / "photo.tif").whole().shape == (3, 48, 64)


def _profile(space: str) -> bytes:
    """A profile whose header names another color space: as good as none."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile[:16] + space.ljust(4).encode() + profile[20:]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
@pytest.mark.parametrize("kind", ["garbage", "cut", "GRAY", "CMYK", "Lab"])
def test_profiles_that_are_broken_or_of_another_space_are_dropped_with_one_warning(
    kind: str, suffix: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = {"garbage": b"nonsense" * 40, "cut": whole[:300]}.get(kind) or _profile(kind)
    picture().save(tmp_path / f"photo{suffix}", icc_profile=profile)
    picture().save(tmp_path / f"plain{suffix}")
    for name in ("photo", "plain"):
        assert run(tmp_path / f"{name}{suffix}", "--model", model, "--output", tmp_path / f"out_{name}{suffix}") == 0
    assert capsys.readouterr().err.count("warning: ") == (suffix != ".png")  # libpng drops it without a word
    with Image.open(tmp_path / f"out_photo{suffix}") as painted:
        assert painted.mode == "RGB" and not painted.info.get("icc_profile")
    assert np.array_equal(levels(tmp_path / f"out_photo{suffix}"), levels(tmp_path / f"out_plain{suffix}"))


def test_a_cmyk_jpeg_has_its_own_colors(tmp_path: Path) -> None:
    for color in ((200, 40, 40), (40, 60, 200), (250, 250, 250), (10, 10, 10)):
        Image.new("RGB", (40, 40), color).convert("CMYK").save(tmp_path / "photo.jpg")
        seen = Photograph(tmp_path / "photo.jpg").whole().mean((1, 2)) * 255
        assert np.abs(seen - color).max() < 90
        assert np.ptp(color) == 0 or seen.argmax() == np.argmax(color)


def test_masks_are_luminance_times_alpha_for_photographs_videos_and_styles(tmp_path: Path) -> None:
    height, width = 40, 60
    expected = np.zeros((height, width), np.float32)
    expected[10:30, 20:50] = 1
    inside = Image.fromarray((expected * 255).astype(np.uint8))
    white_on_transparent = Image.new("RGBA", (width, height), (255, 255, 255, 0))
    white_on_transparent.putalpha(inside)
    white_on_black = Image.merge("LA", (inside, Image.new("L", inside.size, 255)))
    deep = Image.fromarray((expected * 65535).astype(np.uint16))
    floats = Image.fromarray(expected)
    kinds = {"rgba.png": white_on_transparent, "la.png": white_on_black, "l.png": inside, "deep.png": deep}
    for name, mask in {**kinds, "one.png": inside.convert("1"), "floats.tif": floats}.items():
        mask.save(tmp_path / name)
        assert np.array_equal(images.mask_shares(images.read_mask(tmp_path / name)), expected), name
    Image.new("LA", (width, height), (128, 128)).save(tmp_path / "half.png")
    assert images.mask_shares(images.read_mask(tmp_path / "half.png")) == pytest.approx(0.25, abs=0.01)


def test_a_mask_of_white_on_transparent_selects_the_same_in_photographs_and_styles(tmp_path: Path) -> None:
    from stylization.cli.painting import mixture

    mask = Image.new("RGBA", (64, 48), (255, 255, 255, 0))
    mask.paste((255, 255, 255, 255), (16, 12, 48, 36))
    mask.save(tmp_path / "mask.png")
    asked = mixture(f"mosaic={tmp_path / 'mask.png'},ink")
    assert isinstance(asked, dict)
    share = asked["mosaic"]
    assert share.shape == (48, 64) and share[24, 32] == 1 and share[2, 2] == 0 and 0.2 < share.mean() < 0.3


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (2, 2), (2, 50)])
def test_the_smallest_pictures_and_masks_are_painted(size: tuple[int, int], model: Path, tmp_path: Path) -> None:
    picture(*size).save(tmp_path / "photo.png")
    for number, mask in enumerate(((1, 1), (2, 1), (64, 48))):
        Image.new("L", mask, 255).save(tmp_path / "mask.png")
        output = tmp_path / f"{number}.png"
        assert run(tmp_path / "photo.png", "--mask", tmp_path / "mask.png", "--model", model, "--output", output) == 0
        with Image.open(output) as painted:
            assert painted.size == size


def test_samples_of_every_depth_mean_the_same(tmp_path: Path) -> None:
    gray = np.tile(np.linspace(0, 255, 64).round(), (32, 1))
    kinds: dict[str, tuple[str, NDArray]] = {
        "float": ("float", gray / 255),
        "16": ("ushort", gray * 257),
        "32 signed of 8": ("int", gray),
        "32 signed of 16": ("int", gray * 257),
        "32 unsigned": ("uint", gray / 255 * (2**32 - 1)),
        "32 signed": ("int", gray / 255 * (2**31 - 1)),
    }
    for bands in (1, 3):
        for name, (kind, samples) in kinds.items():
            image = pyvips.Image.new_from_array(np.repeat(samples[..., None], bands, -1).astype(np.float64))
            image.cast(kind).tiffsave(str(tmp_path / "photo.tif"))
            seen = Photograph(tmp_path / "photo.tif").whole()
            assert np.abs(seen * 255 - gray).max() < 1.1, (name, bands)
            if bands == 1 and kind != "uint":  # that Pillow reads
                assert np.abs(np.asarray(images.read(tmp_path / "photo.tif"))[..., 0] - gray).max() < 1.1, name


@pytest.mark.parametrize("samples", [(0.0, 200.0), (-1.0, 1.0), (0.0, float("nan"))])
def test_floats_that_are_no_levels_are_rejected(samples: tuple[float, float], tmp_path: Path) -> None:
    pixels = np.full((20, 20), samples[0], np.float32)
    pixels[3:] = samples[1]
    Image.fromarray(pixels).save(tmp_path / "photo.tif")
    for read in (Photograph, images.read):
        with pytest.raises(Damaged, match=r"samples from .* 8 or 16 bits"):
            read(tmp_path / "photo.tif")


def test_no_preview_of_the_photograph_is_left(model: Path, tmp_path: Path) -> None:
    preview = encoded("JPEG", picture(32, 24))
    plain = Image.Exif()
    plain[ExifTags.Base.Artist] = "somebody"
    plain.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.MakerNote] = b"MAKER" + preview
    plain.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FNumber] = 2.8
    (tmp_path / "photo.jpg").write_bytes(with_thumbnail(plain, preview))
    resources = b"8BIM" + struct.pack(">HBxI", 1036, 0, len(preview)) + preview + b"\0" * (len(preview) % 2)
    text = b"\x1c\x02\x50\0\x08somebody"
    resources += b"8BIM" + struct.pack(">HBxI", 1028, 0, len(text)) + text + b"\0" * (len(text) % 2)
    whole = (tmp_path / "photo.jpg").read_bytes()
    block = b"Photoshop 3.0\0" + resources
    xmp = b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta><xmpGImg:image>" + b"QUJD" * 99 + b"</xmpGImg:image></x:xmpmeta>"
    segments = b"".join(
        marker + struct.pack(">H", len(data) + 2) + data for marker, data in ((b"\xff\xed", block), (b"\xff\xe1", xmp))
    )
    content = whole[:2] + segments + whole[2:]
    (tmp_path / "photo.jpg").write_bytes(content)
    assert preview in content
    assert run(tmp_path / "photo.jpg", "--model", model, "--output", tmp_path / "out.jpg") == 0
    for painted in ((tmp_path / "out.jpg").read_bytes(), sent_back(content)):
        assert preview[:80] not in painted and b"QUJD" not in painted and b"MAKER" not in painted
        exif = Image.open(io.BytesIO(painted)).getexif()
        assert exif[ExifTags.Base.Artist] == "somebody"
        assert exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FNumber] == pytest.approx(2.8)
        assert exif.get(ExifTags.Base.Orientation, 1) == 1 and not exif.get_ifd(ExifTags.IFD.IFD1)
    assert text in (tmp_path / "out.jpg").read_bytes()


def with_thumbnail(exif: Image.Exif, preview: bytes) -> bytes:
    """A JPEG whose EXIF has a second directory, with a thumbnail."""
    block = exif.tobytes()
    tiff = bytearray(block[6:])  # behind "Exif\0\0"
    order = "<" if tiff[:2] == b"II" else ">"
    first = struct.unpack_from(f"{order}I", tiff, 4)[0]
    link = first + 2 + 12 * struct.unpack_from(f"{order}H", tiff, first)[0]
    struct.pack_into(f"{order}I", tiff, link, len(tiff))
    data = len(tiff) + 2 + 3 * 12 + 4
    tiff += struct.pack(f"{order}HHHIHHHHIIHHIII", 3, 259, 3, 1, 6, 0, 513, 4, 1, data, 514, 4, 1, len(preview), 0)
    return encoded("JPEG", exif=b"Exif\0\0" + bytes(tiff) + preview)


def sent_back(content: bytes) -> bytes:
    upload = images.read_upload(content, 10**6)
    return upload.encode(upload.photo.picture)


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP"])
def test_of_several_frames_the_first_is_painted_with_one_warning(
    kind: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"photo.{kind.lower()}"
    others = [Image.new("RGB", (64, 48), color) for color in ("red", "blue")]
    picture().save(path, kind, save_all=True, append_images=others, duration=50)
    assert run(path, "--model", model, "--output", tmp_path / "out.png") == 0
    told = capsys.readouterr().err
    assert told.count("warning: ") == 1 and "has 3 pages or frames: only the first is read" in told


def test_opacity_that_the_output_does_not_hold_is_dropped_with_one_warning(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut_out = picture()
    cut_out.putalpha(Image.linear_gradient("L").resize(cut_out.size))
    cut_out.save(tmp_path / "photo.png")
    opaque = picture()
    opaque.putalpha(255)
    opaque.save(tmp_path / "opaque.png")
    cases = (("photo", "a.png", 0), ("photo", "a.webp", 0), ("photo", "a.jpg", 1), ("opaque", "b.jpg", 0))
    for name, output, told in cases:
        assert run(tmp_path / f"{name}.png", "--model", model, "--output", tmp_path / output) == 0
        assert capsys.readouterr().err.count("holds no transparency") == told


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "I;16", "I", "F"]
)
def test_pil_images_of_every_mode_are_painted(mode: str, model: Path) -> None:
    stylizer: Stylizer = load(model)
    gray = np.asarray(picture().convert("L"))
    given = {
        "I;16": lambda: Image.fromarray(gray.astype(np.uint16) * 257),
        "I": lambda: Image.fromarray(gray.astype(np.int32) * 257),
        "F": lambda: Image.fromarray(gray.astype(np.float32) / 255),
        "PA": lambda: picture().quantize(16).convert("PA"),
    }.get(mode, lambda: picture().convert(mode))()
    painted = stylizer(given)
    assert painted.size == given.size and painted.mode == ("RGBA" if mode in ("LA", "PA", "RGBA") else "RGB")
    if mode in ("L", "I;16", "I", "F"):
        expected = np.asarray(stylizer(picture().convert("L").convert("RGB")), int)
        assert np.abs(np.asarray(painted, int) - expected).max() <= 1


@pytest.mark.parametrize("output", [".", "photo.png", "../here/photo.png", "linked.png", "hard.png"])
def test_an_output_that_is_an_input_is_rejected(
    output: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    picture().save("photo.png")
    Path("linked.png").symlink_to("photo.png")
    os.link("photo.png", "hard.png")
    before = Path("photo.png").read_bytes()
    assert run("photo.png", "--model", model, "--output", output, "--overwrite") == 2
    assert "would overwrite photo.png" in capsys.readouterr().err
    assert Path("photo.png").read_bytes() == before and len(list(Path.cwd().iterdir())) == 3


def test_an_output_that_is_the_mask_or_another_input_is_rejected(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("b").mkdir()
    for name in ("photo.png", "mask.png", "b/photo.png"):
        picture().save(name)
    assert run("photo.png", "--mask", "mask.png", "--model", model, "--output", "mask.png") == 2
    assert run("photo.png", "b/photo.png", "mask.png", "--model", model, "--output", "b") == 2
    assert run("b/photo.png", "mask.png", "--model", model, "--output", ".", "--overwrite") == 2
    assert np.array_equal(levels(Path("photo.png")), np.asarray(picture()))


@pytest.mark.parametrize("suffix", [".tga", ".jp2", ".ico", ".pdf", ".pgm", ".eps", ".xyz"])
def test_formats_that_are_not_written_are_rejected_first(suffix: str, model: Path, tmp_path: Path) -> None:
    picture().save(tmp_path / "photo.png")
    assert run(tmp_path / "photo.png", "--model", model, "--output", tmp_path / f"out{suffix}") == 2
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


@pytest.mark.parametrize("suffix", images.files.WRITTEN)
def test_formats_that_are_written_are_readable(suffix: str, model: Path, tmp_path: Path) -> None:
    picture().save(tmp_path / "photo.png")
    assert run(tmp_path / "photo.png", "--model", model, "--output", tmp_path / f"out{suffix}") == 0
    assert images.read(tmp_path / f"out{suffix}").size == (64, 48)


def test_pixels_are_counted_in_the_header(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pyvips.Image.black(30_000, 20_000).pngsave(str(tmp_path / "huge.png"), compression=9)
    assert run(tmp_path / "huge.png", "--model", model, "--output", tmp_path / "out.png") == 1
    told = capsys.readouterr().err
    assert "30000 x 20000 pixels, more than 500 megapixels; raise --max-megapixels" in told
    picture().save(tmp_path / "photo.png")
    command = [tmp_path / "photo.png", "--model", model, "--output", tmp_path / "out.png"]
    assert run(*command, "--max-megapixels", "0.003") == 1
    assert run(*command, "--max-megapixels", "nan") == 2
    assert run(*command, "--max-megapixels", "0.01") == 0


def test_disk_and_time_are_estimated_before_a_huge_photograph(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    picture().save(tmp_path / "photo.png")
    command = [tmp_path / "photo.png", "--model", model, "--output", tmp_path / "out.png"]
    assert run(*command) == 0 and "megapixels take about" not in capsys.readouterr().err
    monkeypatch.setattr("stylization.cli.painting.HUGE_PX", 1000)
    assert run(*command) == 0 and "megapixels take about" in capsys.readouterr().err


@pytest.mark.parametrize("memory", ["nan", "-1", "0", "inf", "-2GB", "1e999"])
def test_memory_is_a_positive_number(memory: str, model: Path, tmp_path: Path) -> None:
    picture().save(tmp_path / "photo.png")
    assert run(tmp_path / "photo.png", "--model", model, "--output", tmp_path / "out.png", f"--memory={memory}") == 2


def test_a_full_folder_for_temporary_files_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise pyvips.Error(
            "unable to call avg", f"wbuffer_write: write failed\nunix error: {os.strerror(errno.ENOSPC)}"
        )

    for name in ("a.png", "b.png"):
        picture().save(tmp_path / name)
    monkeypatch.setattr(pyvips.Region, "fetch", full)
    assert run(tmp_path / "a.png", tmp_path / "b.png", "--model", model, "--output", tmp_path / "out") == 2
    told = capsys.readouterr().err
    assert "No space left on device" in told and "damaged" not in told and "skipped" not in told


def test_pipes_and_devices_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "photo.jpg")
    for read in (Photograph, images.read):
        for path in (tmp_path / "photo.jpg", Path("/dev/zero")):
            with pytest.raises(InputError, match="not a regular file"):
                read(path)


def mutants(kind: str, num: int) -> list[bytes]:
    """Damaged in ways that files are: bits flipped, cut, zeroed, parts moved or doubled, sizes set to extremes."""
    rng = random.Random(kind)
    small = picture(24, 18)
    seeds = [encoded(kind, small), encoded(kind, small.convert("L"))]
    if kind in ("PNG", "TIFF", "WEBP", "AVIF"):
        seeds.append(encoded(kind, small.convert("RGBA")))
    if kind == "JPEG":
        seeds += [encoded(kind, small, progressive=True), encoded(kind, small.convert("CMYK"))]
    if kind == "TIFF":
        seeds += [encoded(kind, small, compression=c) for c in ("tiff_lzw", "tiff_deflate", "jpeg", "packbits")]
    if kind in ("JPEG", "PNG", "TIFF", "WEBP"):
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation], exif[ExifTags.Base.Artist] = 6, "somebody"
        seeds.append(encoded(kind, small, icc_profile=profile, exif=exif))
    return [_mutant(bytearray(rng.choice(seeds)), rng) for _ in range(num)]


def _mutant(content: bytearray, rng: random.Random) -> bytes:
    for _ in range(rng.randint(1, 3)):
        # Headers are short, and their faults the more telling ones.
        start = rng.randrange(min(len(content), rng.choice((64, 600, 10**9))))
        end = start + rng.randint(1, 16)
        kind = rng.randrange(7)
        if kind == 0:
            content[start] ^= 1 << rng.randrange(8)
        elif kind == 1:
            content[start:end] = rng.randbytes(end - start)
        elif kind == 2:
            content[start:end] = bytes(end - start)
        elif kind == 3:
            content[start : start + 4] = rng.choice((b"\xff" * 4, b"\x7f\xff\xff\xff"))
        elif kind == 4:
            del content[start:end]
        elif kind == 5:
            del content[max(16, start) :]
        else:
            content[start:start] = content[start:end]
        if len(content) < 16:
            break
    return bytes(content)


def read_mutants(kind: str, num: int, folder: Path) -> int:
    """Read so many mutants as photographs, as Pillow's pictures, as crops and as uploads; how many were read."""
    num_read, path, told = 0, folder / "mutant", list[str]()
    for content in mutants(kind, num):
        path.write_bytes(content)
        readers: tuple[Callable[[], object], ...] = (
            lambda: _written_again(Photograph(path, 20), folder),
            lambda: images.read(path),
            lambda content=content: images.Encoded(content, "mutant").crop(0, 0, 8, 8),
            lambda content=content: images.read_upload(content, 10**6, 16),
        )
        for read in readers:
            try:
                read()
                num_read += 1
            except InputError as error:
                told.append(str(error))
    assert all(told) and not any("\n" in line for line in told)
    return num_read


def _written_again(photo: Photograph, folder: Path) -> None:
    if photo.height * photo.width < 10**5:
        photo.save(images.as_image(photo.whole(), photo.depth), folder / "again.jpg")


@pytest.mark.parametrize("kind", formats.PILLOW_FORMATS)
def test_mutants_raise_nothing_but_this_projects_errors(kind: str, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    read_mutants(kind, 30, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", formats.PILLOW_FORMATS)
def test_a_thousand_mutants_raise_nothing_but_this_projects_errors(kind: str, tmp_path: Path) -> None:
    assert 0 < read_mutants(kind, 1000, tmp_path) < 4000
