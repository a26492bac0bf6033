"""Activations on the disk."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stylization.tiles.graph import Box, Node, Span


@dataclass
class Store:
    """Activations on the disk, (h, w, c) each in a file of its own: what is read of a row lies together.

    The files have no names: whatever ends the process, they are gone with it.
    """

    folder: Path
    files: dict[int, Any] = field(default_factory=dict)

    def write(self, number: int, node: Node, box: Box, x: Tensor) -> None:
        file = self.files.get(number)
        if file is None:
            file = self.files[number] = tempfile.TemporaryFile(dir=self.folder, buffering=0)  # noqa: SIM115
        (top, _), (left, _) = box
        rows = x[0].permute(1, 2, 0).contiguous().cpu()
        row_bytes = rows.element_size() * node.channels
        for y, row in enumerate(rows.view(torch.uint8).numpy()):
            file.seek(((top + y) * node.size[1] + left) * row_bytes)
            file.write(row.data)

    def read(self, number: int, node: Node, box: Box, like: Tensor) -> Tensor:
        """(1, c, h, w), with `like`'s type and device; beyond the border the picture is repeated."""
        (top, bottom), (left, right) = box
        h, w = node.size
        rows = torch.empty((bottom - top, right - left, node.channels), dtype=like.dtype)
        pixel_bytes = rows.element_size() * node.channels
        into = rows.view(torch.uint8).numpy().reshape(bottom - top, -1)
        for y in range(top, bottom):
            for start, end in _wrapped((left, right), w):
                self.files[number].seek(((y % h) * w + start % w) * pixel_bytes)
                self.files[number].readinto(
                    into[y - top, (start - left) * pixel_bytes : (end - left) * pixel_bytes].data
                )
        return rows.permute(2, 0, 1)[None].to(like.device)

    def drop(self, number: int) -> None:
        self.files.pop(number).close()


def _wrapped(span: Span, side: int) -> Iterator[Span]:
    """A span cut where it crosses the border of a picture that repeats itself."""
    start, end = span
    while start < end:
        border = (start // side + 1) * side
        yield start, min(end, border)
        start = min(end, border)
