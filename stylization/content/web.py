"""HTTP requests whose answers are checked, and bounded in bytes and in time."""

import asyncio
import contextlib
import html
import re
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple
from urllib.parse import urljoin

import aiohttp

from stylization.errors import Damaged, InputError

START_S = 30.0  # until an answer must have begun to arrive
LEAST_RATE = 20_000  # bytes a second, on average from then on
MAX_LISTING_BYTES = 256 << 20  # of the pages of a folder, in all
MAX_FOLDERS = 10_000
LISTING_S = 600.0
SESSION = {
    "timeout": aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=30),
    "auto_decompress": False,  # sizes are those of the file, and a compressed answer cannot grow
}


class Facts(NamedTuple):
    """A file behind a URL: its size (None: the server does not say), and whether parts of it can be requested."""

    size: int | None
    ranges: bool
    etag: str | None = None
    modified: str | None = None

    @property
    def condition(self) -> dict[str, str]:
        """Headers that have the server refuse to send another file under this name."""
        if self.etag and self.etag.startswith('"'):  # a weak tag (W/) never matches
            return {"If-Match": self.etag}
        return {"If-Unmodified-Since": self.modified} if self.modified else {}


async def facts(session: aiohttp.ClientSession, url: str) -> Facts:
    """Ask for one byte: the answer to HEAD may be silent on ranges. A body that is the whole file is left unread."""
    async with _answer(session, url, {"Range": "bytes=0-0"}) as (answer, _):
        told = answer.headers.get("Content-Range", "")
        if answer.status == 416:  # the range of an empty file
            found = re.fullmatch(r"bytes \*/(\d{1,18})", told)
            return Facts(int(found[1]) if found else None, True)
        answer.raise_for_status()
        ranges = answer.status == 206
        size = answer.content_length
        if ranges:
            found = re.fullmatch(r"bytes 0-0/(\d{1,18}|\*)", told)
            if not found:
                raise InputError(f"the server of {url} answers bytes 0-0 by '{told[:80]}': download the file first")
            size = None if found[1] == "*" else int(found[1])
        else:
            answer.close()
        return Facts(size, ranges, answer.headers.get("ETag"), answer.headers.get("Last-Modified"))


async def part(session: aiohttp.ClientSession, url: str, offset: int, length: int, known: Facts) -> bytes:
    """Bytes of a file, of the same version as the facts."""
    last = offset + length - 1
    async with _answer(session, url, {"Range": f"bytes={offset}-{last}", **known.condition}) as (answer, progress):
        _check_unchanged(answer, url, known)
        answer.raise_for_status()
        if answer.status != 206:
            raise OSError("the server sends the whole file in place of a part")
        told = answer.headers.get("Content-Range", "")
        if told not in (f"bytes {offset}-{last}/{known.size}", f"bytes {offset}-{last}/*"):
            if re.fullmatch(rf"bytes {offset}-\d+/\d+", told) and not told.endswith(f"/{known.size}"):
                raise _changed(url)
            raise InputError(f"the server of {url} answers bytes {offset}-{last} by '{told[:80]}': download it first")
        content = bytearray()
        await _receive(answer, progress, content.extend, length, InputError(f"{url} sends more than {length} bytes"))
    if len(content) != length:
        raise OSError(f"{len(content)} bytes came instead of {length}")
    return bytes(content)


async def download(session: aiohttp.ClientSession, url: str, write: Callable[[bytes], object], known: Facts) -> None:
    """Write a whole file, of the size and version that the facts give."""
    assert known.size is not None
    async with _answer(session, url, known.condition) as (answer, progress):
        _check_unchanged(answer, url, known)
        answer.raise_for_status()
        excess = InputError(f"{url} sends more than the {known.size} bytes that it announced")
        num_bytes = await _receive(answer, progress, write, known.size, excess)
    if num_bytes != known.size:
        raise OSError(f"{num_bytes} bytes came instead of {known.size}")


async def whole(session: aiohttp.ClientSession, url: str, max_bytes: int) -> bytes:
    """A file of unknown size. Raises `Damaged` if that is more than `max_bytes`."""
    content = bytearray()
    async with _answer(session, url, {}) as (answer, progress):
        answer.raise_for_status()
        excess = Damaged(f"cannot read {url}: it has more than {max_bytes >> 20} MiB", "too large")
        await _receive(answer, progress, content.extend, max_bytes, excess)
    return bytes(content)


async def listing(session: aiohttp.ClientSession, url: str) -> list[str]:
    """The files below a folder that a server's pages link to."""
    base = url.rstrip("/") + "/"
    waiting, folders, found, left = [base], {base}, set(), MAX_LISTING_BYTES
    async with _within(LISTING_S, f"the listing of {base} took more than {LISTING_S:g} s"):
        while waiting:
            page = waiting.pop()
            content = await whole(session, page, left)
            left -= len(content)
            for link in re.findall(rb"""(?i)href\s{0,9}=\s{0,9}["']([^"'<>]{1,1000})["']""", content):
                target = _joined(page, link)
                if not target.startswith(base) or "?" in target:
                    continue
                if not target.endswith("/"):
                    found.add(target)
                elif target not in folders:
                    folders.add(target)
                    waiting.append(target)
            if len(folders) > MAX_FOLDERS:
                raise InputError(f"{base} lists more than {MAX_FOLDERS} folders: name the one with the pictures")
    return sorted(found)


def _joined(page: str, link: bytes) -> str:
    try:
        return urljoin(page, html.unescape(link.decode(errors="replace"))).split("#", 1)[0]
    except ValueError:  # no URL
        return ""


@contextlib.asynccontextmanager
async def _answer(
    session: aiohttp.ClientSession, url: str, headers: dict[str, str]
) -> AsyncIterator[tuple[aiohttp.ClientResponse, Any]]:
    """The answer to a request, its body not yet read, and the time limit, which `_receive` extends."""
    async with _within(START_S, f"it sends less than {LEAST_RATE / 1000:g} kB/s") as limit:
        try:
            async with session.get(url, headers={"Accept-Encoding": "identity", **headers}) as answer:
                encoding = answer.headers.get("Content-Encoding", "identity").lower()
                if encoding != "identity" and answer.status < 300:
                    raise Damaged(f"cannot read {url}: the server compresses it ({encoding[:20]})", "unreadable")
                yield answer, limit
        except (aiohttp.InvalidURL, aiohttp.TooManyRedirects) as error:
            raise Damaged(f"cannot read {url}: {type(error).__name__}", "unreadable") from None


@contextlib.asynccontextmanager
async def _within(seconds: float, message: str) -> AsyncIterator[asyncio.Timeout]:
    try:
        async with asyncio.timeout(seconds) as limit:
            yield limit
    except TimeoutError as error:  # fsspec takes the message of a TimeoutError away
        raise ConnectionError(str(error) or message) from None


async def _receive(
    answer: aiohttp.ClientResponse,
    limit: asyncio.Timeout,
    write: Callable[[bytes], object],
    max_bytes: int,
    excess: InputError,
) -> int:
    """Write the body, and return its length. Raises `excess` as soon as it is longer than `max_bytes`."""
    if (answer.content_length or 0) > max_bytes:
        raise excess
    started, num_bytes = asyncio.get_running_loop().time(), 0
    async for chunk in answer.content.iter_any():
        num_bytes += len(chunk)
        if num_bytes > max_bytes:
            raise excess
        write(chunk)
        limit.reschedule(started + START_S + num_bytes / LEAST_RATE)
    return num_bytes


def _check_unchanged(answer: aiohttp.ClientResponse, url: str, known: Facts) -> None:
    etag = answer.headers.get("ETag")
    if answer.status in (412, 416) or (answer.status < 300 and etag and known.etag and etag != known.etag):
        raise _changed(url)


def _changed(url: str) -> InputError:
    return InputError(f"{url} changed on its server while it was read: start again")
