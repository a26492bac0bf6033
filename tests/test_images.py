"""Whatever a picture was, it arrives as upright sRGB in [0, 1]; what leaves is written whole or not at all."""

import io
import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from stylization import images
from stylization.errors import InputError


def encoded(image: Image.Image, image_format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def ramp(w: int = 24, h: int = 16) -> Image.Image:
    pixels = np.zeros((h, w, 3), np.uint8)
    pixels[..., 0] = np.linspace(0, 255, w)
    pixels[..., 1] = np.linspace(0, 255, h)[:, None]
    return Image.fromarray(pixels)


def test_tensor_and_back_is_exact() -> None:
    image = ramp()
    x = images.to_tensor(image)
    assert x.shape == (3, 16, 24) and x.dtype == torch.float32 and 0 <= x.min() and x.max() <= 1
    assert np.array_equal(np.asarray(images.to_picture(x)), np.asarray(image))


def test_exif_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 270 degrees
    turned = images.read(encoded(ramp(), "JPEG", exif=exif, quality=100))
    assert turned.size == (16, 24)


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    pixels = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    image = images.read(encoded(Image.fromarray(pixels)))
    assert np.allclose(np.asarray(image)[..., 0].ravel(), np.arange(256), atol=1)


def test_transparency_is_laid_on_white() -> None:
    image = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    assert np.asarray(images.read(encoded(image))).min() == 255
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([10, 20, 30] * 256)
    assert np.asarray(images.read(encoded(palette, "PNG", transparency=0))).min() == 255


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "LA", "RGBA", "I;16"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    image = Image.new(mode, (8, 8))
    image_format = "TIFF" if mode == "CMYK" else "PNG"
    assert images.read(encoded(image, image_format)).mode == "RGB"


def test_colour_profile_is_converted_and_a_broken_one_ignored() -> None:
    grey = Image.new("RGB", (8, 8), (100, 150, 200))
    lab_like = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    same = images.read(encoded(grey, icc_profile=lab_like))
    assert np.abs(np.asarray(same).astype(int) - np.asarray(grey)).max() <= 1
    broken = images.read(encoded(grey, icc_profile=b"not a profile"))
    assert np.array_equal(np.asarray(broken), np.asarray(grey))


def test_colour_profile_is_converted_below_transparency_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def inverted(image: Image.Image, *_: object, **__: object) -> Image.Image:
        assert image.mode == "RGB"  # a profile knows nothing of opacity
        return Image.eval(image, lambda value: 255 - value)

    monkeypatch.setattr(ImageCms, "profileToProfile", inverted)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    half = Image.new("RGBA", (4, 4), (0, 0, 0, 255))
    half.paste((0, 0, 0, 0), (0, 0, 2, 4))
    pixels = np.asarray(images.read(encoded(half, icc_profile=profile)))
    assert (pixels == 255).all()  # black turned white by the profile, and white where nothing was
    plain = np.asarray(images.read(encoded(half)))
    assert (plain[:, :2] == 255).all() and (plain[:, 2:] == 0).all()


def test_damage_is_told_in_one_line(tmp_path: Path) -> None:
    whole = encoded(Image.effect_noise((64, 64), 90).convert("RGB"), "JPEG")
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.jpg").write_text("this is no picture")
    (tmp_path / "empty.png").write_bytes(b"")
    for name, reason in (("cut.jpg", "damaged"), ("text.jpg", "not a picture"), ("empty.png", "is empty")):
        with pytest.raises(InputError, match=reason) as caught:
            images.read(tmp_path / name)
        assert name in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(InputError, match="cannot read"):
        images.read(tmp_path / "absent.png")


def test_unreachable_address_is_told_in_one_line() -> None:
    with pytest.raises(InputError, match="cannot fetch"):
        images.read("http://127.0.0.1:9/picture.jpg")


def test_shrink_keeps_proportions_and_never_enlarges() -> None:
    assert images.shrink(Image.new("RGB", (200, 100)), 50).size == (100, 50)
    assert images.shrink(Image.new("RGB", (20, 10)), 50).size == (20, 10)


def test_unknown_suffix_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no picture format"):
        images.save(ramp(), tmp_path / "out.xyz")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def small_files_only() -> Iterator[None]:
    """No file of this process may grow beyond 20 kB: to a writer, the disk is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("small_files_only")
def test_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "out.png"
    target.write_bytes(b"what was there")
    noise = Image.effect_noise((200, 200), 90).convert("RGB")
    with pytest.raises(InputError, match="cannot write"):
        images.save(noise, target)
    assert target.read_bytes() == b"what was there"
    assert [p.name for p in tmp_path.iterdir()] == ["out.png"]


def test_folders_are_walked_once_without_hidden_files(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("a.png", "deep/b.png", "._a.png", ".hidden.png"):
        Image.new("RGB", (20, 20)).save(tmp_path / name)
    (tmp_path / "deep" / "up").symlink_to(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    pairs = images.paired_paths([str(tmp_path)], Path("painted"))
    assert [path.as_posix() for _, path in pairs] == ["painted/a.png", "painted/deep/b.png"]
