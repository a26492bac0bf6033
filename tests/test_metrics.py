"""Each meter rises when its artifact is planted, and stays put when another is."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from stylization import metrics


@pytest.fixture(scope="module")
def photographs() -> Tensor:
    """Four pictures (4, 3, 96, 128) of several scales, like photographs' spectra."""
    random = torch.Generator().manual_seed(0)
    total = torch.full((4, 3, 96, 128), 0.5)
    for size in (3, 6, 12, 24, 48):
        noise = torch.randn(4, 3, size, size * 4 // 3, generator=random)
        total += 0.25 / size**0.5 * functional.interpolate(noise, (96, 128), mode="bicubic")
    return total.clamp(0.05, 0.95)


def framed(x: Tensor) -> Tensor:
    y = x.clone()
    inside = x[..., 8:-8, 8:-8].clone()
    y[:] = 0.1
    y[..., 8:-8, 8:-8] = inside
    return y


def chequered(x: Tensor, period: int = 2) -> Tensor:
    rows, columns = torch.arange(x.shape[2])[:, None], torch.arange(x.shape[3])
    return x + 0.06 * ((rows // (period // 2) + columns // (period // 2)) % 2 - 0.5)


def dotted(x: Tensor) -> Tensor:
    rows, columns = torch.arange(x.shape[2])[:, None], torch.arange(x.shape[3])
    y = x.clone()
    for row, column in ((30, 40), (60, 90), (45, 70)):
        disc = (rows - row) ** 2 + (columns - column) ** 2 <= 16
        y[..., disc] = 1.0
    return y.clamp(0, 0.99)


def clipped(x: Tensor) -> Tensor:
    return (0.5 + 3 * (x - 0.5)).clamp(0, 1)


PLANTED: dict[str, Callable[[Tensor], Tensor]] = {
    "border": framed,
    "checkerboard": chequered,
    "blobs": dotted,
    "clipping": clipped,
}
# How far a meter may move for another's artifact, as a share of how far it moves for its own. Stretched contrast
# stretches the difference between border and interior too; dots at white are clipped pixels, if few.
MOVED = 0.35


@pytest.mark.parametrize("name", PLANTED)
def test_meter_rises_for_its_artifact_and_stays_for_the_others(name: str, photographs: Tensor) -> None:
    score = metrics.OF_PICTURES[name]
    clean = score(photographs, photographs)
    own = (score(PLANTED[name](photographs), photographs) - clean).mean()
    assert own > 0 and (score(PLANTED[name](photographs), photographs) > clean).all()
    for other, plant in PLANTED.items():
        if other != name:
            moved = (score(plant(photographs), photographs) - clean).mean().abs()
            assert moved <= MOVED * own, (name, other, moved, own)


def test_checkerboards_of_both_periods_are_seen_and_of_none_other(photographs: Tensor) -> None:
    seen = {period: metrics.checkerboard(chequered(photographs, period), photographs).mean() for period in (2, 4, 6)}
    none = metrics.checkerboard(photographs, photographs).mean()
    assert min(seen[2], seen[4]) > 10 * max(none, seen[6])


def test_similarity_falls_with_change(photographs: Tensor) -> None:
    assert torch.allclose(metrics.ssim(photographs, photographs), torch.ones(4), atol=1e-4)
    assert metrics.ssim(clipped(photographs), photographs).max() < 0.9


def test_generator_meters_tell_what_a_generator_ignores(photographs: Tensor) -> None:
    def contrast_blind(x: Tensor) -> Tensor:
        var, mean = torch.var_mean(x, dim=(2, 3), keepdim=True)
        return (x - mean) / var.sqrt()

    def smooth(x: Tensor) -> Tensor:
        return functional.avg_pool2d(x, 5, stride=1, padding=2)

    def strided(x: Tensor) -> Tensor:
        return functional.interpolate(x[..., ::4, ::4], scale_factor=4, mode="nearest")

    def same(x: Tensor) -> Tensor:
        return x

    assert metrics.contrast_sensitivity(contrast_blind, photographs).max() < 1e-3
    assert metrics.contrast_sensitivity(same, photographs).min() > 0.02
    assert metrics.shift_sensitivity(same, photographs).max() < 1e-6
    assert metrics.shift_sensitivity(strided, photographs).min() > 0.01
    assert metrics.flicker(same, photographs).mean() == pytest.approx(1, rel=0.05)
    assert metrics.flicker(smooth, photographs).max() < 0.5


def test_meter_is_the_mean_over_all_images_it_was_shown(photographs: Tensor) -> None:
    meter = metrics.Meter(metrics.clipping)
    planted = clipped(photographs)
    meter.update(planted[:1], photographs[:1])
    meter.update(planted[1:], photographs[1:])
    assert meter.compute() == pytest.approx(metrics.clipping(planted, photographs).mean().item())
