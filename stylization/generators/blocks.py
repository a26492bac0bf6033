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


def convolution(
    in_channels: int,
    out_channels: int,
    kernel_px: int,
    padding: str,
    stride: int = 1,
    kind: type[nn.Conv2d] = nn.Conv2d,
) -> nn.Conv2d:
    """A convolution whose output is as large as its input, or ceil(size / stride); `padding` fills the border."""
    if padding not in _TORCH_NAME:
        raise InputError(f"generator.padding={padding}: choose one of {', '.join(_TORCH_NAME)}")
    return kind(in_channels, out_channels, kernel_px, stride, padding=kernel_px // 2, padding_mode=_TORCH_NAME[padding])


def to_unit_range(x: Tensor) -> Tensor:
    """Johnson et al. 2016's scaled tanh, to [0, 1] where theirs goes to [0, 255]."""
    return 0.5 + 0.5 * torch.tanh(x)
