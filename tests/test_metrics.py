"""Each meter rises when its artifact is planted, and stays put when another is."""

import math
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
    score = metrics.OF_PICTURES[name].score
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


@pytest.fixture(scope="module")
def scenes() -> Tensor:
    """Two photographs (2, 3, 192, 256): a sky above textured ground, and a dark tower with straight edges."""
    random = torch.Generator().manual_seed(1)
    ground = functional.interpolate(torch.randn(2, 3, 24, 64, generator=random), (72, 256), mode="bicubic")
    scene = torch.linspace(0.75, 0.6, 192)[:, None].expand(2, 3, 192, 256).clone()
    scene[:, :, 120:] = 0.45 + 0.1 * ground
    scene[:, :, 40:150, 150:215] = 0.2
    return (scene + 0.004 * torch.randn(scene.shape, generator=random)).clamp(0.05, 0.95)


def striped(x: Tensor, period_px: float, angle: float, amplitude: float = 0.04) -> Tensor:
    rows, columns = torch.arange(x.shape[2])[:, None], torch.arange(x.shape[3])
    phase = rows * math.sin(math.radians(angle)) + columns * math.cos(math.radians(angle))
    return x + amplitude * torch.cos(2 * math.pi * phase / period_px)


def noisy(x: Tensor, amplitude: float = 0.06) -> Tensor:
    return x + amplitude * torch.randn(x.shape[2:], generator=torch.Generator().manual_seed(2))


def stroked(x: Tensor, num: int = 14, color: float = 0.1) -> Tensor:
    """Straight bands 6 px wide at random places and angles."""
    random = torch.Generator().manual_seed(3)
    rows, columns = torch.arange(x.shape[2])[:, None], torch.arange(x.shape[3])
    y = x.clone()
    for row, column, angle in torch.rand(num, 3, generator=random).tolist():
        angle *= math.pi
        across = (rows - 192 * row) * math.cos(angle) - (columns - 256 * column) * math.sin(angle)
        y[..., across.abs() < 3] = color
    return y


def haloed(x: Tensor, amount: float = 0.5) -> Tensor:
    """Unsharp masking at a large radius."""
    smooth = x
    for _ in range(8):
        smooth = functional.avg_pool2d(functional.pad(smooth, (3, 3, 3, 3), mode="replicate"), 7, 1)
    return x + amount * (x - smooth)


@pytest.mark.parametrize("angle", [0, 30, 90, 135])
@pytest.mark.parametrize("period_px", [2, 3.3, 5, 8, 16, 30])
def test_grid_sees_every_period_and_direction_and_rises_with_amplitude(
    period_px: float, angle: float, scenes: Tensor
) -> None:
    found = [metrics.grid(striped(scenes, period_px, angle, a), scenes).min().item() for a in (0.02, 0.04, 0.08)]
    assert 0 < found[0] < found[1] < found[2]
    rms = 0.08 / 2**0.5 if (period_px, angle % 90) != (2, 0) else 0.08
    if (period_px, angle) != (2, 30) and (period_px, angle) != (2, 135):  # aliased, beyond one axis' Nyquist frequency
        assert found[2] == pytest.approx(rms, rel=0.35)


def test_noise_strokes_edges_and_content_texture_are_no_grid(scenes: Tensor) -> None:
    own = metrics.grid(striped(scenes, 5, 30), scenes).min()
    for other in (scenes, noisy(scenes), stroked(scenes), haloed(scenes), (1.6 * scenes - 0.3).clamp(0, 1)):
        assert metrics.grid(other, scenes).max() <= 0.1 * own


def test_texture_rises_with_dense_texture_only(scenes: Tensor) -> None:
    found = [metrics.texture(noisy(scenes, a), scenes).min() for a in (0.03, 0.06, 0.12)]
    assert 0 < found[0] < found[1] < found[2]
    for other in (scenes, stroked(scenes, num=5), haloed(scenes), striped(scenes, 30, 30)):
        assert metrics.texture(other, scenes).max() <= 0.3 * found[1]


def test_halo_rises_along_silhouettes_only(scenes: Tensor) -> None:
    found = [metrics.halo(haloed(scenes, a), scenes).min() for a in (0.25, 0.5, 1.0)]
    assert 0 < found[0] < found[1] < found[2]
    smooth = torch.linspace(0.2, 0.8, 256).expand_as(scenes)
    for other in (scenes, noisy(scenes), striped(scenes, 5, 30), smooth):
        assert metrics.halo(other, scenes).max() <= 0.3 * found[1]


def test_glow_on_both_sides_is_a_halo_and_a_dark_contour_is_none(scenes: Tensor) -> None:
    rows, columns = torch.arange(192)[:, None], torch.arange(256)
    outside = torch.maximum((rows - 94.5).abs() - 55, (columns - 182).abs() - 32.5)
    band = (outside.abs() < 8).float() * 0.1
    assert metrics.halo(scenes + band, scenes).min() > 0.05
    assert metrics.halo(scenes - band, scenes).max() < 0.02


def test_what_the_style_picture_has_itself_is_subtracted(scenes: Tensor) -> None:
    style = striped(torch.full((1, 3, 160, 192), 0.5), 5, 30)
    stylized = striped(scenes, 5, 30)
    assert metrics.grid(stylized, scenes, style).max() <= 0.15 * metrics.grid(stylized, scenes).min()
    assert metrics.grid(stylized, scenes, stroked(style[..., :1, :1].expand(1, 3, 192, 256))).min() > 0.02
    grainy = noisy(torch.full((1, 3, 160, 192), 0.5))
    assert metrics.texture(noisy(scenes), scenes, grainy).max() <= 0.3 * metrics.texture(noisy(scenes), scenes).min()


def test_photographs_without_flat_regions_or_silhouettes_contribute_nothing(scenes: Tensor) -> None:
    busy = (0.5 + 0.2 * torch.randn(1, 3, 48, 64, generator=torch.Generator().manual_seed(4))).clamp(0, 1)
    busy = functional.interpolate(busy, (192, 256), mode="bicubic")
    plain = torch.full((1, 3, 192, 256), 0.5)
    assert (
        metrics.grid(busy, busy).isnan() and metrics.texture(busy, busy).isnan() and metrics.halo(plain, plain).isnan()
    )
    collection = metrics.meters({name: metrics.OF_PICTURES[name] for name in ("grid", "halo")})
    collection.update(plain, plain)
    assert metrics.readings(collection) == {"grid": 0.0}
    stylized = striped(scenes, 5, 30)
    collection.update(torch.cat([busy, stylized]), torch.cat([busy, scenes]))
    found = metrics.readings(collection)
    assert set(found) == {"grid", "halo"}
    assert found["grid"] == pytest.approx(metrics.grid(stylized, scenes).sum().item() / 3)
