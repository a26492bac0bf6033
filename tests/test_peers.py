"""The comparison with pytorch/examples' generators, with a tiny random loss network."""

import sys
from pathlib import Path

import pytest
import torch

from stylization.errors import InputError
from stylization.loss_networks.vgg import VGG, VGG16_DEPTHS

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))

import peers


@pytest.fixture(scope="module")
def network() -> VGG:
    torch.manual_seed(0)
    return VGG(VGG16_DEPTHS, (4, 4, 8, 8, 8))


@pytest.fixture(scope="module")
def content() -> torch.Tensor:
    return torch.nn.functional.interpolate(torch.rand(2, 3, 6, 6), (64, 64), mode="bicubic").clamp(0, 1)


def test_a_photograph_that_is_its_own_style_costs_nothing(network: VGG, content: torch.Tensor) -> None:
    ours, theirs = peers.objectives(network, content[:1], 10.0)
    row = peers.judged(content[:1], content[:1], content[:1], ours, theirs)
    assert row["content"] == 0 and row["style"] == pytest.approx(0, abs=1e-6)
    assert row["their total"] == pytest.approx(0, abs=1e-3) and row["ssim"] == pytest.approx(1, abs=1e-4)
    noise = torch.rand_like(content)
    noisy = peers.judged(noise, content, content[:1], ours, theirs)
    terms = [noisy[name] for name in ("content", "style", "tv")]
    assert all(isinstance(term, float) and term > 0 for term in terms)
    assert noisy["total"] == pytest.approx(terms[0] + 10 * terms[1] + 0.1 * terms[2], rel=1e-4)


def test_the_curve_of_the_iterative_method_is_kept(network: VGG, content: torch.Tensor, tmp_path: Path) -> None:
    ours, _ = peers.objectives(network, content[:1], 10.0)
    first = peers.curve(content[1:], ours, 5, tmp_path)
    assert len(first) == 5 and first == sorted(first, reverse=True)
    kept = next(tmp_path.iterdir())
    kept.write_text("[3.0, 2.0]")
    assert peers.curve(content[1:], ours, 5, tmp_path) == [3.0, 2.0]
    other, _ = peers.objectives(network, content[:1], 3.0)
    assert len(peers.curve(content[1:], other, 5, tmp_path)) == 5


def test_equivalent_steps_are_the_first_with_as_low_a_total(network: VGG, content: torch.Tensor) -> None:
    ours, _ = peers.objectives(network, content[:1], 10.0)
    stylized = 0.5 * content
    totals = [peers.mean_terms(ours, x, y)["total"] for x, y in zip(stylized.split(1), content.split(1), strict=True)]
    curves = [[2 * total, 1.5 * total, total, 0.5 * total] for total in totals]
    assert peers.equivalent_steps(curves, stylized, content, ours) == "3"
    assert peers.equivalent_steps([curve[:2] for curve in curves], stylized, content, ours) == "> 2"


def test_photographs_held_out_are_those_of_a_run(tmp_path: Path) -> None:
    from PIL import Image

    for number in range(5):
        Image.new("RGB", (80, 70), (40 * number, 0, 0)).save(tmp_path / f"{number}.png")
    found = peers.held_out(tmp_path, 2, 64)
    assert found.shape == (2, 3, 64, 64)


def test_nothing_to_compare_is_an_error() -> None:
    with pytest.raises(InputError, match="nothing to compare"):
        peers.contenders([], [], "mosaic")
    with pytest.raises(InputError, match="no weight file"):
        peers.contenders([Path("none.pth")], [], "mosaic")
