"""The multi-scale generator of Texture Networks (Ulyanov et al. 2016a)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stylization.generators.blocks import MakeNorm, Padding, convolution, enlarge, to_unit_range


class Pyramid(nn.Module):
    """From coarse to fine: each scale sees the image and fresh noise at its size, and joins what is below it
    (Ulyanov et al. 2016a; the authors' pyramid.lua).

    Maps (b, 3, h, w) in [0, 1] to the same shape and range, for every h, w from 16 px. Each scale adds `width`
    channels, 8 in the paper, to those it carries upward: 8, 16, ..., 48 for the paper's 6 scales. The noise is
    uniform in [0, 1), `num_noise` channels of it; in eval mode it is the same at every call.
    """

    def __init__(
        self, norm: MakeNorm, num_scales: int = 6, width: int = 8, num_noise: int = 3, padding: Padding = "reflect"
    ) -> None:
        super().__init__()
        self.num_scales, self.num_noise = num_scales, num_noise
        self.inputs = nn.ModuleList(_block(norm, 3 + num_noise, width, padding) for _ in range(num_scales))
        self.joins = nn.ModuleList(Join(norm, scale * width, width) for scale in range(1, num_scales))
        self.blocks = nn.ModuleList(
            _block(norm, (scale + 1) * width, (scale + 1) * width, padding) for scale in range(1, num_scales)
        )
        self.to_rgb = nn.Conv2d(num_scales * width, 3, 1)

    def forward(self, images: Tensor) -> Tensor:
        h, w = images.shape[-2:]
        coarsest = 2 ** (self.num_scales - 1)
        x = enlarge(images, multiple=coarsest, least_px=2 * coarsest)  # 2 px at the coarsest scale can be reflected
        # Noise for an eval-mode call comes from a generator of its own: the same image gives the same output.
        random = None if self.training else torch.Generator(x.device).manual_seed(0)
        seen = [self._with_noise(F.avg_pool2d(x, 2**k) if k else x, random) for k in range(self.num_scales)]
        y = self.inputs[0](seen[-1])
        for scale, (join, block) in enumerate(zip(self.joins, self.blocks, strict=True), start=1):
            y = block(join(y, self.inputs[scale](seen[-1 - scale])))
        return to_unit_range(self.to_rgb(y)[..., :h, :w])

    def _with_noise(self, x: Tensor, random: torch.Generator | None) -> Tensor:
        drawn = len(x) if random is None else 1  # in eval mode an image's noise must not depend on its neighbours
        noise = torch.rand((drawn, self.num_noise, *x.shape[2:]), generator=random, device=x.device, dtype=x.dtype)
        return torch.cat([x, noise.expand(len(x), -1, -1, -1)], dim=1)


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
