"""Members of an uncompressed tar file, found by headers that are checked before they are believed.

Python's `tarfile` stops at the first damaged header without a word, and in some versions never ends on a negative size.
Its parser of one header is used here; the walk from header to header is not.
"""

import re
import tarfile
from collections.abc import Iterator
from typing import NamedTuple

from stylization.content.files import File
from stylization.errors import InputError

BLOCK = tarfile.BLOCKSIZE
MAX_EXTENSION = 1 << 20  # bytes of a long name or of pax records
MAX_GAP = 1 << 30  # bytes searched for headers, in all
_STEP = 1 << 20
_EXTENDED = 482  # of a GNU sparse header: whether a block of its map follows
_EXTENDED_MAP = 504  # the same in each such block
_PAX = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.XGLTYPE)


class Entry(NamedTuple):
    """A member: its name as stored, where its data begins, its size and its type; b"" is a damaged header at `offset`.

    A sparse file has type `tarfile.GNUTYPE_SPARSE`, in whichever way it is stored.
    """

    name: bytes
    offset: int
    size: int
    kind: bytes


def entries(file: File) -> Iterator[Entry]:
    """The members in their order. After a damaged header the next sound one is searched for.

    Raises `InputError` if the file does not begin as a tar file does, or if a size is negative or larger than what is
    left of the file.
    """
    position = gaps = 0
    extension: dict[bytes, bytes] = {}  # the pax records and long name of the member that follows
    while position + BLOCK <= file.size:
        block = file.read(position, BLOCK)
        header = _header(block)
        if header is None:
            if position == 0 and any(block):
                raise InputError(f"{file.name} is no uncompressed tar file: it does not begin with a header")
            following = _next_header(file, position, MAX_GAP - gaps)
            if following.damaged:
                yield Entry(b"", position, 0, b"")
            gaps += following.position - position
            position, extension = following.position, {}
            continue
        data = position + BLOCK
        if header.type in _PAX or header.type in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK):
            _check_size(file, header.name, data, header.size, MAX_EXTENSION)
            content = file.read(data, header.size)
            if header.type == tarfile.GNUTYPE_LONGNAME:
                extension[b"path"] = content.split(b"\0", 1)[0]
            elif header.type in _PAX[:2]:
                extension |= _pax_records(content)
            position = data + _padded(header.size)
            continue
        name = extension.get(b"GNU.sparse.name") or extension.get(b"path") or _encoded(header.name)
        size = _size(file, header, extension)
        if header.type == tarfile.GNUTYPE_SPARSE and block[_EXTENDED]:
            data = _after_map(file, data)
        has_data = header.isreg() or header.type not in tarfile.SUPPORTED_TYPES
        if has_data:
            _check_size(file, name.decode(errors="backslashreplace"), data, size, file.size)
        sparse = any(key.startswith(b"GNU.sparse.") for key in extension)
        yield Entry(name, data, size, tarfile.GNUTYPE_SPARSE if sparse else header.type)
        position, extension = data + (_padded(size) if has_data else 0), {}


class _Following(NamedTuple):
    position: int  # of the next header, or the end of the file
    damaged: bool  # whether anything but zeros was passed over


def _next_header(file: File, start: int, limit: int) -> _Following:
    position, damaged = start, False
    while position + BLOCK <= file.size:
        chunk = file.read(position, _STEP)
        for k in range(0, len(chunk) - BLOCK + 1, BLOCK):
            block = chunk[k : k + BLOCK]
            if block[257:262] == b"ustar" and _header(block):
                return _Following(position + k, damaged)
            damaged = damaged or any(block)
        position += len(chunk) - len(chunk) % BLOCK
        if position - start > limit or len(chunk) < BLOCK:
            raise InputError(f"{file.name} is damaged: no header for {position - start} bytes after byte {start}")
    return _Following(file.size, damaged)


def _header(block: bytes) -> tarfile.TarInfo | None:
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return None


def _size(file: File, header: tarfile.TarInfo, extension: dict[bytes, bytes]) -> int:
    stored = extension.get(b"size")
    if stored is None:
        return header.size
    if not re.fullmatch(rb"\d{1,20}", stored):
        raise InputError(f"{file.name} is damaged: {header.name} has a pax record of size {stored[:20]!r}")
    return int(stored)


def _check_size(file: File, name: str, data: int, size: int, limit: int) -> None:
    if not 0 <= size <= min(limit, file.size - data):
        raise InputError(
            f"{file.name} is damaged or truncated: {name[:200]} at byte {data} claims {size} bytes, "
            f"{max(0, file.size - data)} are left"
        )


def _after_map(file: File, position: int) -> int:
    while block := file.read(position, BLOCK):
        position += BLOCK
        if len(block) < BLOCK or not block[_EXTENDED_MAP]:
            break
    return position


def _pax_records(content: bytes) -> dict[bytes, bytes]:
    records: dict[bytes, bytes] = {}
    position = 0
    while found := re.compile(rb"(\d{1,7}) ([^=]+)=").match(content, position):
        end = position + int(found[1])
        if end <= found.end():
            break
        records[found[2]] = content[found.end() : end - 1]  # a line feed ends each
        position = end
    return records


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _encoded(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
