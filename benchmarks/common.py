"""What benchmarks share: turns, and the rival, the recipe that pytorch/examples' fast_neural_style made common.

The rival is our own statement of it, as everyone runs it: eager, float32, NCHW, PyTorch's modules. A residual generator
of width 32 with InstanceNorm2d, and VGG-16 up to relu4_3 over both the photograph and its stylization.
"""

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stylization.loss_networks.vgg import VGG, VGG16_DEPTHS, VGG_WIDTHS

STYLE_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
CONTENT_LAYER = "relu2_2"


class Generator(nn.Module):
    """Reflection padding, convolution, InstanceNorm2d and ReLU as modules of their own; nearest upsampling."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_layer(3, 32, 9),
            *_layer(32, 64, 3, stride=2),
            *_layer(64, 128, 3, stride=2),
            *(_Residual() for _ in range(5)),
            nn.Upsample(scale_factor=2, mode="nearest"),
            *_layer(128, 64, 3),
            nn.Upsample(scale_factor=2, mode="nearest"),
            *_layer(64, 32, 3),
            nn.ReflectionPad2d(4),
            nn.Conv2d(32, 3, 9),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return y


class _Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(*_layer(128, 128, 3), *_layer(128, 128, 3)[:-1])

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y


def _layer(in_channels: int, out_channels: int, kernel_px: int, stride: int = 1) -> list[nn.Module]:
    return [
        nn.ReflectionPad2d(kernel_px // 2),
        nn.Conv2d(in_channels, out_channels, kernel_px, stride),
        nn.InstanceNorm2d(out_channels, affine=True),
        nn.ReLU(),
    ]


def training_step(photographs: Tensor) -> Callable[[], None]:
    """One step of training on a batch in [0, 1]: both losses, backward, Adam.

    The whole loss network is run over the photographs too, though only relu2_2 of it is looked at.
    """
    generator = Generator().to(photographs.device)
    loss_network = VGG(VGG16_DEPTHS, VGG_WIDTHS).to(photographs.device)  # what the weights hold changes no timing
    optimizer = torch.optim.Adam(generator.parameters(), 1e-3)
    targets = [_gram(x) for x in loss_network(photographs, STYLE_LAYERS).values()]

    def step() -> None:
        optimizer.zero_grad()
        stylized = generator(photographs)
        ours, theirs = loss_network(stylized, STYLE_LAYERS), loss_network(photographs, STYLE_LAYERS)
        content = 1e5 * F.mse_loss(ours[CONTENT_LAYER], theirs[CONTENT_LAYER])
        style = sum(F.mse_loss(_gram(x), target) for x, target in zip(ours.values(), targets, strict=True))
        (content + 1e10 * style).backward()
        optimizer.step()

    return step


def _gram(x: Tensor) -> Tensor:
    b, c, h, w = x.shape
    flat = x.reshape(b, c, h * w)
    return flat @ flat.mT / (c * h * w)


def turns(contenders: dict[str, Callable[[], object]], num: int) -> dict[str, list[float]]:
    """Seconds of each contender in each turn; a first one warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(num + 1):
        for name, run in contenders.items():
            start = time.perf_counter()
            run()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return seconds
