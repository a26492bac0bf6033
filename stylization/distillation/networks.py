"""The teacher, VGG-16, and the student that is trained to have its gradients."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stylization.errors import InputError
from stylization.loss_networks import vgg16
from stylization.loss_networks.compact import COMPACT_WIDTHS, Compact
from stylization.loss_networks.vgg import VGG_WIDTHS

LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")  # Johnson et al. 2016: what style and content compare
CONTENT_LAYERS = ("relu2_2", "relu3_3")

Features = Mapping[str, Tensor]


class Teacher:
    """VGG-16, in bfloat16 on processors that compute it faster: its rounding error (0.4%) is far below the student's.

    `weights` is a file under torchvision's names; without one, torchvision's weights are fetched.
    """

    def __init__(self, weights: Path | None) -> None:
        self.network = vgg16(weights).to(memory_format=torch.channels_last)
        if "relu4_3" not in self.network.available:
            raise InputError(
                f"--teacher={weights}: ends at {self.network.available[-1]}; give VGG-16 weights that reach relu4_3"
            )
        capabilities = torch.cpu.get_capabilities()
        self.bfloat16 = bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))

    def __call__(self, x: Tensor, layers: Sequence[str] = LAYERS) -> dict[str, Tensor]:
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.bfloat16):
            features = self.network(x, layers)
        return {layer: feature.float() for layer, feature in features.items()}


class Student(nn.Module):
    """The compact network with a linear map A from the channels of each layer to the teacher's.

    A f estimates the teacher's features in units of the layer's `scales`, their root mean square. The student can be
    differentiated twice, which the loss networks cannot.
    """

    def __init__(self, widths: Sequence[int] = COMPACT_WIDTHS) -> None:
        super().__init__()
        self.network = Compact(widths).requires_grad_(True).to(memory_format=torch.channels_last)
        self.network.readouts.requires_grad_(False)  # the identity: training looks through A instead
        teacher_widths = dict(zip(("1", "2", "3", "4"), VGG_WIDTHS, strict=False))
        self.maps = nn.ParameterDict(
            {
                layer: nn.Parameter(torch.zeros(teacher_widths[layer[4]], width), requires_grad=layer in LAYERS)
                for layer, width in self.network.widths.items()
            }
        )
        self.scales = dict.fromkeys(self.network.widths, 1.0)

    def forward(self, x: Tensor, layers: Sequence[str] = LAYERS) -> dict[str, Tensor]:
        """The narrow features f."""
        x = (x - self.network.mean) / self.network.std
        x = x.contiguous(memory_format=torch.channels_last)
        found: dict[str, Tensor] = {}
        block = "1"
        for layer in self.network.positions:
            if layer[4] != block:
                x, block = F.max_pool2d(x, 2), layer[4]
            convolution = self.network.convolution(layer)
            x = F.relu(F.conv2d(x, convolution.weight, convolution.bias, padding=1))
            if layer in layers:
                found[layer] = x.float()
            if len(found) == len(layers):
                break
        return found

    @torch.no_grad()
    def finished(self) -> Compact:
        """The network with M = (A'A)^(1/2) as its readouts, on the teacher's scale and in half precision."""
        finished = Compact([self.network.widths[f"relu{block}_1"] for block in range(1, 5)])
        finished.load_state_dict(self.network.state_dict())
        for layer, scale in self.scales.items():
            a = self.maps[layer].double() * scale
            values, vectors = torch.linalg.eigh(a.T @ a)
            root = vectors @ torch.diag(values.clamp_min(0).sqrt()) @ vectors.T
            finished.readouts[layer].copy_(root[:, :, None, None])
        for parameter in finished.parameters():
            parameter.copy_(parameter.half())
        return finished
