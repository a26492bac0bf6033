"""What a person handed over wrong, told in one line; everything else is a bug and keeps its traceback."""

import contextlib
import errno
import os
import re
import signal
import sys
import unicodedata
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

_REFUSALS = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST),
}

# The machine's: no fault of what was read.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)


def printable(text: object) -> str:
    """A text for a terminal: control characters, line breaks, bidirectional overrides and what is no character at all
    (the surrogates of a name that is not UTF-8) are escaped."""
    return "".join(c if unicodedata.category(c) not in _HIDDEN or c in _JOINERS else ascii(c)[1:-1] for c in str(text))


_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_JOINERS = "\u200c\u200d"  # inside words of some scripts, and emoji


class InputError(Exception):
    """An option, path, image or file that a person got wrong: says what, where and what to do, in one line."""

    def __str__(self) -> str:
        # A DataLoader's worker hands its exception on with its traceback in front.
        message = re.sub(r"(?s)\ACaught .*\nstylization\.errors\.\w+: ", "", super().__str__())
        return printable(message.strip())


class Damaged(InputError):
    """A picture that cannot be used, and the `reason` in a word or two, under which such pictures are counted."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


def warn(message: str) -> None:
    """Say on stderr, in one line, what is done otherwise than expected."""
    tell(f"warning: {message}")


@contextlib.contextmanager
def clear_errors() -> Iterator[None]:
    """Turn an `InputError` raised inside into its one line on stderr and exit status 2.

    So too where the machine refuses to write: a full disk, a missing permission, a file where a folder should be.
    Ctrl-C ends with exit status 130.
    """
    try:
        yield
    except InputError as error:
        _leave(str(error))
    except KeyboardInterrupt:
        _leave("interrupted", 128 + signal.SIGINT)
    except SystemExit as stopped:
        if stopped.code == 1 and isinstance(stopped.__context__, KeyboardInterrupt):  # so Lightning ends at Ctrl-C
            _leave("interrupted", 128 + signal.SIGINT)
        raise
    except BrokenPipeError:  # whoever read our output, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except OSError as error:
        if error.errno not in _REFUSALS:
            raise
        _leave(f"cannot use {error.filename or 'the disk'}: {error.strerror}")


def _leave(message: str, status: int = 2) -> NoReturn:
    tell(f"error: {message}" if status == 2 else message)
    raise SystemExit(status) from None


def tell(line: object) -> None:
    """Print a line on stderr."""
    print(printable(line), file=sys.stderr, flush=True)


@contextlib.contextmanager
def on_interruption(handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Inside, SIGINT and SIGTERM call this handler; afterwards those that they called before."""
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
