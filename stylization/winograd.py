"""Convolutions of 3x3 by fewer multiplications (Lavin & Gray 2016, https://arxiv.org/abs/1509.09308).

F(4x4, 3x3): 16 pixels of a channel take 36 multiplications where they took 144. Overlapping tiles of 6x6 pixels,
kernels and results are each taken to a basis in which a convolution is a product, Y = A' [(G w G') * (B' x B)] A; over
all channels these are 36 products of matrices. In float32 results are off by 3e-6 of their size, where a direct
convolution is off by 1e-6. On GPUs PyTorch's libraries have such kernels; on CPUs without AVX-512 they have none.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

# The published matrices B', 24 G and A', for the points 0, 1, -1, 2, -2 and infinity.
_B = [
    [4, 0, -5, 0, 1, 0],
    [0, -4, -4, 1, 1, 0],
    [0, 4, -4, -1, 1, 0],
    [0, -2, -1, 2, 1, 0],
    [0, 2, -1, -2, 1, 0],
    [0, 4, 0, -5, 0, 1],
]
_G = [[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]
_A = [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]


@torch.inference_mode(False)  # whoever imports this there may train later
def _both(matrix: list[list[int]], divisor: float = 1.0) -> Tensor:
    """For rows and columns at once."""
    one = torch.tensor(matrix) / divisor
    return torch.kron(one, one)


PIXELS, KERNELS, RESULTS = _both(_B), _both(_G, 24.0), _both(_A)


def suits(x: Tensor, weight: Tensor, stride: int = 1) -> bool:
    """Whether `winograd` computes a convolution, and computes it faster: float32 on a CPU, with so many channels that
    multiplications are what it costs, and so many pixels that the kernels' change of basis costs less."""
    least = 64 if weight.requires_grad and torch.is_grad_enabled() else 128  # the weight's gradient gains most
    square = tuple(weight.shape[2:]) == (3, 3) and stride == 1 and min(weight.shape[:2]) >= least
    return square and single_on_cpu(x) and x[:, 0].numel() >= 1024


def single_on_cpu(x: Tensor) -> bool:
    """Whether a convolution of x is ours to compute: in float32 on a CPU, and not for a graph that is compiled."""
    single = x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    return x.device.type == "cpu" and single and not torch.compiler.is_compiling()


def winograd(x: Tensor, weight: Tensor) -> Tensor:
    """`F.conv2d(x, weight)`: (b, c, h, w) by (c', c, 3, 3) to (b, c', h - 2, w - 2), fast where the channels of a pixel
    lie together."""
    b, c, h, w = x.shape
    high, wide = -(-(h - 2) // 4), -(-(w - 2) // 4)  # tiles
    x = F.pad(x.permute(0, 2, 3, 1), (0, 0, 0, 4 * wide + 2 - w, 0, 4 * high + 2 - h))
    tiles: Tensor = _Tiles.apply(x)  # type: ignore[no-untyped-call]
    kernels = (KERNELS @ weight.permute(2, 3, 1, 0).reshape(9, -1)).view(36, c, -1)
    products = torch.bmm((PIXELS @ tiles.view(36, -1)).view(36, -1, c), kernels)
    results = (RESULTS @ products.view(36, -1)).view(4, 4, b, high, wide, -1)
    y = results.permute(2, 3, 0, 4, 1, 5).reshape(b, 4 * high, 4 * wide, -1)
    return y[:, : h - 2, : w - 2].permute(0, 3, 1, 2)


class _Tiles(torch.autograd.Function):
    """Tiles of 6x6 pixels, every four pixels: (b, 4 m + 2, 4 n + 2, c) -> (6, 6, b, m, n, c)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.unfold(1, 6, 4).unfold(2, 6, 4).permute(4, 5, 0, 1, 2, 3).contiguous()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, slopes: Tensor) -> Tensor:
        _, _, b, m, n, c = slopes.shape
        dx = slopes.new_zeros(b, m + 1, 4, n + 1, 4, c)
        tiles = dx.permute(2, 4, 0, 1, 3, 5)
        tiles[:, :, :, :m, :n] = slopes[:4, :4]
        tiles[:2, :, :, 1:, :n] += slopes[4:, :4]  # a tile's last two rows are the first of the tile below
        tiles[:, :2, :, :m, 1:] += slopes[:4, 4:]
        tiles[:2, :2, :, 1:, 1:] += slopes[4:, 4:]
        return dx.view(b, 4 * m + 4, 4 * n + 4, c)[:, : 4 * m + 2, : 4 * n + 2]
