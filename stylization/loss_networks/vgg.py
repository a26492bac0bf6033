"""VGG's convolutional column (Simonyan & Zisserman 2015), the field's loss network, with named layers."""

import urllib.error
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from stylization.errors import InputError
from stylization.winograd import suits, winograd

VGG16_DEPTHS = (2, 2, 3, 3, 3)
VGG19_DEPTHS = (2, 2, 4, 4, 4)
VGG_WIDTHS = (64, 128, 256, 512, 512)


class Convolution(nn.Conv2d):
    """A convolution of 3x3 with a margin of zeros."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if not suits(x, self.weight):
            return super().forward(x)
        assert self.bias is not None
        return winograd(F.pad(x, (1, 1, 1, 1)), self.weight) + self.bias[:, None, None]


class VGG(nn.Module):
    """Blocks of 3x3 convolutions and ReLUs with a 2x2 maximum pooling between them.

    `network(images, layers)` takes (b, 3, h, w) in [0, 1], subtracts ImageNet's mean, divides by its standard
    deviation, and returns {name: (b, c, h', w')} for the layers asked for, `relu1_1` ... `relu5_4`. It computes
    nothing below the deepest of them. The parameters carry torchvision's names (`features.0.weight`, ...), are
    frozen, and the network is always in eval mode.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, depths: Sequence[int], widths: Sequence[int]) -> None:
        super().__init__()
        self.features = nn.Sequential()
        self.widths: dict[str, int] = {}  # layer name -> channels
        self.positions: dict[str, int] = {}  # layer name -> position in `features`
        channels = 3
        for block, (depth, width) in enumerate(zip(depths, widths, strict=True), start=1):
            for convolution in range(1, depth + 1):
                self.features.append(Convolution(channels, width))
                self.features.append(nn.ReLU(inplace=True))  # a convolution needs not what it gave
                self.positions[f"relu{block}_{convolution}"] = len(self.features) - 1
                self.widths[f"relu{block}_{convolution}"] = width
                channels = width
            self.features.append(nn.MaxPool2d(2))
        self.available = list(self.positions)
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1), persistent=False)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "VGG":
        """Stays in eval mode: a loss network is a ruler, whatever the trainer around it does (Lightning #19514)."""
        return super().train(False)

    def check(self, layers: Iterable[str]) -> None:
        """Raise `InputError` if a layer has no such name, or lies below what the weight file holds."""
        for layer in layers:
            if layer not in self.positions:
                raise InputError(f"no layer '{layer}' in the loss network; there are {', '.join(self.positions)}")
            if layer not in self.available:
                raise InputError(
                    f"layer '{layer}' asked for, but the loss network's weight file ends at {self.available[-1]}; "
                    "choose shallower layers or a file that holds more"
                )

    def forward(self, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        self.check(layers)
        names = {self.positions[layer]: layer for layer in layers}
        features: dict[str, Tensor] = {}
        x = (images - self.mean) / self.std
        for position in range(max(names, default=-1) + 1):
            x = self.features[position](x)
            if position in names:
                features[names[position]] = self.read_out(names[position], x)
        return features

    def convolution(self, layer: str) -> nn.Conv2d:
        """The convolution below a layer's ReLU."""
        module = self.features[self.positions[layer] - 1]
        assert isinstance(module, nn.Conv2d)
        return module

    def read_out(self, layer: str, x: Tensor) -> Tensor:
        """What the network shows at a layer: the activations themselves."""
        return x


def vgg16(weights: str | Path | None = None) -> VGG:
    """VGG-16 with ImageNet weights: torchvision's, fetched at first use, or those of a file."""
    return _vgg("vgg16", VGG16_DEPTHS, weights)


def vgg19(weights: str | Path | None = None) -> VGG:
    """VGG-19 with ImageNet weights: torchvision's, fetched at first use, or those of a file."""
    return _vgg("vgg19", VGG19_DEPTHS, weights)


def _vgg(name: str, depths: Sequence[int], weights: str | Path | None) -> VGG:
    network = VGG(depths, VGG_WIDTHS)
    if weights is None:
        load_weights(network, _torchvision_weights(name), f"torchvision's {name}")
    else:
        load_weights(network, read_weights(Path(weights)), str(weights))
    return network


def _torchvision_weights(name: str) -> dict[str, Tensor]:
    import torchvision  # costs seconds, and only this path needs it

    weights = torchvision.models.get_model_weights(name).DEFAULT
    file_name = weights.url.rsplit("/", 1)[1]
    try:
        return dict(weights.get_state_dict(progress=True, check_hash=True))
    except (urllib.error.URLError, OSError, RuntimeError) as error:
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        reason = getattr(error, "reason", error)
        raise InputError(
            f"cannot fetch {name}'s weights ({reason}); three ways to get them: run once with a network; "
            f"put torchvision's {file_name} into {folder}; or give a file, loss_network.weights=<.pth or .safetensors> "
            "(loss_network=compact needs none of this)"
        ) from error


def read_weights(path: Path) -> dict[str, Tensor]:
    """The state dict in a .safetensors or a .pth file (loaded with `weights_only`). Raises `InputError`."""
    if not path.expanduser().is_file():
        raise InputError(f"no weight file at {path}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path.expanduser())
        state = torch.load(path.expanduser(), map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise InputError(f"weight file {path} is damaged or of another kind: {_first_line(error)}") from error
    except Exception as error:  # torch.load passes on whatever pickle meets in a foreign file
        if type(error).__module__ not in ("_pickle", "pickle"):
            raise
        raise InputError(f"weight file {path} is damaged or of another kind: {_first_line(error)}") from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"weight file {path} holds no state dict; save one with torch.save(model.state_dict(), path)")
    return dict(state)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def load_weights(network: VGG, state: Mapping[str, Tensor], source: str) -> None:
    """Copy a state dict into the network, from the top down to the first convolution it lacks.

    Keys of a classifier are passed over. Raises `InputError` for the weights of another network.
    """
    expected = network.state_dict()
    missing = [key for key in expected if key not in state]
    for key in expected:
        if key in state and state[key].shape != expected[key].shape:
            raise InputError(
                f"{source} is another network's: {key} is {tuple(state[key].shape)} where this one has "
                f"{tuple(expected[key].shape)}"
            )
    network.available = [
        layer
        for layer, position in network.positions.items()
        if not any(_position(key) <= position for key in missing if key.startswith("features."))
    ]
    foreign = [key for key in state if key.startswith("features.") and key not in expected]
    needed = [key for key in missing if not key.startswith("features.")]  # a compact network's readouts
    if not network.available or foreign or needed:
        held = (foreign or list(state) or ["nothing"])[0]
        wanted = (needed or missing or list(expected))[0]
        raise InputError(f"{source} is another network's: it holds {held}, this one needs {wanted}")
    network.load_state_dict(dict(state), strict=False)


def _position(key: str) -> int:
    return int(key.split(".")[1])
