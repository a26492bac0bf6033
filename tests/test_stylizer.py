"""A trained generator on photographs: what a file says beside its pixels is kept, and the controls do what they say."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image, ImageCms, ImageFilter

from stylization import cli
from stylization.errors import InputError
from stylization.stylizer import Stylizer, load


@pytest.fixture
def stylizer(model: Path) -> Stylizer:
    return load(model)


def picture(size: tuple[int, int] = (60, 44), seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


def test_exif_profile_opacity_and_orientation_are_kept(model: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.Artist] = "somebody"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture().save(tmp_path / "photo.jpg", exif=exif, icc_profile=profile)
    cut_out = picture()
    cut_out.putalpha(Image.linear_gradient("L").resize(cut_out.size))
    cut_out.save(tmp_path / "photo.png")
    for name in ("photo.jpg", "photo.png"):
        cli.main(["apply", str(tmp_path / name), "--model", str(model), "--output", str(tmp_path / "out" / name)])
    with Image.open(tmp_path / "out" / "photo.jpg") as painted:
        assert painted.size == (44, 60)  # upright
        assert painted.getexif()[ExifTags.Base.Artist] == "somebody"
        assert painted.getexif().get(ExifTags.Base.Orientation, 1) == 1
        assert painted.info["icc_profile"] == profile
    with Image.open(tmp_path / "out" / "photo.png") as painted:
        assert np.array_equal(np.asarray(painted.getchannel("A")), np.asarray(cut_out.getchannel("A")))


def test_folder_keeps_its_structure_skips_what_is_done_and_goes_on_past_damage(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, name in enumerate(("a.jpg", "b/c.png", "b/d.webp", "e.gif")):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        picture(seed=number).save(tmp_path / "in" / name)
    (tmp_path / "in" / "b" / "bad.jpg").write_bytes(b"no picture")
    command = ["apply", str(tmp_path / "in"), "--model", str(model), "--output", str(tmp_path / "out")]
    for times in ("4 pictures", "0 pictures, 4 were there already"):
        with pytest.raises(SystemExit) as stopped:
            cli.main(command)
        told = capsys.readouterr()
        assert stopped.value.code == 1 and "1 of 5 pictures could not be read" in told.err
        assert times in told.out and "bad.jpg is not a picture" in told.err
    made = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*"))
    assert made == ["a.jpg", "b/c.png", "b/d.webp", "e.png"]


def test_strength_goes_from_the_photograph_to_the_stylization(stylizer: Stylizer) -> None:
    x = torch.rand(2, 3, 40, 52)
    whole = stylizer(x, strokes="native")
    assert torch.allclose(stylizer(x, strokes="native", strength=0.0), x)
    assert torch.allclose(stylizer(x, strokes="native", strength=0.25), 0.75 * x + 0.25 * whole, atol=1e-6)


def test_colours_are_kept_as_asked(stylizer: Stylizer) -> None:
    x = 0.3 + 0.4 * torch.rand(1, 3, 40, 52)
    luminance = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    kept, whole = stylizer(x, strokes="native", keep_colors="luminance"), stylizer(x, strokes="native")
    inside = ((kept > 0) & (kept < 1)).all(1, keepdim=True)
    assert inside.float().mean() > 0.5
    lightness = (luminance * (kept - whole)).sum(1, keepdim=True)
    chroma = (kept - x) - (kept - x).mean(1, keepdim=True)
    assert lightness[inside].abs().max() < 1e-5
    assert chroma[inside.expand_as(chroma)].abs().max() < 1e-5
    matched = stylizer(x, strokes="native", keep_colors="matched")
    assert torch.allclose(matched.mean((2, 3)), x.mean((2, 3)), atol=0.01)


def test_scale_keeps_the_size_and_one_changes_nothing(stylizer: Stylizer) -> None:
    x = torch.rand(1, 3, 41, 53)
    assert torch.equal(stylizer(x, strokes="native", scale=1.0), stylizer(x, strokes="native"))
    assert stylizer(x, strokes="native", scale=2.0).shape == stylizer(x, strokes="native", scale=0.5).shape == x.shape
    assert not torch.allclose(stylizer(x, strokes="native", scale=2.0), stylizer(x, strokes="native"), atol=0.01)


def test_mask_repaints_its_region_with_the_statistics_of_that_region(stylizer: Stylizer) -> None:
    x = torch.rand(1, 3, 40, 64)
    mask = torch.zeros(40, 64)
    mask[:, 32:] = 1
    painted = stylizer(x, strokes="native", mask=mask)
    assert torch.equal(painted[..., :32], x[..., :32])
    other = x.clone()
    other[..., :16] = 0  # far outside the region: neither its statistics nor, 16 px away, its pixels
    assert torch.allclose(stylizer(other, strokes="native", mask=mask)[..., 48:], painted[..., 48:], atol=1e-5)
    assert not torch.allclose(
        stylizer(other, strokes="native")[..., 48:], stylizer(x, strokes="native")[..., 48:], atol=1e-3
    )
    assert torch.equal(
        stylizer(x, strokes="native"), load_again(stylizer)(x, strokes="native")
    )  # its own statistics are back


def load_again(stylizer: Stylizer) -> Stylizer:
    return Stylizer(stylizer.generator, stylizer.facts)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (["--strength", "2"], "strength=2: must be from 0 to 1"),
        (["--scale", "0"], "scale=0: must be from 0.1 to 10"),
        (["--device", "nonsense"], "device=nonsense"),
        (["--mask", "nowhere.png"], "cannot read nowhere.png"),
        (["--output", "out.xyz"], "no picture format has the suffix"),
        (["--model", "nowhere"], "no model file at nowhere"),
    ],
)
def test_wrong_input_is_told_in_one_line(
    wrong: list[str], told: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture().save(tmp_path / "photo.png")
    command = ["apply", str(tmp_path / "photo.png"), "--model", str(model), "--output", str(tmp_path / "out.png")]
    with pytest.raises(SystemExit) as stopped:
        cli.main([*command, *wrong])
    errors = capsys.readouterr().err
    assert stopped.value.code == 2 and told in errors and errors.count("\n") == 1
    assert not (tmp_path / "out.png").exists()


def test_relative_strokes_are_the_same_share_of_pictures_of_any_size(stylizer: Stylizer) -> None:
    large = picture((1536, 1024)).filter(ImageFilter.GaussianBlur(100))  # without edges, which depend on the size
    medium, small = (large.resize(size, Image.Resampling.LANCZOS) for size in ((768, 512), (384, 256)))

    def look(image: Image.Image, **options: float | str) -> np.ndarray:
        return np.asarray(stylizer(image, **options).resize((384, 256), Image.Resampling.LANCZOS), float)

    relative = [look(image) for image in (large, medium, small)]
    difference = max(np.abs(each - relative[1]).mean() for each in relative)
    assert difference < 0.8 * np.abs(look(large, strokes="native") - relative[1]).mean()
    assert np.array_equal(look(medium, strokes="native"), relative[1])
    assert np.array_equal(look(large, scale=1.5), look(large, strokes="native", scale=3.0))


def test_unknown_strokes_are_rejected(stylizer: Stylizer) -> None:
    with pytest.raises(InputError, match="strokes=fine: choose relative or native"):
        stylizer(picture(), strokes="fine")
