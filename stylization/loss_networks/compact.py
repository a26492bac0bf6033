"""VGG-16 at half its widths, distilled for the gradients of its objective: the default loss network, shipped here."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stylization.errors import InputError
from stylization.loss_networks.vgg import VGG, VGG16_DEPTHS, load_weights, read_weights

WEIGHTS = Path(__file__).with_name("compact.safetensors")
COMPACT_WIDTHS = (32, 64, 128, 240)


class Compact(VGG):
    """VGG-16's topology up to relu4_3 with about half of its channels.

    Each layer is seen through a square matrix, M f. Distillation fits a linear map A from the n narrow channels f
    to the channels of the teacher; all that an objective reads, distances and Gram matrices, needs only A'A:

        |A f - A g| = |M f - M g|   and   |A G A'| = |M G M|,   M = (A'A)^(1/2)

    so M gives the wide features' geometry at the narrow features' price.
    """

    def __init__(self, widths: Sequence[int] = COMPACT_WIDTHS) -> None:
        super().__init__(VGG16_DEPTHS[:4], widths)
        self.features = self.features[:-1]  # nothing is pooled after the last layer
        self.readouts = nn.ParameterDict({k: torch.eye(n)[:, :, None, None] for k, n in self.widths.items()})
        self.requires_grad_(False)

    def read_out(self, layer: str, x: Tensor) -> Tensor:
        return F.conv2d(x, self.readouts[layer])


def compact(weights: str | Path | None = None) -> Compact:
    """The compact loss network with its shipped weights, or with a file written by `stylization distill`."""
    path = Path(weights) if weights is not None else WEIGHTS
    state = read_weights(path)
    network = Compact(_widths(state, str(path)))
    load_weights(network, state, str(path))
    return network


def _widths(state: Mapping[str, Tensor], source: str) -> tuple[int, ...]:
    """The widths of the blocks, read off the sizes of the readouts."""
    keys = [f"readouts.relu{block}_1" for block in range(1, 5)]
    if missing := [key for key in keys if key not in state or state[key].ndim != 4]:
        raise InputError(f"{source} is another network's: it holds {next(iter(state), 'nothing')}, not {missing[0]}")
    return tuple(state[key].shape[0] for key in keys)
