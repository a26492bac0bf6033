"""The multi-scale generator of Texture Networks (Ulyanov et al. 2016a)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stylization.generators.blocks import Generator, MakeNorm, Padding, convolution, to_unit_range


class Pyramid(Generator):
    """From coarse to fine: each scale sees the image and fresh noise at its size, and joins what is below it
    (Ulyanov et al. 2016a; the authors' pyramid.lua).

    Maps (b, 3, h, w) in [0, 1] to the same shape and range, for every h, w from 16 px. Each scale adds `width`
    channels, 8 in the paper, to those it carries upward: 8, 16, ..., 48 for the paper's 6 scales. The noise is
    uniform in [0, 1), `num_noise` channels of it. In eval mode it is `fixed_noise`, the same at every call.
    """

    def __init__(
        self, norm: MakeNorm, num_scales: int = 6, width: int = 8, num_noise: int = 3, padding: Padding = "reflect"
    ) -> None:
        super().__init__()
        coarsest = 2 ** (num_scales - 1)
        self.multiple, self.least_px = coarsest, 2 * coarsest  # 2 px at the coarsest scale can be reflected
        self.noise = Noise(num_noise)
        self.inputs = nn.ModuleList(_block(norm, 3 + num_noise, width, padding) for _ in range(num_scales))
        self.joins = nn.ModuleList(Join(norm, scale * width, width) for scale in range(1, num_scales))
        self.blocks = nn.ModuleList(
            _block(norm, (scale + 1) * width, (scale + 1) * width, padding) for scale in range(1, num_scales)
        )
        self.to_rgb = nn.Conv2d(num_scales * width, 3, 1)

    def paint(self, x: Tensor) -> Tensor:
        y = None
        for scale, see in enumerate(self.inputs):
            ratio = 2 ** (len(self.inputs) - 1 - scale)
            image = F.avg_pool2d(x, ratio) if ratio > 1 else x
            fine = see(torch.cat([image, self.noise(image)], dim=1))
            y = fine if y is None else self.blocks[scale - 1](self.joins[scale - 1](y, fine))
        return to_unit_range(self.to_rgb(y))


class Noise(nn.Module):
    """Uniform noise of an image's size: (b, c, h, w) -> (b, num_channels, h, w); in eval mode `fixed_noise`."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.num_channels = num_channels

    def forward(self, x: Tensor) -> Tensor:
        b, _, h, w = x.shape
        if self.training:
            return torch.rand((b, self.num_channels, h, w), device=x.device, dtype=x.dtype)
        return fixed_noise(self.num_channels, torch.arange(h), torch.arange(w)).to(x).expand(b, -1, -1, -1)


def fixed_noise(num_channels: int, rows: Tensor, columns: Tensor) -> Tensor:
    """Uniform noise in [0, 1] that is a function of channel, row and column: (1, num_channels, rows, columns).

    So a picture's noise depends neither on its neighbours in a batch nor on the part of it that is computed, and an
    exported graph draws the same. A quadratic congruential hash in whole numbers, equal on every machine.
    """
    prime = 2**31 - 1
    mixed = torch.arange(1, num_channels + 1).view(1, -1, 1, 1) * 362437 + rows.view(-1, 1) * 1103515245
    mixed = (mixed % prime * 69069 + columns * 747796405 + 1) % prime
    for _ in range(3):  # squares of numbers below 2^31 fit into 64 bits
        mixed = (mixed * mixed + mixed * 48271 + 12345) % prime
    return mixed / prime


class Join(nn.Module):
    """Upsample the coarse branch, normalize both, concatenate: without the norms one branch may drown the other."""

    def __init__(self, norm: MakeNorm, coarse_channels: int, fine_channels: int) -> None:
        super().__init__()
        self.coarse, self.fine = norm(coarse_channels), norm(fine_channels)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        coarse = F.interpolate(coarse, scale_factor=2, mode="nearest")
        return torch.cat([self.coarse(coarse), self.fine(fine)], dim=1)


def _block(norm: MakeNorm, in_channels: int, out_channels: int, padding: Padding) -> nn.Sequential:
    """Convolutions of 3, 3 and 1 px, each followed by the norm and a leaky ReLU."""
    layers: list[nn.Module] = []
    for channels, kernel_px in ((in_channels, 3), (out_channels, 3), (out_channels, 1)):
        layers += [convolution(channels, out_channels, kernel_px, padding), norm(out_channels), nn.LeakyReLU(0.01)]
    return nn.Sequential(*layers)
