"""Sizes in, sizes out; the papers' parameter counts; the same convolutions whatever the norm."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from stylization.errors import InputError
from stylization.generators import Johnson, Pyramid
from stylization.generators.blocks import convolution
from stylization.generators.johnson import Enlarged, Fourfold
from stylization.normalization import Norm
from stylization.training import parameter_count

NORMS = {
    "instance": Norm,
    "batch": partial(Norm, train_statistics="batch", statistics="running"),
    "layer": partial(Norm, channels_per_group="all"),
    "none": nn.Identity,
}


@settings(max_examples=25)
@given(h=st.integers(16, 75), w=st.integers(16, 75), data=st.data())
def test_output_has_the_input_s_size_and_the_unit_range(h: int, w: int, data: st.DataObject) -> None:
    padding = data.draw(st.sampled_from(["zero", "reflect", "replicate", "circular"]))
    upsampling = data.draw(st.sampled_from(["nearest", "transposed"]))
    generator = data.draw(
        st.sampled_from(
            [
                lambda: Johnson(Norm, 2, 1, padding=padding, upsampling=upsampling),
                lambda: Pyramid(Norm, width=2, padding=padding),
            ]
        )
    )()
    images = torch.rand(1, 3, h, w)
    for mode in (True, False):
        output = generator.train(mode)(images)
        assert output.shape == images.shape
        assert 0.0 <= output.min() and output.max() <= 1.0


def test_johnson_has_the_parameters_of_the_published_network() -> None:
    # Johnson et al. 2016, supplement, table 1, with biases and affine norms: 1,679,235, which is also what
    # pytorch/examples' TransformerNet counts.
    for upsampling in ("nearest", "transposed"):
        assert parameter_count(Johnson(Norm, upsampling=upsampling)) == 1_679_235


def test_pyramid_has_the_parameters_of_the_authors_network() -> None:
    # texture_nets, models/pyramid.lua: conv(6, 8, 3) conv(8, 8, 3) conv(8, 8, 1) at each of six scales, a norm before
    # each join, conv(8i, 8i, 3) twice and conv(8i, 8i, 1) after the i-th, conv(48, 3, 1) at the end.
    def convolution(i: int, o: int, k: int) -> int:
        return i * o * k * k + o

    norm = 2  # gamma and beta, per channel
    scales = 6 * (convolution(6, 8, 3) + convolution(8, 8, 3) + convolution(8, 8, 1) + 3 * 8 * norm)
    joined = sum(
        2 * convolution(8 * i, 8 * i, 3) + convolution(8 * i, 8 * i, 1) + (3 * 8 * i + 8 * (i - 1) + 8) * norm
        for i in range(2, 7)
    )
    assert parameter_count(Pyramid(Norm)) == scales + joined + convolution(48, 3, 1)


@pytest.mark.parametrize("generator", [Johnson, Pyramid])
def test_convolutions_start_the_same_whatever_the_norm(generator: type[nn.Module]) -> None:
    weights = {}
    for name, norm in NORMS.items():
        torch.manual_seed(3)
        network = generator(partial(norm, gamma="uniform") if name == "instance" else norm)
        weights[name] = [m.weight for m in network.modules() if isinstance(m, nn.Conv2d)]
    for name in NORMS:
        assert all(torch.equal(a, b) for a, b in zip(weights["instance"], weights[name], strict=True))


@pytest.mark.parametrize("generator", [Johnson, Pyramid])
def test_in_eval_mode_an_image_always_gives_the_same_output(generator: type[nn.Module]) -> None:
    network = generator(Norm).eval()
    images = torch.rand(1, 3, 20, 33)
    kept = images.clone()
    assert torch.equal(network(images), network(images))
    assert torch.equal(images, kept)


@pytest.mark.parametrize("generator", [Johnson, Pyramid])
def test_in_eval_mode_an_image_does_not_see_its_neighbours(generator: type[nn.Module]) -> None:
    network = generator(Norm).eval()
    images = torch.rand(3, 3, 20, 33)
    torch.testing.assert_close(network(images)[2:], network(images[2:]), atol=1e-5, rtol=1e-4)


def test_pyramid_sees_its_noise() -> None:
    network = Pyramid(Norm).train()
    images = torch.rand(1, 3, 64, 64)
    assert not torch.equal(network(images), network(images))


def test_wrong_options_are_named() -> None:
    with pytest.raises(InputError, match="padding"):
        Johnson(Norm, padding="mirror")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="upsampling"):
        Johnson(Norm, upsampling="bilinear")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("padding", "mode"),
    [("zero", "zeros"), ("reflect", "reflect"), ("replicate", "replicate"), ("circular", "circular")],
)
def test_enlarged_is_nearest_upsampling_and_a_convolution(padding: str, mode: str) -> None:
    enlarged = Enlarged(6, 5, padding)
    plain = nn.Conv2d(6, 5, 3, padding=1, padding_mode=mode)  # type: ignore[arg-type]
    plain.load_state_dict(enlarged.state_dict())
    x = torch.randn(2, 6, 7, 9)
    expected = plain(nn.functional.interpolate(x, scale_factor=2, mode="nearest"))
    assert torch.allclose(enlarged(x), expected, atol=1e-5)
    gradients = [
        torch.autograd.grad(y.square().sum(), m.weight)[0] for y, m in ((enlarged(x), enlarged), (expected, plain))
    ]
    assert torch.allclose(gradients[0], gradients[1], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("padding", ["zero", "reflect", "replicate", "circular"])
def test_fourfold_is_a_convolution(padding: str) -> None:
    fourfold, plain = convolution(6, 3, 9, padding, kind=Fourfold), convolution(6, 3, 9, padding)
    plain.load_state_dict(fourfold.state_dict())
    x = torch.randn(2, 6, 10, 14)
    assert torch.allclose(fourfold(x), plain(x), atol=1e-5)
    gradients = [torch.autograd.grad(m(x).square().sum(), m.weight)[0] for m in (fourfold, plain)]
    assert torch.allclose(*gradients, rtol=1e-4, atol=1e-3)
