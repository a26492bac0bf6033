"""The stream's contract: sample n is a function of (seed, n), for any ranks, workers and starting points."""

import pickle
from io import BytesIO
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader

from stylization.content import Endless, Files, Part, Stream, first, folder, held_out_samples, train_samples
from stylization.content.data import divided
from stylization.content.stream import Squares, center_square, collated
from stylization.errors import InputError
from stylization.images import Encoded, square


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
    one, other = (Stream(folder(photos), 16, seed=7) for _ in range(2))
    for n in (3, 11, 0, 3):  # in any order, and again
        assert torch.equal(one[n].pixels, other[n].pixels)
    assert not torch.equal(one[3].pixels, Stream(folder(photos), 16, seed=8)[3].pixels)


def test_an_image_is_cropped_anew_at_every_pass(photos: Path) -> None:
    stream = Stream(Part(folder(photos), np.array([2])), 16, seed=0)
    assert len({stream[n].pixels.numpy().tobytes() for n in range(8)}) == 8


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


@pytest.mark.parametrize("squares", [False, True])
@pytest.mark.parametrize("num_workers", [0, 1, 4])
def test_batches_do_not_depend_on_the_number_of_workers(photos: Path, num_workers: int, squares: bool) -> None:
    source = folder(photos)
    alone, shared = (Stream(source, 16, 0, squares=Squares(5, 32) if squares else None) for _ in range(2))
    loader = DataLoader(shared, batch_size=3, sampler=Endless(4), collate_fn=collated, num_workers=num_workers)
    for k, batch in enumerate(islice(loader, 4)):
        assert torch.equal(batch.pixels, torch.stack([alone[4 + 3 * k + i].pixels for i in range(3)]))
    if squares and shared.squares is not None:
        assert shared.squares.filled.all()  # what the workers decoded is there for all


def test_device_that_keeps_the_squares_cuts_the_same_crops(photos: Path) -> None:
    source, device = folder(photos), torch.device("cpu")  # stands for any device: only its memory is another
    host = Stream(source, 16, 0, squares=Squares(5, 32))
    stream = Stream(source, 16, 0, squares=Squares(5, 32, device))
    assert stream.squares is not None
    carried = []
    for k in range(6):
        batch = collated([stream[4 * k + i] for i in range(4)])
        carried.append(sum(batch.carried))
        assert torch.equal(stream.squares.crops(batch, 16), torch.stack([host[4 * k + i].pixels for i in range(4)]))
    assert carried[0] > 0 and not any(carried[3:])  # each square travels once


def test_stream_goes_to_spawned_workers(photos: Path) -> None:
    stream = Stream(folder(photos), 16, seed=0)
    before = stream[2].pixels
    assert torch.equal(pickle.loads(pickle.dumps(stream))[2].pixels, before)


def test_blocks_are_shuffled_and_read_one_after_the_other(photos: Path) -> None:
    source = folder(photos)
    source.blocks = np.array([0, 2, 5])
    stream = Stream(source, 16, seed=0)
    orders = [tuple(int(i >= 2) for i in stream.permutation(k)) for k in range(20)]
    assert set(orders) == {(0, 0, 1, 1, 1), (1, 1, 1, 0, 0)}
    assert len({tuple(stream.permutation(k)) for k in range(20)}) > 5


@given(num=st.integers(2, 60), seed=st.integers(0, 5), data=st.data())
def test_fewer_images_are_a_part_of_more(num: int, seed: int, data: st.DataObject) -> None:
    source = Files([Path(f"{i}.jpg") for i in range(num)])
    few, many = sorted(data.draw(st.lists(st.integers(1, num), min_size=2, max_size=2)))
    names = [{part.name(i) for i in range(len(part))} for part in (first(source, k, seed) for k in (few, many))]
    assert len(names[0]) == few and names[0] <= names[1]


def test_held_out_images_depend_on_their_names_alone(photos: Path) -> None:
    source = folder(photos)
    rest, held = divided(source, 2)
    names = {held.name(i) for i in range(2)}
    assert names | {rest.name(i) for i in range(3)} == {source.name(i) for i in range(5)}
    backwards = Files([source.path(i) for i in (4, 3, 2, 1, 0)], photos)
    assert {divided(backwards, 2)[1].name(i) for i in range(2)} == names
    for num in (0, 5, 9):
        with pytest.raises(InputError, match="num_held_out"):
            divided(source, num)


@settings(max_examples=25)
@given(
    seed=st.integers(0, 3),
    killed_at=st.lists(st.integers(0, 7), max_size=4),
    ranks=st.lists(st.sampled_from([1, 2, 3, 4, 6]), min_size=5, max_size=5),
    num_images=st.integers(1, 11),
)
def test_killed_and_resumed_runs_see_the_images_of_the_uninterrupted_one(
    seed: int, killed_at: list[int], ranks: list[int], num_images: int
) -> None:
    """A global batch of 12, dealt to any number of ranks; killed after some steps, gone on with another number."""
    stream = Stream(Files([Path(f"{i}.jpg") for i in range(num_images)]), 16, seed)

    def images_of(start: int, num_ranks: int, num_steps: int) -> list[int]:
        dealt = [iter(Endless(start, rank, num_ranks)) for rank in range(num_ranks)]
        steps = []
        for _ in range(num_steps):
            per_rank = [[next(numbers) for _ in range(12 // num_ranks)] for numbers in dealt]
            steps += [n for turn in zip(*per_rank, strict=True) for n in turn]
        return [stream.index(n) for n in steps]

    seen: list[int] = []
    for num_steps, num_ranks in zip([*killed_at, 3], ranks, strict=False):
        seen += images_of(len(seen), num_ranks, num_steps)
    assert seen == images_of(0, 1, len(seen) // 12)
    passes = len(seen) // num_images
    assert all(seen[: passes * num_images].count(i) == passes for i in range(num_images))


@pytest.mark.parametrize("crop_area", [(0.5, 2.0), (0.0, 1.0), (0.9, 0.1)])
def test_crop_area_is_a_range_of_shares(crop_area: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="crop_area"):
        Stream(Files([Path("a.jpg")]), 16, seed=0, crop_area=crop_area)


@settings(max_examples=30)
@given(w=st.integers(40, 90), h=st.integers(40, 90), n=st.integers(0, 1000))
def test_crops_lie_inside_the_image_and_keep_its_proportions(w: int, h: int, n: int) -> None:
    # A ramp: red counts columns, green counts rows, and both grow at one rate in an undistorted crop.
    columns, rows = np.meshgrid(np.arange(w), np.arange(h))
    pixels = torch.from_numpy(np.stack([columns * 2, rows * 2, np.zeros_like(rows)], axis=-1).astype(np.uint8))
    stream = Stream(Files([Path("a.jpg")]), 12, seed=0, crop_area=(0.3, 1.0))
    left, top, side, _ = stream._cut(np.random.default_rng(n), w, h)
    assert 0 <= left <= w - side and 0 <= top <= h - side and side <= min(w, h)
    crop = square(pixels, left, top, side, 12).double()
    across = abs(crop[0, 6, -3] - crop[0, 6, 2]).item()
    down = abs(crop[1, -3, 6] - crop[1, 2, 6]).item()
    assert abs(across - down) <= 4
    assert abs(down - 2 * side * 7 / 12) <= 6


def test_crops_flip_half_of_the_time() -> None:
    stream = Stream(Files([Path("a.jpg")]), 16, seed=0)
    flips = sum(stream._cut(np.random.default_rng(n), 32, 32)[3] for n in range(200))
    assert 70 < flips < 130


def test_folder_is_read_recursively_in_order_of_paths(photos: Path) -> None:
    assert [folder(photos).name(i) for i in range(5)] == [
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
    assert not {train.name(i) for i in range(7)} & {held_out.name(i) for i in range(3)}
    for source in (train, held_out):
        for i in range(len(source)):
            with Image.open(source.path(i)) as image:
                assert min(image.size) >= 256


def test_held_out_squares_are_centred() -> None:
    image, content = Image.new("RGB", (90, 30), "black"), BytesIO()
    image.paste("white", (30, 0, 60, 30))
    image.save(content, "PNG")
    assert (center_square(Encoded(content.getvalue(), "white"), 20) > 200).all()
