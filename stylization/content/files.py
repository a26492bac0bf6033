"""Bytes by position, from a local file or from behind a URL: what archives are read through.

Remote ranges are kept in a cache on the local disk that all processes of the machine share.
"""

import asyncio
import contextlib
import errno
import fcntl
import functools
import hashlib
import io
import os
import stat
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar

import aiohttp
import fsspec
import fsspec.asyn
from tqdm import tqdm

from stylization.content import web
from stylization.errors import Damaged, InputError, printable
from stylization.files import atomic_write

T = TypeVar("T")

MAX_IMAGE_BYTES = 256 << 20  # of an encoded picture
MAX_READ_BYTES = 1 << 30  # of an archive at once, for its directory

_TRANSIENT = (OSError, asyncio.TimeoutError, aiohttp.ClientError)  # FSTimeoutError is the second's child
_FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)


class File(Protocol):
    """`size` bytes under a `name`; `version` changes when they do."""

    name: str
    size: int
    version: str

    def read(self, offset: int, length: int) -> bytes: ...


class LocalFile:
    """A regular file of this machine, read at positions of its own by every process and thread."""

    def __init__(self, path: Path) -> None:
        self.name = str(path.absolute())
        try:
            facts = _regular(path)
            with path.open("rb"):
                pass
        except (OSError, ValueError) as error:
            raise InputError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
        self.size, self.version = facts.st_size, f"{facts.st_size}-{facts.st_mtime_ns}"

    def read(self, offset: int, length: int) -> bytes:
        length = min(length, self.size - offset)
        if length <= 0 or offset < 0:
            return b""
        try:
            return os.pread(_opened(self.name, self.version).fileno(), length, offset)
        except OSError as error:
            message = f"cannot read {self.name}: {error.strerror or error}"
            if error.errno == errno.EIO:  # here; elsewhere in the file it may go well
                raise Damaged(message, "unreadable") from None
            raise InputError(message) from None


@functools.lru_cache(maxsize=64)  # closed when it leaves the cache: shards can outnumber what a process may open
def _opened(name: str, version: str) -> BinaryIO:
    return Path(name).open("rb", buffering=0)


def _regular(path: Path) -> os.stat_result:
    """The facts of a regular file. Raises `OSError` for a folder, and for a pipe or device, which may never end."""
    facts = path.stat()
    if not stat.S_ISREG(facts.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file")
    return facts


def read_whole(path: Path) -> bytes:
    """The bytes of a picture's file. Raises `OSError`."""
    if _regular(path).st_size > MAX_IMAGE_BYTES:
        raise OSError(errno.EFBIG, f"it has more than {MAX_IMAGE_BYTES >> 20} MiB")
    with path.open("rb") as file:
        return file.read(MAX_IMAGE_BYTES)


def cache_folder() -> Path:
    """Where indexes and remote ranges are kept: $STYLIZATION_CACHE, or stylization/ in the user's cache."""
    if chosen := os.environ.get("STYLIZATION_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stylization"


@dataclass(frozen=True)
class Cache:
    """Byte ranges on the local disk, the least recently used of them removed when they pass `gigabytes`."""

    gigabytes: float = 20.0

    def get(self, key: str, fetch: Callable[[], bytes], length: int | None = None) -> bytes:
        """The range under `key`, from the disk or else fetched: by one process only, the others wait for it.

        What is there and has not the `length` is damaged, and fetched again.
        """
        path = self.path(key)
        if (kept := _touched(path, length)) is not None:
            return kept
        with _locked(path):
            if (kept := _touched(path, length)) is not None:
                return kept
            content = fetch()
            with atomic_write(path) as file:
                file.write(content)
        self.trim(len(content))
        return content

    def path(self, key: str) -> Path:
        digest = hashlib.sha256(key.encode()).hexdigest()
        return cache_folder() / "ranges" / digest[:2] / digest[2:]

    def trim(self, num_bytes: int) -> None:
        """Count what was added; look at the disk, and make room, after every twentieth of the whole."""
        limit = self.gigabytes * 1e9
        _added[self] = _added.get(self, limit) + num_bytes
        if _added[self] < limit / 20:
            return
        _added[self] = 0
        found = []
        for path in (cache_folder() / "ranges").glob("??/*"):
            with contextlib.suppress(FileNotFoundError):  # removed by another process meanwhile
                facts = path.stat()
                found.append((facts.st_mtime_ns, facts.st_size, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= 0.9 * limit:
                break
            path.unlink(missing_ok=True)
            total -= size


_added: dict[Cache, float] = {}  # bytes this process added since it last looked; the first look is at once


def _touched(path: Path, length: int | None) -> bytes | None:
    try:
        content = path.read_bytes()
        os.utime(path)
    except FileNotFoundError:  # not there, or removed by another process meanwhile
        return None
    return content if length is None or len(content) == length else None


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time. The locks are a few files, shared by all paths, which are never removed."""
    folder = cache_folder() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / path.name[:2]).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class RemoteFile:
    """A file behind a URL that fsspec knows (http, s3, gs, ...), read by ranges through a cache.

    What fails for want of a connection is tried again, after 0.5, 1, 2, ... seconds, for `patience_s` in all; then
    `InputError` says that the source is gone. `block_bytes` fetches aligned blocks rather than the very ranges asked
    for. A server that knows no ranges has the file downloaded whole, if the cache may hold it.
    """

    def __init__(self, url: str, cache: Cache, patience_s: float = 60.0, block_bytes: int = 0) -> None:
        self.name, self.cache, self.patience_s, self.block_bytes = url, cache, patience_s, block_bytes
        self.facts = self._patiently(lambda: _facts(url))
        if self.facts.size is None:
            raise InputError(f"{url} does not say how large it is, so it cannot be read by ranges: download it first")
        self.size, self.ranges = self.facts.size, self.facts.ranges
        self.version = str(self.facts.etag or self.facts.modified)
        if not self.ranges and self.size > cache.gigabytes * 1e9:
            raise InputError(
                f"the server of {url} cannot send parts of a file, and its {self.size / 1e9:.1f} GB are more than the "
                f"cache may hold ({cache.gigabytes:g} GB): download it first, or raise cache_gb"
            )

    def read(self, offset: int, length: int) -> bytes:
        length = min(length, self.size - offset)
        if length <= 0:
            return b""
        if not self.ranges:
            with self._whole().open("rb") as file:
                file.seek(offset)
                return file.read(length)
        if not self.block_bytes:
            return self._range(offset, length)
        first, last = offset // self.block_bytes, (offset + length - 1) // self.block_bytes
        blocks = b"".join(
            self._range(k * self.block_bytes, min(self.block_bytes, self.size - k * self.block_bytes))
            for k in range(first, last + 1)
        )
        start = offset - first * self.block_bytes
        return blocks[start : start + length]

    def _key(self, part: str) -> str:
        return f"{self.name} {self.size} {self.version} {part}"

    def _range(self, offset: int, length: int) -> bytes:
        def fetch() -> bytes:
            if _is_http(self.name):
                return _over_http(self.name, web.part, offset, length, self.facts)
            content = bytes(_file_system(self.name).cat_file(_path(self.name), start=offset, end=offset + length))
            if len(content) != length:
                raise OSError(f"{len(content)} bytes came instead of {length}")
            return content

        return self.cache.get(self._key(f"{offset}+{length}"), lambda: self._patiently(fetch), length)

    def _whole(self) -> Path:
        """The whole file in the cache, downloaded with a progress bar if it is not there yet."""
        path = self.cache.path(self._key("whole"))

        def is_there() -> bool:
            return path.exists() and path.stat().st_size == self.size

        if not is_there():
            with _locked(path):
                if not is_there():
                    self._patiently(lambda: self._download(path))
            self.cache.trim(self.size)
        return path

    def _download(self, path: Path) -> None:
        bar = tqdm(total=self.size, unit="B", unit_scale=True, desc=f"no ranges there: all of {Path(self.name).name}")
        with bar, atomic_write(path) as file:  # only HTTP has servers without ranges

            def write(content: bytes) -> None:
                file.write(content)
                bar.update(len(content))

            _over_http(self.name, web.download, write, self.facts)

    def _patiently(self, fetch: Callable[[], T]) -> T:
        return patiently(fetch, self.name, self.patience_s)


def patiently(fetch: Callable[[], T], url: str, patience_s: float) -> T:
    """`fetch()`, again and again while the connection fails, until `patience_s` have passed."""
    deadline, pause = time.monotonic() + patience_s, 0.5
    while True:
        try:
            return fetch()
        except _FINAL as error:
            reason = "access denied" if isinstance(error, PermissionError) else "not there"
            raise Damaged(f"cannot read {url}: {reason}", "unreadable") from None
        except _TRANSIENT as error:
            status = getattr(error, "status", None)
            if isinstance(status, int) and 400 <= status < 500 and status not in (408, 429):
                reason = "not there" if status == 404 else f"the server answers {status}"
                raise Damaged(f"cannot read {url}: {reason}", "unreadable") from None
            if time.monotonic() + pause > deadline:
                reason = str(error) or type(error).__name__
                raise InputError(f"{url} is gone: no answer for {patience_s:g} s ({reason})") from None
            if pause == 0.5:
                tqdm.write(printable(f"{url} does not answer; trying again for {patience_s:g} s"), file=sys.stderr)
            time.sleep(pause)
            pause = min(2 * pause, 15.0)


@functools.lru_cache(maxsize=16)
def _of_protocol(protocol: str, process: int) -> Any:  # fsspec's connections do not survive a fork
    options: dict[str, Any] = {}
    if protocol in ("http", "https"):
        options["client_kwargs"] = web.SESSION
    try:
        return fsspec.filesystem(protocol, skip_instance_cache=True, **options)
    except ImportError as error:
        raise InputError(f"{protocol}:// needs one more package: {error}") from None
    except ValueError as error:
        raise InputError(str(error)) from None


def _file_system(url: str) -> Any:
    return _of_protocol(url.split("://", 1)[0], os.getpid())


def _is_http(url: str) -> bool:
    return url.startswith(("http://", "https://"))


def _over_http(url: str, request: Callable[..., Coroutine[Any, Any, T]], *arguments: object) -> T:
    """`request(session, url, *arguments)` of `web`, from any thread."""
    files = _file_system(url)

    async def requested() -> T:
        return await request(await files.set_session(), url, *arguments)

    result: T = fsspec.asyn.sync(files.loop, requested)
    return result


def _facts(url: str) -> web.Facts:
    """What is known of a remote file: its size, its version, and whether its server sends parts of it."""
    if _is_http(url):
        return _over_http(url, web.facts)
    known = _file_system(url).info(_path(url))
    etag, modified = known.get("ETag"), known.get("LastModified") or known.get("mtime")
    size = known.get("size")
    return web.Facts(None if size is None else int(size), True, etag and str(etag), modified and str(modified))


def _path(url: str) -> str:
    return url if _is_http(url) else url.split("://", 1)[1]


def is_remote(location: str) -> bool:
    return "://" in location and not location.startswith("file://")


def open_file(location: str, cache: Cache, patience_s: float = 60.0, block_bytes: int = 0) -> File:
    """The file at a path or URL. Raises `InputError` if it cannot be read."""
    if is_remote(location):
        return RemoteFile(location, cache, patience_s, block_bytes)
    return LocalFile(Path(location.removeprefix("file://")).expanduser())


def find_files(url: str, patience_s: float) -> list[str]:
    """All files below a folder behind a URL, sorted: what its protocol, or its server's listing pages, show."""
    if _is_http(url):
        return patiently(lambda: _over_http(url, web.listing), url, patience_s)
    files = _file_system(url)
    found = patiently(lambda: files.find(_path(url)), url, patience_s)
    return sorted(str(files.unstrip_protocol(path)) if "://" not in path else path for path in found)


def fetch(url: str, cache: Cache, patience_s: float) -> bytes:
    """A picture's file behind a URL, through the cache. It is known by its name there: small files are not asked for
    their version every time."""

    def fetched() -> bytes:
        if _is_http(url):
            return _over_http(url, web.whole, MAX_IMAGE_BYTES)
        files = _file_system(url)
        if (files.info(_path(url)).get("size") or 0) > MAX_IMAGE_BYTES:
            raise Damaged(f"cannot read {url}: it has more than {MAX_IMAGE_BYTES >> 20} MiB", "too large")
        return bytes(files.cat_file(_path(url)))

    return cache.get(f"{url} whole", lambda: patiently(fetched, url, patience_s))


class Reader(io.RawIOBase):
    """A `File` as the seekable stream that zipfile and tarfile expect."""

    def __init__(self, file: File) -> None:
        self.file, self.position = file, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.file.size}[whence]
        return self.position

    def tell(self) -> int:
        return self.position

    def read(self, size: int | None = -1) -> bytes:
        length = self.file.size - self.position if size is None or size < 0 else size
        if length > MAX_READ_BYTES:
            raise InputError(f"{self.file.name} is damaged: its directory claims {length} bytes")
        content = self.file.read(self.position, max(0, length))
        self.position += len(content)
        return content
