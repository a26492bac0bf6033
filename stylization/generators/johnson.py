"""The residual generator of Johnson et al. 2016."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stylization.errors import InputError
from stylization.generators.blocks import (
    Generator,
    MakeNorm,
    Padding,
    convolution,
    convolved,
    padded,
    to_unit_range,
)


class Johnson(Generator):
    """Down by two strided convolutions, through residual blocks, up again (Johnson et al. 2016, supplement, table 1).

    Maps (b, 3, h, w) in [0, 1] to the same shape and range, for every h, w from 16 px. `width` is the number of
    channels at full size, 32 in the paper: with 5 blocks 1,679,235 parameters, as many as the PyTorch example's
    transcription. `upsampling` is "nearest" followed by a convolution (Odena et al. 2016, which avoids the
    checkerboard) or "transposed" (the paper's convolution of stride 1/2); both have the same parameters. `input_norm`
    normalizes each channel of each photograph before all else, which takes its contrast away whatever the norm inside
    (texture_nets, diversity/models/johnson_in_start.lua). `output` is the paper's scaled "tanh", or "linear", clamped
    to [0, 1], as in networks trained elsewhere (`pytorch_examples`).
    """

    multiple, least_px = 4, 16

    def __init__(
        self,
        norm: MakeNorm,
        width: int = 32,
        num_blocks: int = 5,
        padding: Padding = "reflect",
        upsampling: Literal["nearest", "transposed"] = "nearest",
        input_norm: bool = False,
        output: Literal["tanh", "linear"] = "tanh",
    ) -> None:
        super().__init__()
        if output not in ("tanh", "linear"):
            raise InputError(f"generator.output={output}: unknown; choose tanh or linear")
        self.output = output
        if upsampling not in ("nearest", "transposed"):
            raise InputError(f"generator.upsampling={upsampling}: choose nearest or transposed")
        self.input_norm = nn.InstanceNorm2d(3) if input_norm else nn.Identity()
        # Differs from Johnson et al. 2016: they pad the image once by 40 px and let the blocks shrink it; here every
        # convolution pads, as in the authors' code (texture_nets, johnson.lua), so that any size goes through.
        self.layers = nn.Sequential(
            *_layer(norm, 3, width, 9, padding),
            *_layer(norm, width, 2 * width, 3, padding, stride=2),
            *_layer(norm, 2 * width, 4 * width, 3, padding, stride=2),
            *(Residual(norm, 4 * width, padding) for _ in range(num_blocks)),
            *_upsampled(norm, 4 * width, 2 * width, padding, upsampling),
            *_upsampled(norm, 2 * width, width, padding, upsampling),
            convolution(width, 3, 9, padding, kind=Fourfold),
        )

    def paint(self, x: Tensor) -> Tensor:
        y = self.layers(self.input_norm(x))
        return to_unit_range(y) if self.output == "tanh" else torch.clamp(y, 0.0, 1.0)


class Residual(nn.Module):
    """x + norm(conv(relu(norm(conv(x))))), without a ReLU after the sum (Gross & Wilber 2016)."""

    def __init__(self, norm: MakeNorm, channels: int, padding: Padding) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_layer(norm, channels, channels, 3, padding),
            convolution(channels, channels, 3, padding),
            norm(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y


def _layer(
    norm: MakeNorm, in_channels: int, out_channels: int, kernel_px: int, padding: Padding, stride: int = 1
) -> list[nn.Module]:
    return [
        convolution(in_channels, out_channels, kernel_px, padding, stride),
        norm(out_channels),
        nn.ReLU(inplace=True),
    ]


def _upsampled(norm: MakeNorm, in_channels: int, out_channels: int, padding: Padding, way: str) -> list[nn.Module]:
    make = Enlarged if way == "nearest" else Transposed
    return [make(in_channels, out_channels, padding), norm(out_channels), nn.ReLU(inplace=True)]


class Enlarged(nn.Conv2d):
    """Each pixel repeated twice in both directions, then a convolution of 3x3 (Odena et al. 2016).

    Computed as what it is: of three neighbours in the enlarged image two are the same pixel, so that each of the four
    pixels made of one sees 2x2 pixels through sums of weights, at 4/9 of the multiplications.
    """

    def __init__(self, in_channels: int, out_channels: int, padding: str) -> None:
        super().__init__(in_channels, out_channels, 3)
        # One pixel beyond the border of the enlarged image, reflected or replicated, is the last pixel of the small.
        self.beyond = {"zero": "constant", "circular": "circular"}.get(padding, "replicate")

    def forward(self, x: Tensor) -> Tensor:
        if self.beyond == "replicate" and torch.compiler.is_compiling():  # Inductor takes its gradient's strides wrong
            for dim in (2, 3):
                x = torch.cat([x.narrow(dim, 0, 1), x, x.narrow(dim, x.shape[dim] - 1, 1)], dim)
            return self.within(x)
        return self.within(F.pad(x, (1, 1, 1, 1), mode=self.beyond))

    def within(self, x: Tensor) -> Tensor:
        """Of an image with a margin of one pixel: (b, c, h + 2, w + 2) -> (b, c', 2h, 2w)."""
        h, w = x.shape[2] - 2, x.shape[3] - 2
        left, middle, right = self.weight.unbind(3)
        columns = (torch.stack([left, middle + right], 3), torch.stack([left + middle, right], 3))
        phases = []
        for row, column in _PHASES:
            top, centre, bottom = columns[column].unbind(2)
            phases.append(torch.stack([top + centre, bottom] if row else [top, centre + bottom], 2))
        y = convolved(x, torch.cat(phases), None if self.bias is None else self.bias.repeat(4))
        # Interleaved in the order of memory, channels last: (b, h, w, c) of each phase.
        cut = [
            part[:, row : row + h, column : column + w]
            for part, (row, column) in zip(y.permute(0, 2, 3, 1).chunk(4, 3), _PHASES, strict=True)
        ]
        rows = [torch.stack(cut[k : k + 2], 3).flatten(2, 3) for k in (0, 2)]
        return torch.stack(rows, 2).flatten(1, 2).permute(0, 3, 1, 2)


_PHASES = ((0, 0), (0, 1), (1, 0), (1, 1))


class Fourfold(nn.Conv2d):
    """A convolution to few channels, of an image with even sides.

    Computed for 2x2 pixels at once, by the four places of its kernel in one that is larger by a pixel: kernels for
    three channels leave most of a processor's registers empty, for twelve they do not.
    """

    def forward(self, x: Tensor) -> Tensor:
        places = [F.pad(self.weight, (column, 1 - column, row, 1 - row)) for row, column in _PHASES]
        bias = None if self.bias is None else self.bias.repeat_interleave(4)
        return F.pixel_shuffle(convolved(padded(x, self), torch.stack(places, 1).flatten(0, 1), bias, stride=2), 2)


class Transposed(nn.ConvTranspose2d):
    """A convolution of stride 1/2, which doubles both sides. Knows no padding but zero and circular."""

    def __init__(self, in_channels: int, out_channels: int, padding: str) -> None:
        super().__init__(in_channels, out_channels, 3, stride=2, padding=1, output_padding=1)
        self.circular = padding == "circular"

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        h, w = x.shape[2:]
        if self.circular:  # only the last row and column see beyond the border
            x = F.pad(x, (0, 1, 0, 1), mode="circular")
        return super().forward(x)[..., : 2 * h, : 2 * w]
