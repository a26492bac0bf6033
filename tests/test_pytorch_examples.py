"""Networks of pytorch/examples' fast_neural_style give the same pictures as our generators with their weights."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from stylization import pytorch_examples, tiles
from stylization.errors import InputError


def weights(width: int = 8, num_blocks: int = 5) -> dict[str, Tensor]:
    """A random state dict with the names and shapes of the published network."""
    random = torch.Generator().manual_seed(width)
    convolutions = {"conv1": (3, width, 9), "conv2": (width, 2 * width, 3), "conv3": (2 * width, 4 * width, 3)}
    for block in range(1, num_blocks + 1):
        convolutions |= {f"res{block}.conv{k}": (4 * width, 4 * width, 3) for k in (1, 2)}
    convolutions |= {"deconv1": (4 * width, 2 * width, 3), "deconv2": (2 * width, width, 3), "deconv3": (width, 3, 9)}
    state = {}
    for name, (num_in, num_out, size) in convolutions.items():
        scale = 255 if name == "deconv3" else 1
        draw = torch.randn(num_out, num_in, size, size, generator=random)
        state[f"{name}.conv2d.weight"] = 0.5 * scale * draw / (num_in * size * size) ** 0.5
        state[f"{name}.conv2d.bias"] = 0.1 * scale * torch.randn(num_out, generator=random) + (scale > 1) * 127.0
        norm = {"deconv1": "in4", "deconv2": "in5"}.get(name, name.replace("conv", "in"))
        if name != "deconv3":
            state[f"{norm}.weight"] = 1 + 0.2 * torch.randn(num_out, generator=random)
            state[f"{norm}.bias"] = 0.2 * torch.randn(num_out, generator=random)
    return state


def painted(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """The published forward pass, [0, 255] to [0, 255]."""

    def convolution(x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = state[f"{name}.conv2d.weight"]
        padded = F.pad(x, [weight.shape[2] // 2] * 4, mode="reflect")
        return F.conv2d(padded, weight, state[f"{name}.conv2d.bias"], stride)

    def norm(x: Tensor, name: str) -> Tensor:
        return F.instance_norm(x, weight=state[f"{name}.weight"], bias=state[f"{name}.bias"])

    for k, stride in ((1, 1), (2, 2), (3, 2)):
        x = norm(convolution(x, f"conv{k}", stride), f"in{k}").relu()
    for block in range(1, 6):
        y = norm(convolution(x, f"res{block}.conv1"), f"res{block}.in1").relu()
        x = x + norm(convolution(y, f"res{block}.conv2"), f"res{block}.in2")
    for k in (1, 2):
        x = norm(convolution(F.interpolate(x, scale_factor=2), f"deconv{k}"), f"in{3 + k}").relu()
    return convolution(x, "deconv3")


@pytest.mark.parametrize("width", [8, 16, 32])
def test_converted_weights_give_the_same_picture(width: int) -> None:
    x = torch.rand(2, 3, 48, 64, generator=torch.Generator().manual_seed(0))
    state = weights(width)
    with torch.no_grad():
        expected = (painted(state, 255 * x) / 255).clamp(0, 1)
        assert expected.std() > 0.05
        torch.testing.assert_close(pytorch_examples.converted(state)(x), expected, rtol=0, atol=1e-4)


def test_old_files_carry_statistics_that_are_not_used(tmp_path: Path) -> None:
    state = weights()
    old = state | {"in1.running_mean": torch.ones(8), "res2.in1.running_var": torch.ones(32)}
    torch.save(old, tmp_path / "old.model")
    x = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(pytorch_examples.read(tmp_path / "old.model")(x), pytorch_examples.converted(state)(x))


def test_a_converted_generator_is_painted_by_tiles() -> None:
    generator = pytorch_examples.converted(weights())
    assert {node.name for node in tiles.graph.Graph(generator, (64, 64)).nodes} >= {"clamp"}


@pytest.mark.parametrize("spoilt", ["missing", "foreign", "shape", "empty"])
def test_weights_of_another_network_are_rejected(spoilt: str) -> None:
    state = weights()
    if spoilt == "missing":
        del state["in3.bias"]
    elif spoilt == "foreign":
        state["extra.weight"] = torch.zeros(1)
    elif spoilt == "shape":
        state["conv3.conv2d.weight"] = torch.zeros(5, 5, 3, 3)
    else:
        state = {}
    with pytest.raises(InputError, match="fast_neural_style"):
        pytorch_examples.converted(state, "peer.pth")
