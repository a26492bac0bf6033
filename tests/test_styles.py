"""The bundled style pictures and the painters that drew them."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from stylization.styles import PICTURES, draw, names, picture_path

SMALL_PX = 96


@pytest.fixture(scope="module")
def small() -> dict[str, np.ndarray]:
    """Every style drawn small, as floats."""
    return {name: np.asarray(draw(name, SMALL_PX), dtype=float) for name in names()}


@pytest.mark.parametrize("name", names())
def test_bundled_picture_is_a_large_color_picture_of_full_tonal_range(name: str) -> None:
    """Every registered style ships a picture fit to be a style."""
    with Image.open(picture_path(name)) as picture:
        assert picture.mode == "RGB"
        assert min(picture.size) >= 512
        gray = np.asarray(picture.convert("L"))
    dark, light = np.percentile(gray, [2, 98])
    assert dark < 50
    assert light > 200


@pytest.mark.parametrize("name", names())
def test_bundled_picture_consists_of_large_shapes(name: str) -> None:
    """Shapes of a few pixels become dots and lattices in a stylization: blurring over 4 px loses little contrast."""
    with Image.open(picture_path(name)) as picture:
        luma = np.asarray(picture.convert("L"), dtype=float)
    assert ndimage.gaussian_filter(luma, 4.0).var() > 0.42 * luma.var()


@pytest.mark.parametrize("name", names())
def test_bundled_picture_is_covered_evenly(name: str) -> None:
    """Every ninth of the picture has contrast; an empty area would teach a generator to paint nothing."""
    with Image.open(picture_path(name)) as picture:
        luma = np.asarray(picture.convert("L"), dtype=float)
    third = luma.shape[0] // 3
    parts = luma[: 3 * third, : 3 * third].reshape(3, third, 3, third)
    assert parts.std(axis=(1, 3)).min() > 0.35 * luma.std()


@pytest.mark.parametrize("name", names())
def test_bundled_picture_is_light(name: str) -> None:
    """All pictures together are part of the package."""
    assert picture_path(name).stat().st_size <= 200_000


def test_every_bundled_file_has_a_painter() -> None:
    """No picture is left behind when a painter is renamed or removed."""
    assert sorted(path.stem for path in PICTURES.glob("*.jpg")) == names()


@pytest.mark.parametrize("name", ["mosaic", "waves"])
def test_bundled_picture_is_what_the_code_draws(name: str) -> None:
    """The file agrees with a fresh drawing, within what JPEG loses."""
    with Image.open(picture_path(name)) as picture:
        shipped = np.asarray(picture, dtype=float)
    drawn = np.asarray(draw(name, shipped.shape[0]), dtype=float)
    assert np.abs(shipped - drawn).mean() < 8.0


@pytest.mark.parametrize("name", names())
def test_drawing_repeats_exactly(name: str, small: dict[str, np.ndarray]) -> None:
    """Name, size and seed decide every pixel."""
    assert small[name].shape == (SMALL_PX, SMALL_PX, 3)
    assert np.array_equal(np.asarray(draw(name, SMALL_PX), dtype=float), small[name])


@pytest.mark.parametrize("name", ["candy", "marble"])
def test_another_seed_draws_another_picture(name: str, small: dict[str, np.ndarray]) -> None:
    """The seed reaches the painter."""
    assert np.abs(np.asarray(draw(name, SMALL_PX, seed=1), dtype=float) - small[name]).mean() > 20.0


@pytest.mark.parametrize("name", ["ink", "mosaic"])
def test_features_scale_with_the_picture(name: str) -> None:
    """Half the size shows the same motif with finer marks: the balance of tones stays."""
    with Image.open(picture_path(name)) as picture:
        bundled = np.asarray(picture, dtype=float)
    half = np.asarray(draw(name, bundled.shape[0] // 2), dtype=float)
    assert np.abs(half.mean(axis=(0, 1)) - bundled.mean(axis=(0, 1))).max() < 20.0


def test_styles_differ_from_each_other(small: dict[str, np.ndarray]) -> None:
    """No two styles are the same picture."""
    for first, second in itertools.combinations(names(), 2):
        assert np.abs(small[first] - small[second]).mean() > 30.0, (first, second)


@pytest.mark.parametrize("look_up", [picture_path, draw])
def test_unknown_style_is_named_in_the_error(look_up: Callable[[str], object]) -> None:
    """A typo is answered with the names that exist."""
    with pytest.raises(KeyError, match=r"'wavs'.*waves"):
        look_up("wavs")


def test_looking_up_a_picture_does_not_import_scipy() -> None:
    """Callers that only want a bundled file do not pay for the painters."""
    code = (
        "import sys; from stylization.styles import names, picture_path; picture_path(names()[0]);"
        "assert not {'numpy', 'scipy', 'skimage', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
