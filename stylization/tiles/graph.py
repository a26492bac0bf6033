"""A generator as a graph of operations, each of which knows which part of its input a part of its output is made of."""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from stylization.generators.blocks import Generator, padding_mode
from stylization.generators.johnson import Enlarged, Transposed
from stylization.generators.pyramid import Noise, fixed_noise
from stylization.normalization import Norm

Span = tuple[int, int]  # from, to, along one axis
Box = tuple[Span, Span]  # rows, columns


@dataclass
class Node:
    """One operation of a generator, as it is applied to a part of the picture."""

    name: str
    inputs: list[int]
    apply: Callable[[list[Tensor], "Part"], Tensor]
    needs: Callable[[Span], Span]  # the span of its input that a span of its output is made of
    channels: int
    size: tuple[int, int]  # of the whole, at this node's resolution
    macs: int = 0  # of the whole
    norm: Norm | None = None


@dataclass(frozen=True)
class Part:
    """Which part of its output a node computes, and from which parts of its inputs."""

    box: Box
    given: list[Box]


class Graph:
    """A generator's `paint` as nodes in the order of computation, for a picture of (h, w) pixels."""

    def __init__(self, generator: Generator, size: tuple[int, int]) -> None:
        self.nodes: list[Node] = []
        self.circular = any(getattr(module, "padding_mode", None) == "circular" for module in generator.modules())
        numbers: dict[fx.Node, int] = {}
        modules = dict(generator.named_modules())
        for traced in _Tracer().trace(generator).nodes:
            if traced.op == "output":
                break
            inputs = [numbers[argument] for argument in traced.all_input_nodes]
            numbers[traced] = len(self.nodes)
            module = modules[traced.target] if traced.op == "call_module" else None
            if isinstance(module, nn.Identity):
                numbers[traced] = inputs[0]
                continue
            self.nodes.append(self._node(traced, module, inputs, size))

    def _node(self, traced: fx.Node, module: nn.Module | None, inputs: list[int], size: tuple[int, int]) -> Node:
        before = [self.nodes[number] for number in inputs]
        channels = before[0].channels if before else 3
        size = before[0].size if before else size
        node = Node(traced.name, inputs, _whole, lambda span: span, channels, size)
        if traced.op == "placeholder":
            return node
        if isinstance(module, Enlarged):
            _as_enlarged(node, module)
        elif isinstance(module, nn.Conv2d):
            _as_convolution(node, module, self.circular)
        elif isinstance(module, Transposed):
            _as_transposed(node, module)
        elif traced.target is F.interpolate:
            _as_upsampling(node)
        elif traced.target is F.avg_pool2d:
            _as_pooling(node, int(traced.args[1]))  # type: ignore[arg-type]
        elif isinstance(module, Noise):
            _as_noise(node, module)
        elif isinstance(module, Norm | nn.InstanceNorm2d):
            node.norm = module if isinstance(module, Norm) else Norm(channels, affine=False, eps=module.eps).eval()
            node.apply = lambda given, part: node.norm(given[0], (node.size, part.box))  # type: ignore[misc]
        elif module is not None:
            node.apply = lambda given, part: module(given[0])
        elif traced.target is torch.cat:
            node.channels = sum(other.channels for other in before)
            node.apply = lambda given, part: torch.cat(given, dim=1)
        elif traced.target in (operator.add, operator.mul, torch.tanh, torch.clamp):
            node.apply = lambda given, part: _pointwise(traced, given)
        else:
            raise TypeError(f"tiles do not know {traced.target}")
        return node


class _Tracer(fx.Tracer):
    traced_func_name = "paint"

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        leaves = Norm | Noise | Transposed | nn.Conv2d
        return isinstance(m, leaves) or super().is_leaf_module(m, module_qualified_name)


def _whole(given: list[Tensor], part: Part) -> Tensor:
    return given[0]


def _pointwise(traced: fx.Node, given: list[Tensor]) -> Tensor:
    values = iter(given)
    arguments = [next(values) if isinstance(argument, fx.Node) else argument for argument in traced.args]
    result: Tensor = traced.target(*arguments)  # type: ignore[operator]
    return result


def _as_convolution(node: Node, module: nn.Conv2d, circular: bool) -> None:
    kernel, stride, padding = module.kernel_size[0], module.stride[0], int(module.padding[0])
    mode = padding_mode(module)
    node.size = (-(-node.size[0] // stride), -(-node.size[1] // stride))
    node.channels = module.out_channels
    node.macs = kernel**2 * module.in_channels * module.out_channels * node.size[0] * node.size[1]
    node.needs = lambda span: (span[0] * stride - padding, (span[1] - 1) * stride - padding + kernel)

    def apply(given: list[Tensor], part: Part) -> Tensor:
        return F.conv2d(_padded(given[0], part, node, mode), module.weight, module.bias, stride)

    node.apply = apply


def _padded(x: Tensor, part: Part, node: Node, mode: str) -> Tensor:
    """With a border where what the part needs lies outside the picture."""
    margins: list[int] = []
    for span, (start, end) in zip(part.box[::-1], part.given[0][::-1], strict=True):
        first, last = node.needs(span)
        margins += [start - first, last - end]
    return F.pad(x, margins, mode=mode) if any(margins) else x


def _as_enlarged(node: Node, module: Enlarged) -> None:
    node.macs = 16 * module.in_channels * module.out_channels * node.size[0] * node.size[1]
    node.size, node.channels = (2 * node.size[0], 2 * node.size[1]), module.out_channels
    node.needs = lambda span: (span[0] // 2 - 1, -(-span[1] // 2) + 1)

    def apply(given: list[Tensor], part: Part) -> Tensor:
        (top, bottom), (left, right) = part.box
        y = module.within(_padded(given[0], part, node, module.beyond))
        return y[..., top % 2 : top % 2 + bottom - top, left % 2 : left % 2 + right - left]

    node.apply = apply


def _as_transposed(node: Node, module: Transposed) -> None:
    """Output 2i + k - 1 sees input i through tap k."""
    enlarged = partial(
        F.conv_transpose2d, weight=module.weight, bias=module.bias, stride=2, padding=1, output_padding=1
    )
    node.macs = 9 * module.in_channels * module.out_channels * node.size[0] * node.size[1]
    node.size = (2 * node.size[0], 2 * node.size[1])
    node.channels = module.out_channels
    node.needs = lambda span: (span[0] // 2, span[1] // 2 + 1)
    node.apply = lambda given, part: _cut(enlarged(given[0]), part, 2)


def _as_upsampling(node: Node) -> None:
    node.size = (2 * node.size[0], 2 * node.size[1])
    node.needs = lambda span: (span[0] // 2, -(-span[1] // 2))
    node.apply = lambda given, part: _cut(F.interpolate(given[0], scale_factor=2, mode="nearest"), part, 2)


def _cut(x: Tensor, part: Part, factor: int) -> Tensor:
    """Of an enlargement of the input, the part that was asked for."""
    (top, bottom), (left, right) = part.box
    (y, _), (x0, _) = part.given[0]
    return x[..., top - factor * y : bottom - factor * y, left - factor * x0 : right - factor * x0]


def _as_pooling(node: Node, ratio: int) -> None:
    node.size = (node.size[0] // ratio, node.size[1] // ratio)
    node.needs = lambda span: (span[0] * ratio, span[1] * ratio)
    node.apply = lambda given, part: F.avg_pool2d(given[0], ratio)


def _as_noise(node: Node, module: Noise) -> None:
    node.channels = module.num_channels
    h, w = node.size

    def apply(given: list[Tensor], part: Part) -> Tensor:
        rows, columns = (torch.arange(*span) % side for span, side in zip(part.box, (h, w), strict=True))
        return fixed_noise(module.num_channels, rows, columns).to(given[0])

    node.apply = apply
