"""What a person handed over wrong, told in one line; everything else is a bug and keeps its traceback."""

import contextlib
import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import FrameType
from typing import BinaryIO, NoReturn

_REFUSALS = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST),
}


class InputError(Exception):
    """An option, path, image or file that a person got wrong: says what, where and what to do, in one line."""


class Damaged(InputError):
    """A picture that cannot be used, and the `reason` in a word or two, under which such pictures are counted."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


@contextlib.contextmanager
def clear_errors() -> Iterator[None]:
    """Turn an `InputError` raised inside into its one line on stderr and exit status 2.

    So too where the machine refuses to write: a full disk, a missing permission, a file where a folder should be.
    """
    try:
        yield
    except InputError as error:
        # A DataLoader's worker hands its exception on with its traceback in front: the last line is the message.
        _leave(str(error).strip().splitlines()[-1].removeprefix("stylization.errors.InputError: "))
    except BrokenPipeError:  # whoever read our output, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except OSError as error:
        if error.errno not in _REFUSALS:
            raise
        _leave(f"cannot use {error.filename or 'the disk'}: {error.strerror}")


def _leave(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(2)


def written_whole(path: Path) -> AbstractContextManager[BinaryIO]:
    """`files.atomic_write`, under its earlier name."""
    from stylization.files import atomic_write

    return atomic_write(path)


@contextlib.contextmanager
def on_interruption(handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Inside, SIGINT and SIGTERM call this handler; afterwards those that they called before."""
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
