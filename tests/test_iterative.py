"""The iterative method descends, from photograph and noise, at one scale and at several; pairs of its making train."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Tiny
from PIL import Image
from torch import Tensor

from stylization import cli
from stylization.errors import InputError
from stylization.iterative import optimize
from stylization.objective import Objective


@pytest.fixture
def objective(tiny: Tiny, photographs: Tensor) -> Objective:
    weights = {"content": 1.0, "style": 5.0, "tv": 0.1}
    return Objective(tiny, photographs[1:].flip(1), ["relu2_1"], ["relu1_1", "relu2_1"], weights)


@pytest.mark.parametrize("method", ["lbfgs", "adam"])
@pytest.mark.parametrize("start", ["photograph", "noise"])
def test_descends_within_the_range_and_leaves_the_photograph_alone(
    method: str, start: str, objective: Objective, photographs: Tensor
) -> None:
    content, before, told = photographs[:1], photographs[:1].clone(), []
    stylized = optimize(
        content, [objective], 25, method=method, start=start, watch=lambda step, terms: told.append((step, terms))
    )
    assert stylized.shape == content.shape and 0 <= stylized.min() and stylized.max() <= 1
    assert torch.equal(content, before)
    assert [step for step, _ in told] == list(range(1, 26))
    assert told[-1][1]["total"] < 0.6 * told[0][1]["total"]
    final = objective.total(objective(stylized, content)).item()
    assert final <= 1.05 * told[-1][1]["total"]


def test_several_scales_share_the_steps_and_end_at_the_whole_size(objective: Objective, photographs: Tensor) -> None:
    steps: list[int] = []
    stylized = optimize(photographs[:1], [objective] * 2, 10, watch=lambda step, terms: steps.append(step))
    assert steps == list(range(1, 11)) and stylized.shape == photographs[:1].shape
    once = optimize(photographs[:1], [objective], 10)
    assert not torch.equal(stylized, once)


def test_same_seed_same_picture_and_one_at_a_time(objective: Objective, photographs: Tensor) -> None:
    first, again = (optimize(photographs[:1], [objective], 5, start="noise", seed=3) for _ in range(2))
    assert torch.equal(first, again)
    with pytest.raises(InputError, match="one photograph at a time"):
        optimize(photographs, [objective], 5)


def test_command_repaints_a_folder_and_pairs_of_it_train(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    for name in ("photos/a/one.jpg", "photos/two.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((96, 72), Image.Resampling.BICUBIC).save(path)
    command = ["optimize", f"{tmp_path}/photos", "--output", f"{tmp_path}/stylized", "--num-steps", "2"]
    small = ["--size-px", "48", "--style", "ink", "style.size_px=64"]
    cli.main([*command, *small])
    made = sorted(str(path.relative_to(tmp_path / "stylized")) for path in (tmp_path / "stylized").rglob("*.png"))
    assert made == ["a/one.png", "two.png"]
    with Image.open(tmp_path / "stylized" / "two.png") as picture:
        assert picture.size == (64, 48)
    before = (tmp_path / "stylized" / "two.png").stat().st_mtime_ns
    cli.main([*command, *small])
    assert "2 were there already" in capsys.readouterr().out
    assert (tmp_path / "stylized" / "two.png").stat().st_mtime_ns == before
    for wrong, told in (
        (["--output", f"{tmp_path}/photos/inside"], "is inside the folder"),
        (["--num-steps", "0"], "--num-steps must be 1 at least"),
        (["objektive.weights.style=3"], "did you mean objective?"),
    ):
        with pytest.raises(SystemExit) as stopped:
            cli.main([*command, *small, *wrong])
        assert stopped.value.code == 2 and told in capsys.readouterr().err


def test_paired_crops_show_the_same_place(tmp_path: Path) -> None:
    from stylization.content import Stream, folder

    ramp = np.linspace(0, 255, 96, dtype=np.uint8)
    for name, scale in (("photos", 2), ("stylized", 1)):
        (tmp_path / name).mkdir()
        pixels = np.stack([*np.meshgrid(ramp, ramp), np.zeros((96, 96))], axis=-1).astype(np.uint8)
        picture = Image.fromarray(pixels).resize((96 * scale, 96 * scale), Image.Resampling.BICUBIC)
        picture.save(tmp_path / name / "one.png")
    stream = Stream(folder(tmp_path / "photos"), 32, seed=0, targets=folder(tmp_path / "stylized"))
    for n in range(8):
        pixels = stream[n].pixels.float()
        assert pixels.shape == (6, 32, 32)
        assert (pixels[:3] - pixels[3:]).abs().mean() < 4
