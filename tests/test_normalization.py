"""The paper's equations, the statistics axis, and the thesis: instance norm does not see an image's contrast."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from stylization.errors import InputError
from stylization.normalization import Norm, freeze_statistics, set_statistics, smooth_statistics


def features(b: int = 3, c: int = 8, h: int = 7, w: int = 5, seed: int = 0) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return 2.0 * torch.randn(b, c, h, w, generator=random) + torch.randn(b, c, 1, 1, generator=random)


def batch_norm(channels: int = 8) -> Norm:
    return Norm(channels, train_statistics="batch", statistics="running")


def test_instance_norm_is_equation_3() -> None:
    x = features()
    mean = x.mean(dim=(2, 3), keepdim=True)
    var = x.var(dim=(2, 3), keepdim=True, correction=0)
    torch.testing.assert_close(Norm(8)(x), (x - mean) / torch.sqrt(var + 1e-5))


def test_batch_norm_in_training_is_equation_2() -> None:
    x = features()
    mean = x.mean(dim=(0, 2, 3), keepdim=True)
    var = x.var(dim=(0, 2, 3), keepdim=True, correction=0)
    torch.testing.assert_close(batch_norm().train()(x), (x - mean) / torch.sqrt(var + 1e-5))


@pytest.mark.parametrize(("per_group", "groups"), [("all", 1), (4, 2), (1, 8)])
def test_layer_and_group_norm_are_pytorchs(per_group: object, groups: int) -> None:
    x = features()
    torch.testing.assert_close(
        Norm(8, channels_per_group=per_group)(x),  # type: ignore[arg-type]
        nn.functional.group_norm(x, groups),
    )


@given(
    scale=st.floats(0.1, 10.0),
    shift=st.floats(-5.0, 5.0),
    per_group=st.sampled_from([1, 4, "all"]),
    seed=st.integers(0, 1000),
)
def test_per_image_norms_do_not_see_contrast(scale: float, shift: float, per_group: object, seed: int) -> None:
    x = features(seed=seed)
    norm = Norm(8, channels_per_group=per_group, eps=1e-12)  # type: ignore[arg-type]
    torch.testing.assert_close(norm(scale * x + shift), norm(x), atol=2e-3, rtol=1e-3)


def test_batch_norm_sees_contrast() -> None:
    x = features()
    norm = batch_norm()
    for _ in range(100):
        norm.train()(x)
    norm.eval()
    assert (norm(0.5 * x) - norm(x)).abs().mean() > 0.2


def test_instance_norm_of_one_image_ignores_the_others_and_batch_norm_does_not() -> None:
    x = features()
    assert torch.equal(Norm(8)(x)[:1], Norm(8)(x[:1]))
    assert not torch.allclose(batch_norm().train()(x)[:1], batch_norm().train()(x[:1]), atol=0.1)


def test_instance_norm_in_train_and_eval_mode_agree_bit_for_bit() -> None:
    norm = Norm(8, gamma="uniform")
    x = features()
    assert torch.equal(norm.train()(x), norm.eval()(x))


def test_batch_statistics_of_one_image_are_its_instance_statistics() -> None:
    # D. Ulyanov, texture_nets #35: "batch norm in training mode and batch_size = 1 is instance norm".
    x = features(b=1)
    torch.testing.assert_close(batch_norm().train()(x), Norm(8)(x))


@pytest.mark.parametrize("per_group", [1, 4, "all"])
def test_running_averages_approach_what_training_saw(per_group: object) -> None:
    norm = Norm(8, channels_per_group=per_group, train_statistics="batch")  # type: ignore[arg-type]
    x = features()
    for _ in range(200):
        norm.train()(x)
    mean, var = norm.moments(x)
    torch.testing.assert_close(norm.running_mean, mean, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(norm.running_var, var, atol=1e-4, rtol=1e-3)


def test_instance_norm_too_gathers_running_averages() -> None:
    norm = Norm(8)
    x = features()
    for _ in range(200):
        norm.train()(x)
    torch.testing.assert_close(norm.running_mean, x.mean(dim=(0, 2, 3)), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(norm.running_var, x.var(dim=(2, 3), correction=0).mean(0), atol=1e-4, rtol=1e-3)


def test_running_variance_is_without_eps() -> None:
    norm = Norm(8, eps=0.1)
    x = 0.1 * features()
    for _ in range(200):
        norm.train()(x)
    torch.testing.assert_close(norm.running_var, x.var(dim=(2, 3), correction=0).mean(0), atol=1e-4, rtol=1e-2)


def test_statistics_change_without_touching_the_weights() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), Norm(8), nn.ReLU(), nn.Conv2d(8, 3, 3), batch_norm(3))
    for n in range(20):
        network.train()(features(c=3, seed=n))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    x = features(c=3)
    outputs = []
    for statistics in ("instance", "batch", "running"):
        set_statistics(network, statistics)  # type: ignore[arg-type]
        outputs.append(network.eval()(x))
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert (outputs[0] - outputs[1]).abs().mean() > 0.05
    assert (outputs[1] - outputs[2]).abs().mean() > 0.05


def test_frozen_at_an_image_the_network_treats_that_image_the_same_and_others_alike() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 1), Norm(8), nn.ReLU(), nn.Conv2d(8, 4, 1), Norm(4)).eval()
    x = features(b=1, c=3)
    whole = network(x)
    freeze_statistics(network, x)
    torch.testing.assert_close(network(x), whole, atol=1e-5, rtol=1e-4)
    tile = x[..., :3, :4]  # a part of the picture now has the whole's statistics: no seam
    torch.testing.assert_close(network(tile), whole[..., :3, :4], atol=1e-5, rtol=1e-4)


def test_frozen_without_statistics_says_how_to_get_them() -> None:
    norm = Norm(8).eval()
    set_statistics(norm, "frozen")
    with pytest.raises(InputError, match="freeze_statistics"):
        norm(features())
    with pytest.raises(InputError, match="instance, batch, running"):
        Norm(8, statistics="frozen")  # type: ignore[arg-type]


def smoothing(smooth: float, channels: int = 3) -> nn.Module:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(channels, 8, 1), Norm(8), nn.ReLU(), nn.Conv2d(8, 4, 1), Norm(4)).eval()
    smooth_statistics(network, smooth)
    return network


@pytest.mark.parametrize("per_group", [1, 4, "all"])
def test_smoothed_statistics_are_an_exponential_moving_average(per_group: object) -> None:
    norm = Norm(8, channels_per_group=per_group).eval()  # type: ignore[arg-type]
    smooth_statistics(norm, 0.75)
    x = features(b=4)
    mean, var = norm.moments(x[:1])
    y = norm(x)
    for frame, answer in zip(x, y, strict=True):
        own_mean, own_var = norm.moments(frame[None])
        mean, var = 0.75 * mean + 0.25 * own_mean, 0.75 * var + 0.25 * own_var
        repeat = 8 // len(mean)
        shift, scale = (v.repeat_interleave(repeat)[:, None, None] for v in (mean, var))
        torch.testing.assert_close(answer, (frame - shift) / torch.sqrt(scale + 1e-5))


def test_smoothing_does_not_see_where_batches_end_nor_what_comes_later() -> None:
    x = features(b=7, c=3)
    whole = smoothing(0.8)(x)
    network = smoothing(0.8)
    parts = torch.cat([network(part) for part in x.split((1, 3, 2, 1))])
    torch.testing.assert_close(parts, whole)
    torch.testing.assert_close(smoothing(0.8)(x[:4]), whole[:4])
    smooth_statistics(network, 0.8)  # begins anew
    torch.testing.assert_close(network(x), whole)


def test_smoothing_goes_from_instance_statistics_to_those_of_the_first_frame() -> None:
    x = features(b=3, c=3)
    plain, first = smoothing(0.0), smoothing(0.0)
    set_statistics(plain, "instance")
    torch.testing.assert_close(smoothing(0.0)(x), plain(x))
    freeze_statistics(first, x[:1])
    torch.testing.assert_close(smoothing(1.0)(x), first(x))
    assert (smoothing(0.5)(x) - plain(x)).abs().mean() > 0.01


def test_what_cannot_be_smoothed_is_told() -> None:
    with pytest.raises(InputError, match="nothing to smooth"):
        smooth_statistics(batch_norm(), 0.5)
    with pytest.raises(InputError, match=r"smooth=1\.5"):
        smooth_statistics(Norm(8), 1.5)


def test_norm_and_gradient_are_finite_on_a_single_pixel_and_on_a_constant() -> None:
    for x in (torch.randn(2, 8, 1, 1), torch.full((2, 8, 4, 4), 3.0)):
        x.requires_grad_(True)
        Norm(8)(x).square().sum().backward()
        assert x.grad is not None and torch.isfinite(x.grad).all()


def test_norm_computes_in_float32_under_autocast() -> None:
    x = (10.0 + features()).bfloat16()
    for norm in (Norm(8), batch_norm().train(), batch_norm().eval()):
        exact = norm(x.float()).bfloat16()
        with torch.autocast("cpu", torch.bfloat16):
            y = norm(x)
        assert y.dtype == torch.bfloat16
        torch.testing.assert_close(y, exact, atol=0, rtol=0)


@pytest.mark.parametrize("statistics", ["instance", "batch", "running"])
@pytest.mark.parametrize("channels_per_group", [1, 4])
def test_a_norm_in_half_precision_still_computes_in_float32(statistics: str, channels_per_group: int) -> None:
    norm = Norm(8, statistics=statistics, channels_per_group=channels_per_group)  # type: ignore[arg-type]
    x = features().bfloat16()
    expected = norm.eval()(x.float())
    norm = norm.bfloat16()
    y = norm(x)
    assert y.dtype == torch.bfloat16 and torch.equal(y, expected.bfloat16())
    norm.train()(x.requires_grad_()).square().sum().backward()
    assert x.grad is not None and norm.gamma is not None and norm.gamma.grad is not None


def test_uniform_gamma_leaves_the_convolutions_draws_alone() -> None:
    torch.manual_seed(0)
    Norm(8, gamma="uniform")
    after_uniform = torch.rand(4)
    torch.manual_seed(0)
    Norm(8, gamma="ones")
    assert torch.equal(torch.rand(4), after_uniform)
    assert 0.0 <= Norm(64, gamma="uniform").gamma.min() < Norm(64, gamma="uniform").gamma.max() < 1.0  # type: ignore[union-attr]


@pytest.mark.parametrize("options", [{"gamma": "zeros"}, {"statistics": "runing"}, {"channels_per_group": 3}])
def test_wrong_options_are_named(options: dict[str, object]) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        Norm(8, **options)  # type: ignore[arg-type]


def _synchronized_worker(rank: int, address: str, results: dict[int, tuple[Tensor, Tensor]]) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    x = features(b=4)[2 * rank : 2 * rank + 2].requires_grad_(True)
    norm = Norm(8, train_statistics="batch", synchronized=True).train()
    y = norm(x)
    (y**3).sum().backward()
    assert x.grad is not None
    results[rank] = (y.detach(), x.grad)
    torch.distributed.destroy_process_group()


def test_synchronized_batch_norm_on_two_ranks_is_batch_norm_of_the_whole_batch(tmp_path: object) -> None:
    x = features(b=4).requires_grad_(True)
    y = Norm(8, train_statistics="batch").train()(x)
    (y**3).sum().backward()
    with torch.multiprocessing.Manager() as manager:
        results = manager.dict()
        torch.multiprocessing.spawn(_synchronized_worker, (f"file://{tmp_path}/rendezvous", results), nprocs=2)
        outputs, gradients = zip(*(results[rank] for rank in range(2)), strict=True)
    assert x.grad is not None
    torch.testing.assert_close(torch.cat(outputs), y.detach(), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(torch.cat(gradients), x.grad, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("channels_per_group", [1, 2, "all"])
@pytest.mark.parametrize("affine", [True, False])
def test_gradients_are_the_same_in_both_layouts(channels_per_group: int | str, affine: bool) -> None:
    norm = Norm(6, channels_per_group=channels_per_group, affine=affine)  # type: ignore[arg-type]
    for parameter in norm.parameters():
        parameter.data += 0.5 * torch.rand_like(parameter)
    x, slopes = 3 + torch.randn(2, 6, 5, 7), torch.randn(2, 6, 5, 7)
    found = []
    for layout in (torch.contiguous_format, torch.channels_last):
        images = x.clone(memory_format=layout).requires_grad_()
        y = norm(images)
        assert y.is_contiguous(memory_format=layout)
        found.append((y, *torch.autograd.grad((y * slopes).sum(), [images, *norm.parameters()])))
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5)
