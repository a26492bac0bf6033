"""What both generators are made of."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.grad import conv2d_input

from stylization.errors import InputError
from stylization.winograd import single_on_cpu, suits, winograd

MakeNorm = Callable[[int], nn.Module]
Padding = Literal["zero", "reflect", "replicate", "circular"]
_TORCH_NAME: dict[str, Literal["zeros", "reflect", "replicate", "circular"]] = {
    "zero": "zeros",
    "reflect": "reflect",
    "replicate": "replicate",
    "circular": "circular",
}


class Generator(nn.Module):
    """Maps photographs (b, 3, h, w) in [0, 1] to stylizations of the same shape and range, for all h, w from 16 px."""

    multiple: int  # of this many pixels are the sides of what `paint` takes
    least_px: int  # and at least so long

    def forward(self, images: Tensor) -> Tensor:
        h, w = images.shape[-2:]
        new_h, new_w = self.enlarged((h, w))
        x = F.pad(images, (0, new_w - w, 0, new_h - h), mode="replicate") if (new_h, new_w) != (h, w) else images
        return self.paint(x)[..., :h, :w]

    def enlarged(self, size: tuple[int, int]) -> tuple[int, int]:
        """The size to which a picture's last row and column are repeated before it is painted."""
        h, w = (max(-(-side // self.multiple) * self.multiple, self.least_px) for side in size)
        return h, w

    def paint(self, x: Tensor) -> Tensor:
        """The stylization of photographs of such a size."""
        raise NotImplementedError


class Convolution(nn.Conv2d):
    """A convolution that pads as it is told and is computed by `convolved`."""

    def forward(self, x: Tensor) -> Tensor:
        return convolved(padded(x, self), self.weight, self.bias, self.stride[0])


def convolution(
    in_channels: int,
    out_channels: int,
    kernel_px: int,
    padding: str,
    stride: int = 1,
    kind: type[nn.Conv2d] = Convolution,
) -> nn.Conv2d:
    """A convolution whose output is as large as its input, or ceil(size / stride); `padding` fills the border."""
    if padding not in _TORCH_NAME:
        raise InputError(f"generator.padding={padding}: choose one of {', '.join(_TORCH_NAME)}")
    return kind(in_channels, out_channels, kernel_px, stride, padding=kernel_px // 2, padding_mode=_TORCH_NAME[padding])


def padded(x: Tensor, module: nn.Conv2d) -> Tensor:
    """x with the border that a convolution wants."""
    return F.pad(x, [int(module.padding[0])] * 4, mode=padding_mode(module))


def padding_mode(module: nn.Conv2d) -> str:
    """What `F.pad` calls it."""
    return {"zeros": "constant"}.get(module.padding_mode, module.padding_mode)


def convolved(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int = 1) -> Tensor:
    """`F.conv2d` without padding; where the weight learns on a CPU, by ways that are faster than PyTorch's
    (benchmarks/step.py)."""
    learns = torch.is_grad_enabled() and weight.requires_grad
    if learns and suits(x, weight, stride):
        y = winograd(x, weight)
        return y if bias is None else y + bias[:, None, None]
    if learns and single_on_cpu(x) and stride == 1 and weight.shape[2] <= 3:
        convolution: Tensor = _Convolved.apply(x, weight, bias)  # type: ignore[no-untyped-call]
        return convolution
    return F.conv2d(x, weight, bias, stride)


class _Convolved(torch.autograd.Function):
    """oneDNN's kernel for a weight's gradient is far slower than its others where the channels of a pixel lie together,
    and so are copies that lay them apart. There, all pixels of a batch are the rows of a matrix, and a neighbour is so
    many rows further down: the gradient is one product of two such matrices for each place of the kernel."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.conv2d(x, weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        dx = conv2d_input(x.shape, weight, dy) if ctx.needs_input_grad[0] else None
        h, w = weight.shape[2:]
        slopes = dy.permute(0, 2, 3, 1)
        dbias = slopes.sum((0, 1, 2)) if ctx.needs_input_grad[2] else None
        rows = x.permute(0, 2, 3, 1).flatten(0, 2)
        slopes = F.pad(slopes, (0, 0, 0, w - 1, 0, h - 1)).flatten(0, 2)  # zeros where a row wraps into the next
        dweight = x.new_empty((h, w, *weight.shape[:2]))
        for i in range(h):
            for j in range(w):
                ahead = i * x.shape[3] + j
                torch.mm(slopes[: len(slopes) - ahead].mT, rows[ahead:], out=dweight[i, j])
        return dx, dweight.permute(2, 3, 0, 1), dbias


def to_unit_range(x: Tensor) -> Tensor:
    """Johnson et al. 2016's scaled tanh, to [0, 1] where theirs goes to [0, 255]."""
    return 0.5 + 0.5 * torch.tanh(x)
