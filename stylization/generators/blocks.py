"""What both generators are made of."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stylization.errors import InputError

MakeNorm = Callable[[int], nn.Module]
Padding = Literal["zero", "reflect", "replicate", "circular"]
_TORCH_NAME: dict[str, Literal["zeros", "reflect", "replicate", "circular"]] = {
    "zero": "zeros",
    "reflect": "reflect",
    "replicate": "replicate",
    "circular": "circular",
}


def convolution(in_channels: int, out_channels: int, kernel_px: int, padding: str, stride: int = 1) -> nn.Conv2d:
    """A convolution whose output is as large as its input, or ceil(size / stride); `padding` fills the border."""
    if padding not in _TORCH_NAME:
        raise InputError(f"generator.padding={padding}: choose one of {', '.join(_TORCH_NAME)}")
    return nn.Conv2d(
        in_channels, out_channels, kernel_px, stride, padding=kernel_px // 2, padding_mode=_TORCH_NAME[padding]
    )


def enlarge(images: Tensor, multiple: int, least_px: int) -> Tensor:
    """Repeat the last row and column until both sides are multiples of `multiple`, and `least_px` at least."""
    h, w = images.shape[-2:]
    new_h, new_w = (max(-(-side // multiple) * multiple, least_px) for side in (h, w))
    if (new_h, new_w) == (h, w):
        return images
    return F.pad(images, (0, new_w - w, 0, new_h - h), mode="replicate")


def to_unit_range(x: Tensor) -> Tensor:
    """Johnson et al. 2016's scaled tanh, to [0, 1] where theirs goes to [0, 255]."""
    return 0.5 + 0.5 * torch.tanh(x)
