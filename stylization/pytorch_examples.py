"""Generators trained with pytorch/examples' fast_neural_style, converted to ours.

The network is that of Johnson et al. 2016 (supplement, table 1) with instance norm, reflection padding and nearest
upsampling. It maps [0, 255] to [0, 255] and has no tanh.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from stylization import model_file
from stylization.errors import InputError
from stylization.generators.blocks import Generator
from stylization.loss_networks.vgg import read_weights

WHITE = 255.0
STATISTICS = re.compile(r"\.(running_mean|running_var|num_batches_tracked)$")  # of old files; instance norm needs none


def read(path: Path) -> Generator:
    """The generator in a state dict file, in eval mode. Raises `InputError`."""
    return converted(read_weights(path), str(path))


def converted(state: Mapping[str, Tensor], source: str = "state dict") -> Generator:
    """Our generator with the weights of one of theirs. The range [0, 255] is folded into its first and last
    convolution; the output is clamped to [0, 1]. Raises `InputError` for the weights of another network."""
    theirs = {name: value.float() for name, value in state.items() if not STATISTICS.search(name)}
    described = architecture(theirs, source)
    names = _names(described["generator"]["num_blocks"])
    if theirs.keys() != names.keys():
        wrong = sorted(theirs.keys() ^ names.keys())[0]
        raise InputError(f"{source}: {wrong} is unexpected or missing; give a generator of fast_neural_style")
    ours = {names[name]: value for name, value in theirs.items()}
    ours[names["conv1.conv2d.weight"]] = ours[names["conv1.conv2d.weight"]] * WHITE
    for name in ("deconv3.conv2d.weight", "deconv3.conv2d.bias"):
        ours[names[name]] = ours[names[name]] / WHITE
    generator = model_file.build(described)
    expected = generator.state_dict()
    for name, value in ours.items():
        if value.shape != expected[name].shape:
            their_name = next(theirs for theirs, our_name in names.items() if our_name == name)
            shapes = f"{tuple(value.shape)}, expected {tuple(expected[name].shape)}"
            raise InputError(f"{source}: {their_name} has shape {shapes}; give a generator of fast_neural_style")
    generator.load_state_dict(expected | ours)
    return generator.eval()


def architecture(state: Mapping[str, Tensor], source: str = "state dict") -> dict[str, Any]:
    """The sections `generator` and `norm` of a model file that describe such a network. Raises `InputError`."""
    first = state.get("conv1.conv2d.weight")
    if first is None or first.ndim != 4:
        raise InputError(f"{source}: no weights under conv1.conv2d.weight; give a generator of fast_neural_style")
    return {
        "generator": {
            "_target_": "stylization.generators.Johnson",
            "width": len(first),
            "num_blocks": sum(bool(re.fullmatch(r"res\d+\.conv1\.conv2d\.weight", name)) for name in state),
            "padding": "reflect",
            "upsampling": "nearest",
            "output": "linear",
        },
        "norm": {"_target_": "stylization.normalization.Norm"},
    }


def _names(num_blocks: int) -> dict[str, str]:
    """Their parameters' names to ours."""
    layers = [("conv1", "in1", "0"), ("conv2", "in2", "3"), ("conv3", "in3", "6")]
    for block in range(1, num_blocks + 1):
        layers += [(f"res{block}.conv{k + 1}", f"res{block}.in{k + 1}", f"{8 + block}.layers.{3 * k}") for k in (0, 1)]
    last = 9 + num_blocks
    layers += [("deconv1", "in4", str(last)), ("deconv2", "in5", str(last + 3)), ("deconv3", "", str(last + 6))]
    names = {}
    for convolution, norm, position in layers:
        before, _, number = position.rpartition(".")
        place = f"layers.{before}{'.' * bool(before)}"
        for kind in ("weight", "bias"):
            names[f"{convolution}.conv2d.{kind}"] = f"{place}{number}.{kind}"
        if norm:
            names[f"{norm}.weight"] = f"{place}{int(number) + 1}.gamma"
            names[f"{norm}.bias"] = f"{place}{int(number) + 1}.beta"
    return names
