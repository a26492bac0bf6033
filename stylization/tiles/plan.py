"""In which order norms get their statistics, and what is kept on the disk meanwhile."""

from stylization.normalization import Norm
from stylization.tiles.graph import Box, Graph, Span

FLOPS_PER_S, BYTES_PER_S = 80e9, 1e9  # of two cores and a disk: what is dearer to compute than to read is kept
WORKSPACE = 1.7  # measured: the process grew by 1.3 to 1.7 times the activations


class Plan:
    """In which order the norms get their statistics, and which nodes are kept on the disk meanwhile.

    Pass number p serves every norm that has p others in front of it, along the longest way; the last pass paints.
    """

    def __init__(self, graph: Graph, disk_bytes: float, bytes_per_value: int, statistics_known: bool = False) -> None:
        self.graph, self.bytes_per_value = graph, bytes_per_value
        self.wanted = [
            not statistics_known and node.norm is not None and node.norm.statistics in ("instance", "batch")
            for node in graph.nodes
        ]
        depth: list[int] = []  # how many passes must be over before a node can be computed
        for number, node in enumerate(graph.nodes):
            depth.append(max((depth[i] for i in node.inputs), default=0) + self.wanted[number])
        self.depth, last = depth, len(graph.nodes) - 1
        self.targets = [sorted({graph.nodes[n].inputs[0] for n in self.norms(p)}) for p in range(depth[last])] + [
            [last]
        ]
        self.kept: dict[int, int] = {}  # node -> the pass that computes it
        self._choose()
        while self.kept and self.peak_bytes > disk_bytes:
            del self.kept[max(self.kept, key=self.bytes)]

    def norms(self, p: int) -> list[int]:
        """The norms whose statistics pass p gathers."""
        return [n for n, wanted in enumerate(self.wanted) if wanted and self.depth[n] == p + 1]

    def frozen(self) -> list[int]:
        """The norms that were given statistics beforehand."""
        nodes = self.graph.nodes
        return [
            n
            for n, node in enumerate(nodes)
            if node.norm is not None and node.norm.statistics == "frozen" and not self.wanted[n]
        ]

    def norm(self, number: int) -> Norm:
        norm = self.graph.nodes[number].norm
        assert norm is not None
        return norm

    def bytes(self, number: int) -> int:
        node = self.graph.nodes[number]
        return node.channels * node.size[0] * node.size[1] * self.bytes_per_value

    def seconds(self, numbers: list[int], p: int) -> float:
        """To compute these nodes, and what they are made of, in pass p."""
        computed, read = self.needed(numbers, p)
        flops = 2 * sum(self.graph.nodes[n].macs for n in computed)
        return flops / FLOPS_PER_S + sum(map(self.bytes, read)) / BYTES_PER_S

    def needed(self, numbers: list[int], p: int) -> tuple[list[int], list[int]]:
        """Of what these nodes are made in pass p: the nodes to be computed, in order, and those to be read."""
        computed: set[int] = set()
        read: set[int] = set()
        stack = list(numbers)
        while stack:
            number = stack.pop()
            if number in computed or number in read:
                continue
            if self.kept.get(number, p) < p:
                read.add(number)
            else:
                computed.add(number)
                stack += self.graph.nodes[number].inputs
        return sorted(computed), sorted(read)

    def _choose(self) -> None:
        """Keep a node if reading it later costs less than computing it again.

        In the order of computation, then once more: what is kept behind a node may have made it dispensable.
        """
        for number in range(1, len(self.graph.nodes)):
            uses = [p for p in range(len(self.targets)) if number in self.needed(self.targets[p], p)[0]]
            if len(uses) > 1 and self.graph.nodes[number].norm is None:
                before = self.total_seconds
                self.kept[number] = uses[0]
                if self.total_seconds >= before:
                    del self.kept[number]
        for number, p in list(self.kept.items()):
            before = self.total_seconds
            del self.kept[number]
            if self.total_seconds > before:
                self.kept[number] = p

    @property
    def total_seconds(self) -> float:
        """Of all passes, by the two rates above."""
        passes = sum(self.seconds(targets, p) for p, targets in enumerate(self.targets))
        return passes + sum(map(self.bytes, self.kept)) / BYTES_PER_S

    @property
    def last_uses(self) -> dict[int, int]:
        """The last pass that reads a kept node."""
        uses = dict(self.kept)
        for p, targets in enumerate(self.targets):
            uses |= dict.fromkeys(self.needed(targets, p)[1], p)
        return uses

    @property
    def peak_bytes(self) -> int:
        """On the disk."""
        last = self.last_uses
        return max(
            sum(self.bytes(n) for n, first in self.kept.items() if first <= p <= last[n])
            for p in range(len(self.targets))
        )

    @property
    def relative_arithmetic(self) -> float:
        """Multiplications over those of the untiled computation, the tiles' overlap left out."""
        nodes = self.graph.nodes
        done = sum(nodes[n].macs for p, targets in enumerate(self.targets) for n in self.needed(targets, p)[0])
        return done / sum(node.macs for node in nodes)

    def boxes(self, p: int, core: Box) -> dict[int, Box]:
        """The part of each node, computed or read, that a tile of the picture takes in pass p."""
        nodes, boxes = self.graph.nodes, dict[int, Box]()
        for number in self.targets[p]:
            boxes[number] = self.within(number, core)
        for number in reversed(self.needed(self.targets[p], p)[0]):
            for given in nodes[number].inputs:
                box = self.given(number, given, boxes[number])
                boxes[given] = _union(boxes[given], box) if given in boxes else box
        return boxes

    def within(self, number: int, core: Box) -> Box:
        """A tile of the picture at a node's resolution."""
        ratio = self.graph.nodes[0].size[0] // self.graph.nodes[number].size[0]
        (top, bottom), (left, right) = core
        return (top // ratio, bottom // ratio), (left // ratio, right // ratio)

    def given(self, number: int, given: int, box: Box) -> Box:
        """The part of an input that a part of a node is made of: within the picture, unless that repeats itself."""
        node, (h, w) = self.graph.nodes[number], self.graph.nodes[given].size
        rows, columns = node.needs(box[0]), node.needs(box[1])
        if self.graph.circular:
            return rows, columns
        return _clipped(rows, h), _clipped(columns, w)

    def tile_bytes(self, p: int, core: Box) -> int:
        """How much memory a tile takes in pass p, at the moment when it takes most.

        Of activations, times `WORKSPACE` for what convolutions rearrange them into.
        """
        computed, read = self.needed(self.targets[p], p)
        boxes, most = self.boxes(p, core), 0
        last = {given: number for number in computed for given in self.graph.nodes[number].inputs}
        held: dict[int, int] = {}
        for number in sorted((*computed, *read)):
            (top, bottom), (left, right) = boxes[number]
            held[number] = self.graph.nodes[number].channels * (bottom - top) * (right - left) * self.bytes_per_value
            padded = max((held.get(given, 0) for given in self.graph.nodes[number].inputs), default=0)
            most = max(most, sum(held.values()) + padded)
            held = {n: size for n, size in held.items() if last.get(n, -1) > number}
        return int(WORKSPACE * most)


def _clipped(span: Span, side: int) -> Span:
    return max(span[0], 0), min(span[1], side)


def _union(one: Box, other: Box) -> Box:
    (a, b), (c, d) = one
    (e, f), (g, h) = other
    return (min(a, e), max(b, f)), (min(c, g), max(d, h))
