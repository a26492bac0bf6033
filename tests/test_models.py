"""The model in the box: right after installation, in every bundled style, as strong and as coarse as it is asked."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import stylization
from stylization import cli, images, styles
from stylization.content import held_out_samples
from stylization.content.stream import held_out
from stylization.metrics import OF_PICTURES, meters, readings
from stylization.models import BUNDLED


@pytest.fixture(scope="module")
def content() -> torch.Tensor:
    return images.to_float(held_out(held_out_samples(), 128))


def test_it_paints_all_bundled_styles_and_is_small() -> None:
    assert stylization.load("bundled").styles == styles.names()  # type: ignore[union-attr]
    assert BUNDLED.stat().st_size < 4e6


def test_a_style_by_its_name_is_all_that_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 52, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("photo.png")
    cli.main(["apply", "photo.png", "--style", "mosaic"])
    painted = np.asarray(Image.open("photo.mosaic.png")).astype(int)
    assert capsys.readouterr().out == "photo.mosaic.png\n"
    stylizer = stylization.load("mosaic")
    assert np.abs(painted - np.asarray(stylizer(Image.open("photo.png")))).max() <= 1
    assert np.array_equal(stylizer(pixels, style="mosaic"), stylizer(pixels))
    cli.main(["apply", "photo.png", "--style", "mosaic=0.6,ink=0.4"])
    assert Path("photo.mosaic_0_6_ink_0_4.png").exists()
    Path("mosaic").write_text("a file that has a style's name is not a model")
    with pytest.raises(stylization.InputError, match="cut, damaged or no"):
        stylization.load("mosaic")


def test_its_card_tells_every_style(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["models"])
    told = capsys.readouterr().out
    for style in styles.names():
        assert f"\n| {style} | " in told
    assert "out of 780, at 192 px" in told and "iterative method after" in told


@pytest.mark.parametrize("style", ["ink", "mosaic", "swirl"])
def test_strength_goes_from_the_photograph_to_the_style(style: str, content: torch.Tensor) -> None:
    stylizer = stylization.load(style)
    off = [float((stylizer(content, strokes="native", strength=k / 4) - content).abs().mean()) for k in range(5)]  # type: ignore[operator]
    assert off == sorted(off) and off[0] == 0 and off[-1] > off[1] + 0.03


def test_scale_makes_strokes_larger(content: torch.Tensor) -> None:
    stylizer = stylization.load("mosaic")
    variation = [
        float(stylizer(content, strokes="native", scale=scale).diff(dim=3).abs().mean())  # type: ignore[operator,attr-defined]
        for scale in (1 / 1.6, 1.0, 1.6, 3.0)
    ]
    assert variation == sorted(variation, reverse=True)


def test_it_leaves_no_frame_no_blobs_and_no_checkerboard(content: torch.Tensor) -> None:
    stylizer = stylization.load("bundled")
    for style in styles.names():
        found = meters(OF_PICTURES)
        found.update(stylizer(content, strokes="native", style=style), content)  # type: ignore[arg-type]
        measured = readings(found)
        assert measured["border"] < 0.1 and measured["checkerboard"] < 0.06 and measured["blobs"] < 0, (style, measured)
