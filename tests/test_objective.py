"""Every unit against its formula, written out; and what the relative units promise."""

import pytest
import torch
from torch import Tensor

from stylization.errors import InputError
from stylization.loss_networks.vgg import VGG
from stylization.objective import UNITS, Objective, gram_matrix, mean_variation, summed_variation

WEIGHTS = {"content": 1.0, "style": 10.0, "tv": 0.5}


def objective(network: VGG, style: Tensor, units: str = "relative") -> Objective:
    return Objective(network, style, ["relu1_2"], ["relu1_1", "relu2_1"], WEIGHTS, units)


def direct(network: VGG, style: Tensor, x: Tensor, content: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Features of the stylization beside those of its target, computed the long way."""
    pairs = {}
    for layer, target in (("relu1_2", content), ("relu1_1", style), ("relu2_1", style)):
        pairs[layer] = (network(x, [layer])[layer], network(target, [layer])[layer])
    return pairs


def test_gram_matrix_is_the_mean_outer_product() -> None:
    features = torch.randn(2, 3, 4, 5)
    expected = torch.zeros(2, 3, 3)
    for b in range(2):
        for row in range(4):
            for column in range(5):
                pixel = features[b, :, row, column]
                expected[b] += torch.outer(pixel, pixel) / 20
    torch.testing.assert_close(gram_matrix(features), expected)


def test_gram_matrix_is_float32_even_of_half_precision_under_autocast() -> None:
    features = torch.full((1, 2, 64, 64), 300.0, dtype=torch.float16)  # 300^2 overflows float16
    with torch.autocast("cpu", torch.bfloat16):
        gram = gram_matrix(features)
    assert gram.dtype == torch.float32
    torch.testing.assert_close(gram, torch.full((1, 2, 2), 9e4))


def test_relative_units(tiny: VGG, photographs: Tensor) -> None:
    style, content = torch.rand(1, 3, 40, 40), photographs
    x = (photographs + 0.1 * torch.randn_like(photographs)).clamp(0, 1)
    terms = objective(tiny, style)(x, content)
    f = direct(tiny, style, x, content)

    content_term = sum(((a - b) ** 2).sum() / (b**2).sum() for a, b in zip(*f["relu1_2"], strict=True)) / 2
    style_term = torch.zeros(())
    for layer in ("relu1_1", "relu2_1"):
        target = gram_matrix(f[layer][1])[0]
        for gram in gram_matrix(f[layer][0]):
            style_term += ((gram - target) ** 2).sum() / (target**2).sum() / (2 * 2)  # images, layers
    tv = ((x[..., 1:, :] - x[..., :-1, :]) ** 2).mean() + ((x[..., 1:] - x[..., :-1]) ** 2).mean()
    torch.testing.assert_close(terms["content"], torch.as_tensor(content_term))
    torch.testing.assert_close(terms["style"], style_term)
    torch.testing.assert_close(terms["tv"], tv)


@pytest.mark.parametrize(
    ("units", "per_element"), [("johnson", False), ("texture_nets", True), ("pytorch_examples", True)]
)
def test_published_units(tiny: VGG, photographs: Tensor, units: str, per_element: bool) -> None:
    style, content = torch.rand(1, 3, 40, 40), photographs
    x = (photographs + 0.1 * torch.randn_like(photographs)).clamp(0, 1)
    terms = objective(tiny, style, units)(x, content)
    f = direct(tiny, style, x, content)

    b, c, h, w = f["relu1_2"][0].shape
    content_term = ((f["relu1_2"][0] - f["relu1_2"][1]) ** 2).sum() / (b * c * h * w)  # Johnson et al. 2016, eq. 2
    style_term = torch.zeros(())
    for layer in ("relu1_1", "relu2_1"):
        ours, target = f[layer]
        c, h, w = ours.shape[1:]
        target_gram = torch.einsum("bihw,bjhw->bij", target, target) / (c * target.shape[2] * target.shape[3])  # eq. 3
        gram = torch.einsum("bihw,bjhw->bij", ours, ours) / (c * h * w)
        distance = ((gram - target_gram) ** 2).sum() / b  # eq. 4
        style_term += distance / (c * c) if per_element else distance
    torch.testing.assert_close(terms["content"], content_term)
    torch.testing.assert_close(terms["style"], style_term)


def test_summed_variation_has_the_gradient_of_the_published_layers() -> None:
    # TotalVariation.lua adds x_diff + y_diff to a pixel and subtracts each from the neighbour it was taken to.
    x = torch.rand(1, 3, 5, 6, requires_grad=True)
    summed_variation(x).backward()
    y = 255.0 * x.detach()
    down, across = y[..., :-1, :-1] - y[..., 1:, :-1], y[..., :-1, :-1] - y[..., :-1, 1:]
    expected = torch.zeros_like(y)
    expected[..., :-1, :-1] += down + across
    expected[..., 1:, :-1] -= down
    expected[..., :-1, 1:] -= across
    assert x.grad is not None
    torch.testing.assert_close(x.grad / 255.0**2, expected / 255.0, atol=1e-6, rtol=1e-5)


def test_relative_terms_do_not_change_with_the_scale_of_the_features(tiny: VGG, photographs: Tensor) -> None:
    style = torch.rand(1, 3, 40, 40)
    x = photographs.flip(-1)
    before = objective(tiny, style)(x, photographs)
    read_out = tiny.read_out
    tiny.read_out = lambda layer, features: 57.6 * read_out(layer, features)  # type: ignore[method-assign]
    after = objective(tiny, style)(x, photographs)
    for term in ("content", "style"):
        torch.testing.assert_close(after[term], before[term])
    published = objective(tiny, style, "texture_nets")(x, photographs)
    tiny.read_out = read_out  # type: ignore[method-assign]
    unscaled = objective(tiny, style, "texture_nets")(x, photographs)
    torch.testing.assert_close(published["content"], 57.6**2 * unscaled["content"])
    torch.testing.assert_close(published["style"], 57.6**4 * unscaled["style"])


def test_style_term_does_not_depend_on_the_style_picture_s_size(tiny: VGG, photographs: Tensor) -> None:
    style = torch.rand(1, 3, 64, 64).repeat_interleave(4, -1).repeat_interleave(4, -2)
    tiled = style.repeat(1, 1, 2, 2)
    whole, doubled = objective(tiny, style)(photographs, photographs), objective(tiny, tiled)(photographs, photographs)
    torch.testing.assert_close(whole["style"], doubled["style"], rtol=0.05, atol=0)


def test_terms_vanish_at_their_targets(tiny: VGG, photographs: Tensor) -> None:
    for units in UNITS:
        one = photographs[:1]
        terms = objective(tiny, one, units)(one, one)
        assert terms["content"] == 0
        assert terms["style"] < 1e-10
    assert mean_variation(torch.full((1, 3, 8, 8), 0.3)) == 0


def test_gradient_reaches_the_stylization_and_nothing_is_written_into_it(tiny: VGG, photographs: Tensor) -> None:
    x = photographs.flip(-1).requires_grad_(True)
    kept = x.detach().clone()
    measured = objective(tiny, torch.rand(1, 3, 32, 32))
    measured.total(measured(x, photographs)).backward()
    assert x.grad is not None and x.grad.abs().sum() > 0
    assert torch.equal(x.detach(), kept)
    assert all(parameter.grad is None for parameter in tiny.parameters())


def test_total_is_the_weighted_sum_and_layers_may_weigh(tiny: VGG, photographs: Tensor) -> None:
    style = torch.rand(1, 3, 32, 32)
    terms = objective(tiny, style)(photographs, photographs.flip(-1))
    total = objective(tiny, style).total(terms)
    torch.testing.assert_close(total, terms["content"] + 10.0 * terms["style"] + 0.5 * terms["tv"])
    one = Objective(tiny, style, ["relu1_1"], ["relu1_1"], WEIGHTS)(photographs, photographs)["style"]
    weighted = Objective(tiny, style, ["relu1_1"], {"relu1_1": 3.0}, WEIGHTS)(photographs, photographs)["style"]
    torch.testing.assert_close(weighted, 3.0 * one)


def test_unknown_units_are_named(tiny: VGG, photographs: Tensor) -> None:
    with pytest.raises(InputError, match="relative"):
        objective(tiny, photographs[:1], "metres")
