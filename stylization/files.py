"""Writing to disk: files that appear complete or not at all, and locks on folders."""

import contextlib
import errno
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from stylization.errors import InputError, warn

_UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}  # file systems of some clusters have no locks


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """A file that appears under `path` complete or not at all.

    It is written under a temporary name in the same folder, flushed to disk and renamed; then the folder is flushed.
    A full disk, a missing permission or an interruption leaves the earlier file in place; the first two raise
    `InputError`.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            yield file  # type: ignore[misc]  # the wrapper has the interface of the file it wraps
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
        _flush(path.parent)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def remove_unfinished(folder: Path, pattern: str) -> None:
    """Remove what a killed process left of its atomic writes to the files that match `pattern` in `folder`."""
    for path in folder.glob(f".{pattern}.*"):
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(path: Path, message: str) -> Iterator[None]:
    """Hold a lock on the file at `path`; raise `InputError` with this message if another process holds it.

    The lock belongs to this process alone: forked children do not inherit it, and it ends with the process however
    that ends. The file stays.
    """
    with path.open("a") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                raise InputError(message) from None
            if error.errno not in _UNSUPPORTED:
                raise
            warn(f"{path}: this file system has no locks; start no second run here")
        yield


def _flush(folder: Path) -> None:
    """Have the disk remember the names in a folder. Some file systems cannot, and need not."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
