"""From file to file: tiled as untiled under every option, at the photograph's own depth, within the memory."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
import torch
from conftest import ARCHITECTURE
from numpy.typing import NDArray
from PIL import Image, ImageCms

from stylization import cli, generators, images, model_file, normalization
from stylization.images import Photograph
from stylization.repainting import MEMORY_BYTES, Look, memory_left, repainted
from stylization.stylizer import Stylizer


@pytest.fixture
def stylizer() -> Stylizer:
    torch.manual_seed(0)
    return Stylizer(generators.Johnson(normalization.Norm, width=4, num_blocks=1), {})


@pytest.fixture
def photo(tmp_path: Path) -> Photograph:
    return Photograph(written(tmp_path / "photo.png", smooth(200, 300)))


def smooth(h: int, w: int) -> NDArray[np.float32]:
    coarse = torch.rand(1, 3, 7, 9, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse, (h, w), mode="bicubic")[0].clamp(0, 1).numpy()


def written(path: Path, pixels: NDArray[np.float32], depth: int = 8) -> Path:
    path.parent.mkdir(exist_ok=True)
    images.as_image(pixels, depth).write_to_file(str(path))
    return path


def native(**options: Any) -> Look:
    return Look(**options, strokes="native")


def painted(stylizer: Stylizer, photo: Photograph, look: Look, tile: str, output: Path) -> NDArray[np.int64]:
    with repainted(stylizer, photo, look, tile, memory_bytes=3e6) as picture:  # type: ignore[arg-type]
        photo.save(picture, output)
    return np.asarray(pyvips.Image.new_from_file(str(output)).numpy(), np.int64)


@pytest.mark.parametrize(
    "look",
    [
        native(),
        native(strength=0.4),
        native(keep_colors="luminance"),
        native(keep_colors="matched", strength=0.8),
        native(mask="mask.png"),
        native(mask="mask.png", keep_colors="matched"),
        native(scale=1.5),
        native(scale=0.7, mask="mask.png", strength=0.9),
    ],
)
def test_tiled_is_untiled_within_one_level(
    look: Look, stylizer: Stylizer, photo: Photograph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    mask = Image.new("L", (60, 40))
    mask.paste(255, (20, 10, 50, 35))
    mask.save("mask.png")
    whole = painted(stylizer, photo, look, "never", tmp_path / "whole.png")
    parts = painted(stylizer, photo, look, "auto", tmp_path / "parts.png")
    assert whole.shape == (200, 300, 3) and np.abs(parts - whole).max() <= 1
    assert whole.std() > 5  # a grey picture would prove nothing


def test_thumbnail_says_how_far_off_its_statistics_are(
    stylizer: Stylizer,
    photo: Photograph,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = painted(stylizer, photo, native(), "never", tmp_path / "whole.png")
    painted(stylizer, photo, native(), "thumbnail", tmp_path / "same.png")  # the picture is its own thumbnail
    exact = float(capsys.readouterr().err.split("off by ")[1].split()[0])
    monkeypatch.setattr("stylization.repainting.THUMBNAIL_PX", 40)
    small = painted(stylizer, photo, native(), "thumbnail", tmp_path / "small.png")
    told = float(capsys.readouterr().err.split("off by ")[1].split()[0])
    assert exact == 0 and told > 0 and np.abs(small - whole).max() > 1


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("tile", ["never", "auto"])
def test_sixteen_bits_stay_sixteen(suffix: str, tile: str, stylizer: Stylizer, tmp_path: Path) -> None:
    photo = Photograph(written(tmp_path / f"photo{suffix}", smooth(120, 100), depth=16))
    assert photo.depth == 16 and np.abs(photo.whole() - smooth(120, 100)).max() < 1e-5
    result = painted(stylizer, photo, native(strength=0.5), tile, tmp_path / f"out{suffix}")
    assert result.max() > 255 and len(np.unique(result)) > 1000
    narrow = painted(stylizer, photo, native(strength=0.5), tile, tmp_path / "out.jpg")
    assert narrow.max() <= 255 and np.abs(narrow - result / 257).mean() < 3


@pytest.mark.parametrize("mode", ["L", "LA", "P", "CMYK", "1", "I;16"])
def test_every_kind_of_picture_becomes_srgb(mode: str, tmp_path: Path) -> None:
    grey = Image.linear_gradient("L").resize((50, 40))
    picture = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257) if mode == "I;16" else grey.convert(mode)
    picture.save(tmp_path / ("photo.tif" if mode == "CMYK" else "photo.png"))
    photo = Photograph(next(tmp_path.glob("photo.*")))
    assert (photo.height, photo.width) == (40, 50) and photo.whole().shape == (3, 40, 50)
    if mode != "1":
        assert np.abs(photo.whole() - np.asarray(grey) / 255).mean() < 0.1  # libvips' own profile for CMYK


def test_a_profile_is_converted_on_the_way_in_and_back_on_the_way_out(stylizer: Stylizer, tmp_path: Path) -> None:
    p3 = pyvips.Image.new_from_array(images.quantized(smooth(60, 50), 8).transpose(1, 2, 0).copy())
    p3.icc_transform("p3", input_profile="srgb").write_to_file(str(tmp_path / "photo.png"))
    with Image.open(tmp_path / "photo.png") as file:
        assert np.abs(np.asarray(file) / 255 - smooth(60, 50).transpose(1, 2, 0)).max() > 0.02  # other numbers
        profile = file.info["icc_profile"]
    photo = Photograph(tmp_path / "photo.png")
    assert np.abs(photo.whole() - smooth(60, 50)).mean() < 0.01  # the same colours
    kept = painted(stylizer, photo, native(strength=0), "never", tmp_path / "out.png")
    with Image.open(tmp_path / "photo.png") as before, Image.open(tmp_path / "out.png") as after:
        assert after.info["icc_profile"] == profile and np.abs(np.asarray(before) - kept).mean() < 1


def test_a_broken_profile_says_nothing_about_the_pixels(tmp_path: Path) -> None:
    Image.fromarray(images.quantized(smooth(60, 50), 8).transpose(1, 2, 0)).save(
        tmp_path / "photo.png", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()[:200]
    )
    assert np.abs(Photograph(tmp_path / "photo.png").whole() - smooth(60, 50)).max() < 0.01


def test_memory_is_told_in_sizes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "model.safetensors"
    model_file.write(model, generators.Johnson(normalization.Norm, width=4, num_blocks=1), ARCHITECTURE, {})
    photo = written(tmp_path / "photo.png", smooth(64, 64))
    command = ["apply", str(photo), "--model", str(model), "--output", str(tmp_path / "out.png")]
    for memory, told in (("lots", "give a size such as 800MB"), ("1MB", "tiles of 64 px need more than")):
        with pytest.raises(SystemExit) as stopped:
            cli.main([*command, "--memory", memory])
        assert stopped.value.code == 2 and told in capsys.readouterr().err
        assert not (tmp_path / "out.png").exists()


def test_a_second_large_photograph_has_as_much_memory_as_the_first(tmp_path: Path) -> None:
    model = tmp_path / "model.safetensors"
    model_file.write(model, generators.Johnson(normalization.Norm, width=4, num_blocks=1), ARCHITECTURE, {})
    for number in range(3):
        written(tmp_path / "in" / f"{number}.png", smooth(900, 900))
    command = ["apply", str(tmp_path / "in"), "--model", str(model), "--output", str(tmp_path / "out")]
    process_bytes = MEMORY_BYTES - memory_left(MEMORY_BYTES) + 40e6  # of what there is already, and a little more
    cli.main([*command, "--memory", f"{process_bytes:.0f}"])
    assert len(list((tmp_path / "out").iterdir())) == 3


def test_a_file_that_has_changed_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    for size in ((45, 61), (40, 52)):
        Image.fromarray(np.full((*size, 3), size[0], np.uint8)).save(path)
        photograph = Photograph(path)
        assert photograph.whole().shape == (3, *size)
        assert photograph.whole().max() * 255 == pytest.approx(size[0])
