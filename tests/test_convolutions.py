"""Convolutions that are computed in ways of our own give what PyTorch's give, and so do their gradients."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from stylization.generators.blocks import convolved
from stylization.loss_networks.vgg import Convolution
from stylization.winograd import suits, winograd


def gradients(convolve: Callable[..., Tensor], *inputs: Tensor) -> list[Tensor]:
    y = convolve(*inputs)
    (y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum().backward()
    found = [y.detach(), *(x.grad for x in inputs if x.grad is not None)]
    for x in inputs:
        x.grad = None
    return found


def given(num_channels: int, h: int, w: int, kernel_px: int, memory_format: torch.memory_format) -> tuple[Tensor, ...]:
    torch.manual_seed(0)
    x = torch.randn(2, num_channels, h, w).contiguous(memory_format=memory_format).requires_grad_()
    weight = torch.randn(num_channels + 2, num_channels, kernel_px, kernel_px).contiguous(memory_format=memory_format)
    return x, weight.requires_grad_(), torch.randn(num_channels + 2, requires_grad=True)


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize(("h", "w", "kernel_px"), [(9, 12, 3), (7, 5, 2), (3, 3, 3), (8, 4, 1)])
def test_the_gradient_of_a_small_kernel(h: int, w: int, kernel_px: int, memory_format: torch.memory_format) -> None:
    x, weight, bias = given(6, h, w, kernel_px, memory_format)
    for ours, theirs in zip(gradients(convolved, x, weight, bias), gradients(F.conv2d, x, weight, bias), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize(("h", "w"), [(6, 6), (10, 14), (9, 12), (3, 3), (7, 32)])
def test_winograd_s_convolution_and_its_gradients(h: int, w: int, memory_format: torch.memory_format) -> None:
    x, weight, _ = given(8, h, w, 3, memory_format)
    for ours, theirs in zip(gradients(winograd, x, weight), gradients(F.conv2d, x, weight), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_its_error_is_what_it_is_said_to_be() -> None:
    x, weight, _ = given(256, 34, 34, 3, torch.channels_last)
    exact = F.conv2d(x.double(), weight.double())
    assert (winograd(x, weight) - exact).norm() / exact.norm() < 4e-6


def test_it_serves_where_it_is_faster_and_nowhere_else() -> None:
    x, weight, bias = given(64, 34, 34, 3, torch.channels_last)
    assert suits(x, weight) and not suits(x, weight, stride=2)
    assert not suits(x, weight.detach()), "of a loss network it is the direct convolution that is faster"
    assert not suits(x[..., :8], weight) and not suits(x.bfloat16(), weight.bfloat16())
    with torch.no_grad():  # a picture is the same by tiles as whole
        assert torch.equal(convolved(x, weight, bias), F.conv2d(x, weight, bias))
    with torch.autocast("cpu", torch.bfloat16):
        assert convolved(x, weight, bias).dtype == torch.bfloat16


def test_a_loss_network_s_convolution_with_its_margin() -> None:
    torch.manual_seed(0)
    ours = Convolution(128, 128).requires_grad_(False)
    x = torch.randn(2, 128, 24, 25).contiguous(memory_format=torch.channels_last).requires_grad_()
    assert suits(x, ours.weight)
    plain = gradients(lambda x: F.conv2d(x, ours.weight, ours.bias, padding=1), x)
    for mine, theirs in zip(gradients(ours, x), plain, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)
