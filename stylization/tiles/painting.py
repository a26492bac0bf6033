"""Passes over a picture, tile by tile: the norms' statistics first, then the picture."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stylization.errors import InputError
from stylization.generators.blocks import Generator
from stylization.normalization import Norm, statistics_restored
from stylization.tiles.graph import Box, Graph, Part, Span
from stylization.tiles.plan import Plan
from stylization.tiles.store import Store

Read = Callable[[Span, Span], Tensor]  # rows and columns of the picture -> (1, 3, h, w) in [0, 1]
Write = Callable[[Box, Tensor], None]
Watch = Callable[[float], None]  # is told by how much of the whole the work has gone on
LEAST_TILE_PX = 64


@dataclass
class Moments:
    """The mean and the biased variance of each group of channels, gathered part by part (Chan et al. 1979)."""

    num: int = 0
    mean: Any = 0.0
    var: Any = 0.0

    def add(self, num: int, mean: Tensor, var: Tensor) -> None:
        mean, var = mean.double(), var.double()
        total = self.num + num
        shift = mean - self.mean
        self.var = (self.num * self.var + num * var + shift.square() * (self.num * num / total)) / total
        self.mean = self.mean + shift * (num / total)
        self.num = total

    def give(self, norm: Norm, like: Tensor) -> None:
        """Freeze the norm at these statistics."""
        norm.frozen_mean, norm.frozen_var = (x.to(like.device, torch.float32) for x in (self.mean, self.var))
        norm.statistics = "frozen"

    def deviation(self, norm: Norm) -> float:
        """The mean square of what a frozen norm's statistics put normalized activations off, against these."""
        assert norm.frozen_mean is not None and norm.frozen_var is not None
        mean, std = norm.frozen_mean.cpu().double(), (norm.frozen_var.cpu().double() + norm.eps).sqrt()
        own_std = (self.var.cpu() + norm.eps).sqrt()
        off = ((self.mean.cpu() - mean) / std).square() + (own_std / std - 1).square()
        return float(off.mean())


class Tiled:
    """A generator in eval mode, applied to pictures by tiles within `memory_bytes` of activations.

    `folder` is where activations are kept meanwhile; None takes the system's folder for temporary files. After a call
    with norms frozen elsewhere, `deviation` is by how many standard deviations their statistics put activations off
    (root mean square), as against those of the picture itself.
    """

    deviation = 0.0

    def __init__(self, generator: Generator, memory_bytes: float, folder: Path | None = None) -> None:
        self.generator, self.memory_bytes = generator, memory_bytes
        self.folder = folder or Path(tempfile.gettempdir())
        self.like = next(generator.parameters())

    def __call__(self, size: tuple[int, int], read: Read, write: Write, watch: Watch = lambda share: None) -> Plan:
        """Repaint a picture of (h, w) pixels that `read` gives in parts; `write` gets parts of (1, 3, h, w).

        Raises `InputError` if not even small tiles go into the memory.
        """
        with statistics_restored(self.generator):
            return self._passes(size, read, write, watch)

    def freeze(self, size: tuple[int, int], read: Read, watch: Watch = lambda share: None) -> None:
        """Freeze the norms at their statistics of a picture."""
        self._passes(size, read, None, watch)

    @torch.no_grad()
    def _passes(self, size: tuple[int, int], read: Read, write: Write | None, watch: Watch) -> Plan:
        whole = self.generator.enlarged(size)
        plan = Plan(Graph(self.generator, whole), self._disk_bytes(), self.like.element_size())
        passes = plan.targets if write is not None else plan.targets[:-1]
        tiles = [list(_tiles(whole, self._side(plan, p))) for p in range(len(passes))]
        seconds = [plan.seconds(targets, p) for p, targets in enumerate(passes)]
        store = Store(self.folder)
        for p, cores in enumerate(tiles):
            frozen = plan.frozen() if p == len(plan.targets) - 1 else []
            moments = {n: Moments() for n in (*plan.norms(p), *frozen)}
            for core in cores:
                painted = self._paint(plan, p, core, _Source(read, size), store, moments)
                if write is not None and painted is not None:
                    _write_within(size, core, painted, write)
                watch(seconds[p] / sum(seconds) / len(cores))
            for number in plan.norms(p):
                moments[number].give(plan.norm(number), self.like)
            deviations = [moments[number].deviation(plan.norm(number)) for number in frozen]
            self.deviation = sum(d / len(deviations) for d in deviations) ** 0.5
            for number in [n for n, last in plan.last_uses.items() if last == p]:
                store.drop(number)
        return plan

    def _disk_bytes(self) -> float:
        return 0.9 * shutil.disk_usage(self.folder).free

    def _side(self, plan: Plan, p: int) -> int:
        """The side of the largest tiles whose activations go into the memory."""
        h, w = plan.graph.nodes[0].size
        step = max(self.generator.multiple, LEAST_TILE_PX)
        side = -(-max(h, w) // step) * step
        while plan.tile_bytes(p, _central((h, w), side, step)) > self.memory_bytes:
            if side == step:
                raise InputError(
                    f"--memory: tiles of {step} px need more than the {self.memory_bytes / 1e6:.0f} MB left"
                )
            side = max(step, int(side / 1.1) // step * step)
        return side

    def _paint(
        self, plan: Plan, p: int, core: Box, source: "_Source", store: Store, moments: dict[int, Moments]
    ) -> Tensor | None:
        """Compute a tile in pass p: keep what is to be kept, gather moments, and in the last pass return it."""
        nodes, boxes = plan.graph.nodes, plan.boxes(p, core)
        computed, kept = plan.needed(plan.targets[p], p)
        last = {given: number for number in computed for given in nodes[number].inputs}
        values: dict[int, Tensor] = {}
        for number in sorted((*computed, *kept)):
            node, box = nodes[number], boxes[number]
            if number in kept:
                values[number] = store.read(number, node, box, self.like)
                continue
            if not node.inputs:
                values[number] = source(box, node.size).to(self.like).contiguous(memory_format=torch.channels_last)
            else:
                given = [plan.given(number, i, box) for i in node.inputs]
                parts = [_part(values[i], boxes[i], part) for i, part in zip(node.inputs, given, strict=True)]
                values[number] = node.apply(parts, Part(box, given))
            own = plan.within(number, core)
            if plan.kept.get(number) == p:
                store.write(number, node, own, _part(values[number], box, own))
            for norm in (n for n in moments if nodes[n].inputs[0] == number):
                part = _part(values[number], box, own)
                moments[norm].add(part[0, 0].numel(), *plan.norm(norm).moments(part.float()))
            for given_number in [i for i in values if last.get(i, -1) == number]:
                del values[given_number]
        return values.get(len(nodes) - 1)


@dataclass
class _Source:
    """The picture as a generator wants it: enlarged by its last row and column, or repeated."""

    read: Read
    size: tuple[int, int]

    def __call__(self, box: Box, whole: tuple[int, int]) -> Tensor:
        spans = []
        for (start, end), side, enlarged in zip(box, self.size, whole, strict=True):
            wanted = torch.arange(start, end).remainder(enlarged).clamp(max=side - 1)
            spans.append((int(wanted.min()), int(wanted.max()) + 1, wanted))
        x = self.read(*((low, high) for low, high, _ in spans))
        for dim, (low, _, wanted) in zip((2, 3), spans, strict=True):
            x = x.index_select(dim, wanted - low)
        return x


def _tiles(size: tuple[int, int], side: int) -> Iterator[Box]:
    """From left to right, from top to bottom."""
    h, w = size
    for top in range(0, h, side):
        for left in range(0, w, side):
            yield (top, min(top + side, h)), (left, min(left + side, w))


def _central(size: tuple[int, int], side: int, step: int) -> Box:
    """A tile in the middle, which overlaps with others on all sides."""
    spans = [
        (0, length) if side >= length else (start := (length - side) // 2 // step * step, start + side)
        for length in size
    ]
    return spans[0], spans[1]


def _part(x: Tensor, box: Box, wanted: Box) -> Tensor:
    if box == wanted:
        return x
    (top, _), (left, _) = box
    (y0, y1), (x0, x1) = wanted
    return x[..., y0 - top : y1 - top, x0 - left : x1 - left]


def _write_within(size: tuple[int, int], core: Box, painted: Tensor, write: Write) -> None:
    (top, bottom), (left, right) = core
    box = (top, min(bottom, size[0])), (left, min(right, size[1]))
    if top < size[0] and left < size[1]:
        write(box, painted[..., : box[0][1] - top, : box[1][1] - left])


def untiled_bytes(generator: Generator, size: tuple[int, int]) -> int:
    """How much memory the activations of a whole picture take, at the moment when they take most."""
    like = next(generator.parameters())
    h, w = generator.enlarged(size)
    plan = Plan(Graph(generator, (h, w)), 0, like.element_size(), statistics_known=True)
    return plan.tile_bytes(0, ((0, h), (0, w)))


def tiled_cost(generator: Generator, size: tuple[int, int], folder: Path | None = None) -> tuple[float, float]:
    """About how many bytes on the disk and how many seconds on two cores painting by tiles takes."""
    free = 0.9 * shutil.disk_usage(folder or tempfile.gettempdir()).free
    plan = Plan(Graph(generator, generator.enlarged(size)), free, next(generator.parameters()).element_size())
    return plan.peak_bytes, plan.total_seconds
