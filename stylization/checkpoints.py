"""Checkpoints on disk: written atomically, verified when read.

A checkpoint is a file of `torch.save`, a zip archive of uncompressed entries with a CRC-32 each, which `torch.load`
does not compare. Here all are compared before anything is loaded, and the sizes with that of the file.
"""

import io
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from lightning.fabric.plugins import CheckpointIO
from torch import Tensor

from stylization.errors import InputError, warn
from stylization.files import atomic_write
from stylization.launch import rank

LAST = "last.ckpt"
PARTS = {"state_dict": dict, "optimizer_states": list, "lr_schedulers": list, "global_step": int, "settings": dict}


class Checkpoints(CheckpointIO):
    """Lightning's reading and writing of checkpoints, replaced by `read` and an atomic write beside the target."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        content = io.BytesIO()  # first, so that a full disk is an OSError of the file and not one of torch.save
        torch.save(checkpoint, content)
        with atomic_write(Path(path)) as file:
            file.write(content.getbuffer())

    def load_checkpoint(self, path: str | Path, map_location: Any = None, weights_only: Any = None) -> dict[str, Any]:
        return read(Path(path))

    def remove_checkpoint(self, path: str | Path) -> None:
        Path(path).unlink(missing_ok=True)


def read(path: Path) -> dict[str, Any]:
    """The content of a checkpoint of a run, on the CPU. Runs no code from the file.

    Raises `InputError` if it is missing, damaged, holds numbers that are not finite, or is no checkpoint of a run.
    """
    if not path.is_file():
        raise InputError(f"resume={path}: no such checkpoint; give the path of a .ckpt file")
    try:
        _verify(path)
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, ValueError, RuntimeError, EOFError, LookupError, AttributeError, TypeError) as error:
        raise InputError(f"resume={path}: corrupt or no checkpoint; {_OTHER}") from error
    except (zipfile.BadZipFile, zlib.error, UnpicklingError, NotImplementedError) as error:
        raise InputError(f"resume={path}: corrupt or no checkpoint; {_OTHER}") from error
    if not isinstance(checkpoint, dict) or not all(isinstance(checkpoint.get(key), PARTS[key]) for key in PARTS):
        raise InputError(f"resume={path}: no checkpoint of a run of this version; {_OTHER}")
    if name := first_not_finite(checkpoint):
        raise InputError(f"resume={path}: {name} holds numbers that are not finite; {_OTHER}")
    return checkpoint


_OTHER = "give another checkpoint"


def _verify(path: Path) -> None:
    """Compare the size and checksum of each entry. Raises `ValueError` or what `zipfile` raises."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)
        if not stored or sum(entry.file_size for entry in entries) > path.stat().st_size:
            raise ValueError("sizes of entries that torch.save does not write")
        if (name := archive.testzip()) is not None:
            raise ValueError(f"wrong checksum of {name}")


def to_resume(path: Path) -> tuple[Path, dict[str, Any]]:
    """The checkpoint at `path` and its content. Raises `InputError`.

    If it is a run's last.ckpt, and missing or not sound, the newest sound one of the same run takes its place, which
    is printed in one line.
    """
    try:
        return path, read(path)
    except InputError as error:
        if path.name != LAST:
            raise
        for other in others(path):
            try:
                checkpoint = read(other)
            except InputError:
                continue
            if rank() == 0:
                warn(f"{error}: continuing from {other.name}, the newest sound one")
            return other, checkpoint
        raise


def others(last: Path) -> Sequence[Path]:
    """The checkpoints beside a run's last one, newest first."""
    found = [path for path in last.parent.glob("*.ckpt") if path != last and path.is_file()]
    return sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)


def first_not_finite(checkpoint: Mapping[str, Any]) -> str | None:
    """The name of the first weight, or else of the first state of the optimizer, with NaN or infinity in it."""
    for part in ("state_dict", "optimizer_states"):
        for name, tensor in _tensors(checkpoint.get(part), "" if part == "state_dict" else part):
            if not torch.isfinite(tensor).all():
                return name
    return None


def _tensors(node: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(node, Tensor):
        yield name, node
    elif isinstance(node, Mapping | list | tuple):
        for key, value in node.items() if isinstance(node, Mapping) else enumerate(node):
            yield from _tensors(value, f"{name}.{key}" if name else str(key))
