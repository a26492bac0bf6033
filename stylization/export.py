"""A trained generator for where none is trained: a graph for ONNX runtimes, a PyTorch program, a smaller model file."""

import copy
import io
import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.func import functional_call
from torch.fx import GraphModule

from stylization import model_file
from stylization.conditions import Mixture, conditional
from stylization.errors import InputError
from stylization.files import atomic_write
from stylization.generators.blocks import Generator
from stylization.normalization import Norm, with_one_style
from stylization.stylizer import load

Target = Literal["onnx", "torch", "safetensors"]
SUFFIXES = {"onnx": ".onnx", "torch": ".pt2", "safetensors": ".safetensors"}
AXES = {0: Dim("batch"), 2: Dim("height"), 3: Dim("width")}
SIZES_PX = ((15, 37), (61, 101), (129, 87))  # odd, and the first below what a generator paints
TOLERANCE = 1e-4  # the order of sums in float32 changes less
HALF_TOLERANCE = 0.02  # rounding a trained generator's weights changes 0.004 at most, a level of 255


def export(model: str | Path, output: Path, to: Target, half: bool = False, style: Mixture | None = None) -> None:
    """Write the generator of a model file, or of a finished run, for another runtime.

    "onnx" and "torch" (for `torch.export.load`) take photographs (batch, 3, height, width) in [0, 1] of any size and
    give stylizations of that size; both carry what the model file says of itself. "safetensors" is a model file again.
    `half` keeps the weights in float16; all is computed in float32. Of a model of several styles one `style`, or one
    mixture, goes into a graph or program; into a model file all do, unless one is named. What was written is opened and
    run, and gets its name only if it computes what PyTorch does. Raises `InputError` if it does not, and for whatever
    cannot be read, written or imported.
    """
    if output.suffix != SUFFIXES[to]:
        raise InputError(f"cannot write {output}: --to {to} writes files that end in {SUFFIXES[to]}")
    needed = ("onnx", "onnxscript", "onnxruntime") if to == "onnx" else ()
    if missing := [package for package in needed if find_spec(package) is None]:
        raise InputError(f"exporting to ONNX needs {', '.join(missing)}: pip install 'stylization[export]'")
    path = model_file.located(model)
    stylizer, description = load(model), model_file.described(path)
    generator: Any = stylizer.generator.to(memory_format=torch.contiguous_format)
    if stylizer.styles and (style is not None or to != "safetensors"):
        stylizer.ask(style)
        generator, description = with_one_style(generator), _of_one_style(description, style or stylizer.default_style)
    elif stylizer.styles:
        stylizer.ask(dict.fromkeys(stylizer.styles, 1.0), strength=0.7)  # something to compare them by
    kept = _in_half(generator) if half else generator
    serialized, opened = _WAYS[to]
    with atomic_write(output) as file:
        file.write(serialized(kept, description))
        file.flush()
        rounded = copy.deepcopy(kept).float()
        if not (off := _difference(rounded, generator)) < HALF_TOLERANCE:
            raise InputError(f"{path}: float16's weights change what it paints by {off:.2g}: export it without --half")
        written = opened(Path(file.name))
        if isinstance(written, Generator):
            for ours, theirs in zip(conditional(rounded), conditional(written), strict=True):
                theirs.rows = ours.rows
        if not (off := _difference(written, rounded)) < TOLERANCE:
            raise InputError(
                f"{output} is not written: it would differ from PyTorch by {off:.2g}, not below {TOLERANCE}"
            )


def _of_one_style(description: dict[str, str], style: Any) -> dict[str, str]:
    """What a model file says of a generator that was left one style of several, or one mixture."""
    style = style if isinstance(style, str) else "+".join(style)
    architecture, facts = (json.loads(description[name]) for name in ("architecture", "facts"))
    norm = {k: v for k, v in architecture["norm"].items() if k not in ("num_styles", "strength", "size")}
    architecture["norm"] = norm | {"_target_": "stylization.normalization.Norm"}
    by_style = {name: facts.pop(f"{name}_by_style", {}) for name in ("val", "val_initial")}
    del facts["styles"]
    facts |= {"style": style} | {name: terms[style] for name, terms in by_style.items() if style in terms}
    return {**description, "architecture": json.dumps(architecture), "facts": json.dumps(facts)}


def _in_half(generator: Generator) -> Generator:
    generator = copy.deepcopy(generator)
    for weights in generator.parameters():  # not the buffers: a variance may be beyond float16's range
        weights.data = weights.data.half()
    return generator


@torch.no_grad()
def _difference(one: Callable[[Tensor], Tensor], other: Callable[[Tensor], Tensor]) -> float:
    """The largest difference over photographs of `SIZES_PX`, or NaN."""
    random = torch.Generator().manual_seed(0)
    photographs = [torch.rand(2, 3, *size, generator=random) for size in SIZES_PX]
    return float(torch.stack([(one(x) - other(x)).abs().max() for x in photographs]).max())


class Graph(nn.Module):
    """A generator as it is traced: it asks nothing about a photograph's size, and computes in float32."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, photograph: Tensor) -> Tensor:
        # Padding and slicing ask whether there is anything to add or to cut; the answer would be traced.
        h, w = photograph.shape[2:]
        multiple, least = self.generator.multiple, self.generator.least_px
        new_h, new_w = (
            multiple * torch.sym_max((side + multiple - 1) // multiple, least // multiple) for side in (h, w)
        )
        rows, columns = torch.arange(new_h).clamp(max=h - 1), torch.arange(new_w).clamp(max=w - 1)
        x = photograph.index_select(2, rows).index_select(3, columns)
        weights = {name: kept.float() for name, kept in self.generator.named_parameters()}
        painted: Tensor = functional_call(self.generator, weights, (x,))
        return painted.index_select(2, torch.arange(h)).index_select(3, torch.arange(w))


class RowwiseNorm(nn.Module):
    """What a `Norm` computes, with the means of rows first, then of those.

    onnxruntime adds up all pixels of a channel or a group one by one in float32; over a million of them that costs
    digits: a layer norm of 32 channels at 2048 px was off by 0.19 standard deviations, and is by 1e-6 so.
    """

    def __init__(self, norm: Norm) -> None:
        super().__init__()
        self.gamma, self.beta, self.eps = norm.gamma, norm.beta, norm.eps
        self.channels_per_group = norm.num_channels // norm.num_groups
        self.over_batch = norm.statistics == "batch"

    def forward(self, x: Tensor) -> Tensor:
        y = x - self.mean(x)
        scale = torch.rsqrt(self.mean(y.square()) + self.eps)
        y = y * (scale if self.gamma is None else scale * self.gamma.view(-1, 1, 1))
        return y if self.beta is None else y + self.beta.view(-1, 1, 1)

    def mean(self, x: Tensor) -> Tensor:
        """Of each group of channels: (b, c, 1, 1), or over the batch (1, c, 1, 1)."""
        means = x.mean(3, keepdim=True).mean(2, keepdim=True)
        if self.over_batch:
            means = means.mean(0, keepdim=True)
        if self.channels_per_group > 1:
            grouped = means.unflatten(1, (-1, self.channels_per_group))
            means = grouped.mean(2, keepdim=True).expand_as(grouped).flatten(1, 2)
        return means


def _rowwise(network: nn.Module) -> nn.Module:
    """A copy whose norms are `RowwiseNorm`s, but for those whose statistics are given."""
    network = copy.deepcopy(network)
    for module in list(network.modules()):
        for name, norm in module.named_children():
            if isinstance(norm, nn.InstanceNorm2d):
                norm = Norm(norm.num_features, affine=False, eps=norm.eps)
            if isinstance(norm, Norm) and norm.statistics in ("instance", "batch"):
                setattr(module, name, RowwiseNorm(norm))
    return network


def _traced(generator: Any) -> ExportedProgram:
    with torch.no_grad():
        program = torch.export.export(Graph(generator).eval(), (torch.rand(2, 3, 17, 19),), dynamic_shapes=(AXES,))
    for part in program.graph_module.modules():
        for node in part.graph.nodes if isinstance(part, GraphModule) else ():
            node.meta.pop("stack_trace", None)  # paths on this machine
    return program


def _to_onnx(generator: Generator, description: dict[str, str]) -> bytes:
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass
    from onnxscript.optimizer import optimize_ir

    program = torch.onnx.export(
        _traced(_rowwise(generator)),
        input_names=["photograph"],
        output_names=["stylized"],
        dynamic_shapes=(AXES,),  # their names
        dynamo=True,
        optimize=False,
        verbose=False,
    )
    assert program is not None
    # Its own optimizer would widen float16's weights beforehand; a runtime does so when it loads them.
    optimize_ir(program.model, should_fold=lambda node: False if node.op_type == "Cast" else None)
    ClearMetadataAndDocStringPass()(program.model)  # what the exporter notes of each node, a hundred kilobytes
    program.model.metadata_props.update(description)
    return bytes(program.model_proto.SerializeToString())


def _open_onnx(path: Path) -> Callable[[Tensor], Tensor]:
    from stylization.onnx_runtime import OnnxStylizer

    stylizer = OnnxStylizer(path)
    return lambda photographs: torch.from_numpy(stylizer.paint(photographs.numpy()))


def _to_torch(generator: Generator, description: dict[str, str]) -> bytes:
    file = io.BytesIO()
    torch.export.save(_traced(generator), file, extra_files=description)
    return file.getvalue()


def _open_torch(path: Path) -> Callable[[Tensor], Tensor]:
    with path.open("rb") as file:
        return torch.export.load(file).module()


def _open_safetensors(path: Path) -> Callable[[Tensor], Tensor]:
    return model_file.read(path)[0]


_WAYS: dict[Target, tuple[Callable[[Generator, dict[str, str]], bytes], Callable[[Path], Callable[[Tensor], Tensor]]]]
_WAYS = {
    "onnx": (_to_onnx, _open_onnx),
    "torch": (_to_torch, _open_torch),
    "safetensors": (model_file.serialized, _open_safetensors),
}
