"""The stream's contract: sample n is a function of (seed, n), for any ranks, workers and starting points."""

import pickle
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader

from stylization.content import Endless, Files, Stream, folder, held_out_samples, train_samples
from stylization.content.stream import center_square
from stylization.errors import InputError


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    (root / "below").mkdir()
    rng = np.random.default_rng(0)
    for i in range(5):
        pixels = rng.integers(0, 256, (40 + i, 60 - i, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / ("below" if i % 2 else ".") / f"{i}.png")
    (root / "notes.txt").write_text("no picture")
    return root


def test_sample_is_a_function_of_seed_and_number(photos: Path) -> None:
    one, other = (Stream(folder(photos), 16, seed=7, cached=cached) for cached in (False, True))
    for n in (3, 11, 0, 3):  # in any order, and again
        assert torch.equal(one[n], other[n])
    assert not torch.equal(one[3], Stream(folder(photos), 16, seed=8)[3])


def test_an_image_is_cropped_anew_at_every_pass(photos: Path) -> None:
    stream = Stream(Files(folder(photos).paths[:1]), 16, seed=0)
    assert len({stream[n].numpy().tobytes() for n in range(8)}) == 8


def test_every_pass_is_another_permutation_of_all_images(photos: Path) -> None:
    stream = Stream(folder(photos), 16, seed=0)
    passes = [tuple(stream.permutation(k)) for k in range(6)]
    assert all(sorted(order) == list(range(5)) for order in passes)
    assert len(set(passes)) > 1


@given(
    start=st.integers(0, 50),
    num_ranks=st.integers(1, 5),
    later_ranks=st.integers(1, 5),
    rounds=st.integers(0, 6),
)
def test_ranks_deal_out_one_sequence_and_another_number_of_ranks_may_take_over(
    start: int, num_ranks: int, later_ranks: int, rounds: int
) -> None:
    def dealt(start: int, num_ranks: int, rounds: int) -> list[int]:
        ranks = [islice(Endless(start, rank, num_ranks), rounds) for rank in range(num_ranks)]
        return [n for step in zip(*ranks, strict=True) for n in step]

    before = dealt(start, num_ranks, rounds)
    after = dealt(start + len(before), later_ranks, 3)
    assert before + after == list(range(start, start + len(before) + 3 * later_ranks))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_do_not_depend_on_the_number_of_workers(photos: Path, num_workers: int) -> None:
    stream = Stream(folder(photos), 16, seed=0)
    loader = DataLoader(stream, batch_size=3, sampler=Endless(4), num_workers=num_workers)
    for k, batch in enumerate(islice(loader, 4)):
        assert torch.equal(batch, torch.stack([stream[4 + 3 * k + i] for i in range(3)]))


def test_stream_goes_to_spawned_workers(photos: Path) -> None:
    for cached in (False, True):
        stream = Stream(folder(photos), 16, seed=0, cached=cached)
        before = stream[2]
        assert torch.equal(pickle.loads(pickle.dumps(stream))[2], before)


@pytest.mark.parametrize("crop_area", [(0.5, 2.0), (0.0, 1.0), (0.9, 0.1)])
def test_crop_area_is_a_range_of_shares(crop_area: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="crop_area"):
        Stream(Files([]), 16, seed=0, crop_area=crop_area)


def test_damaged_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_text("no picture")
    with pytest.raises(InputError, match=r"broken\.jpg"):
        Stream(folder(tmp_path), 16, seed=0)[0]


@settings(max_examples=30)
@given(w=st.integers(16, 80), h=st.integers(16, 80), n=st.integers(0, 1000))
def test_crops_lie_inside_the_image_and_keep_its_proportions(w: int, h: int, n: int) -> None:
    # A ramp: red counts columns, green counts rows, and both grow at one rate in an undistorted crop.
    columns, rows = np.meshgrid(np.arange(w), np.arange(h))
    pixels = np.stack([columns * 3, rows * 3, np.zeros_like(rows)], axis=-1).astype(np.uint8)
    stream = Stream(Files([]), 12, seed=0, crop_area=(0.3, 1.0))
    crop = stream._crop(Image.fromarray(pixels), np.random.default_rng(n))
    values = np.asarray(crop, dtype=float)
    across = abs(values[6, -3, 0] - values[6, 2, 0])
    down = values[-3, 6, 1] - values[2, 6, 1]
    assert abs(across - down) <= 4
    side = min(w, h)
    assert down <= 3 * side


def test_crops_flip_half_of_the_time() -> None:
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:, :, 0] = np.linspace(0, 255, 32)
    stream = Stream(Files([]), 16, seed=0)
    crops = [np.asarray(stream._crop(Image.fromarray(pixels), np.random.default_rng(n))) for n in range(200)]
    flipped = sum(float(crop[8, 0, 0]) > float(crop[8, -1, 0]) for crop in crops)
    assert 70 < flipped < 130


def test_folder_is_read_recursively_in_order_of_paths(photos: Path) -> None:
    assert [p.relative_to(photos).as_posix() for p in folder(photos).paths] == [
        "0.png",
        "2.png",
        "4.png",
        "below/1.png",
        "below/3.png",
    ]


def test_bad_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder"):
        folder(tmp_path / "absent")
    with pytest.raises(InputError, match="no picture"):
        folder(tmp_path)


def test_samples_are_colour_photographs_and_held_out_ones_are_others() -> None:
    train, held_out = train_samples(), held_out_samples()
    assert len(train) == 7
    assert len(held_out) == 3
    assert not set(train.paths) & set(held_out.paths)
    for source in (train, held_out):
        for i in range(len(source)):
            with Image.open(source.paths[i]) as image:
                assert min(image.size) >= 256


def test_held_out_squares_are_centred() -> None:
    image = Image.new("RGB", (90, 30), "black")
    image.paste("white", (30, 0, 60, 30))
    assert (center_square(image, 20) > 200).all()
