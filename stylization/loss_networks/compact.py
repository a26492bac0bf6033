"""A sixteenth of VGG-19, taught to measure as VGG-19 does: the default loss network, and the one that ships."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stylization.loss_networks.vgg import VGG, VGG19_DEPTHS, load_weights, read_weights

WEIGHTS = Path(__file__).with_name("compact.safetensors")
COMPACT_WIDTHS = (16, 32, 64, 128)


class Compact(VGG):
    """VGG-19's topology up to relu4_1 with a quarter of its widths: 16, 32, 64, 128.

    Each layer is seen through a square matrix, M f. Distillation fits a linear map A from the n narrow channels f
    to the 4n channels of the teacher; all that an objective reads, distances and Gram matrices, needs only A'A:

        |A f - A g| = |M f - M g|   and   |A G A'| = |M G M|,   M = (A'A)^(1/2)

    so M gives the wide features' geometry at the narrow features' price.
    """

    def __init__(self) -> None:
        super().__init__((*VGG19_DEPTHS[:3], 1), COMPACT_WIDTHS)
        self.features = self.features[:-1]  # nothing is pooled after the last layer
        self.readouts = nn.ParameterDict({k: torch.eye(n)[:, :, None, None] for k, n in self.widths.items()})
        self.requires_grad_(False)

    def read_out(self, layer: str, x: Tensor) -> Tensor:
        return F.conv2d(x, self.readouts[layer])


def compact(weights: str | Path | None = None) -> Compact:
    """The compact loss network with the weights that ship, or with those `stylization distill` wrote to a file."""
    network = Compact()
    path = Path(weights) if weights is not None else WEIGHTS
    load_weights(network, read_weights(path), str(path))
    return network
