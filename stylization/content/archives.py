"""Images inside archives, read where they lie: zip files, and tar shards in WebDataset's layout."""

import hashlib
import io
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from stylization.content import tar
from stylization.content.files import (
    MAX_IMAGE_BYTES,
    Cache,
    File,
    LocalFile,
    Reader,
    cache_folder,
    find_files,
    is_remote,
    open_file,
)
from stylization.errors import Damaged, InputError
from stylization.files import atomic_write
from stylization.images import SUFFIXES, is_hidden, is_picture

STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
_LOCAL_HEADER = 30  # bytes, before a zip member's name and extra field
SHARD_INDEX = "index.npz"
MAX_NAME_BYTES = 1024  # names of an index are all as wide as the longest
MAX_INDEX_BYTES = 1 << 30
MAX_SHARDS = 100_000

# Why a member cannot be used, in place of its method of compression: reason and detail.
BAD_HEADER, BAD_NAME, BAD_PLACE, TOO_LARGE, SPARSE, NO_FILE, ENCRYPTED, UNSUPPORTED = range(-8, 0)
UNUSABLE = {
    BAD_HEADER: ("corrupt", "the header is damaged; a member or more are lost here"),
    BAD_NAME: ("unreadable", f"its name is not UTF-8, or longer than {MAX_NAME_BYTES} bytes; rename it"),
    BAD_PLACE: ("corrupt", "it is said to lie outside the archive"),
    TOO_LARGE: ("too large", f"it has more than {MAX_IMAGE_BYTES >> 20} MiB"),
    SPARSE: ("unreadable", "it is stored as a sparse file; store it as a plain one"),
    NO_FILE: ("unreadable", "it is a link or a device; store the file itself"),
    ENCRYPTED: ("unreadable", "it is encrypted"),
    UNSUPPORTED: ("unreadable", "its compression is unsupported; only stored and deflated files can be read"),
}


class Index(NamedTuple):
    """The images of an archive as arrays, which processes share without copying; saved as an .npz.

    `starts[k]` is the first image of shard k and `starts[-1]` their number; `versions[k]` and `sizes[k]` say which
    file that was.
    """

    names: NDArray[np.bytes_]
    offsets: NDArray[np.int64]
    lengths: NDArray[np.int64]
    methods: NDArray[np.int64]  # of compression, as zip numbers them, or a key of UNUSABLE
    checksums: NDArray[np.int64]  # CRC-32, or -1
    starts: NDArray[np.int64]
    shards: NDArray[np.bytes_]
    sizes: NDArray[np.int64]
    versions: NDArray[np.bytes_]

    def name(self, index: int) -> str:
        return bytes(self.names[index]).decode(errors="backslashreplace")

    def check(self, index: int, archive: str) -> None:
        """Raise `Damaged` if an image cannot be used."""
        if unusable := UNUSABLE.get(int(self.methods[index])):
            raise Damaged(f"{self.name(index)} in {archive} cannot be used: {unusable[1]}", unusable[0])

    def save(self, path: Path) -> None:
        content = io.BytesIO()
        np.savez_compressed(content, **self._asdict())
        with atomic_write(path) as file:
            file.write(content.getvalue())

    @classmethod
    def load(cls, content: bytes) -> "Index | None":
        """The index that was saved, or None if that is damaged or inconsistent: nothing in it is believed unchecked."""
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                if sum(entry.file_size for entry in archive.infolist()) > MAX_INDEX_BYTES:
                    return None
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                index = cls(**{field: arrays[field] for field in cls._fields})
        except Exception:  # zipfile, zlib and NumPy raise a dozen kinds for damaged files
            return None
        return index if index._is_consistent() else None

    def _is_consistent(self) -> bool:
        texts = (self.names, self.shards, self.versions)
        numbers = (self.offsets, self.lengths, self.methods, self.checksums, self.starts, self.sizes)
        if any(x.ndim != 1 or x.dtype.kind != "S" for x in texts):
            return False
        if any(x.ndim != 1 or x.dtype != np.int64 for x in numbers):
            return False
        num_images, num_shards = len(self.names), len(self.shards)
        if {len(x) for x in (self.offsets, self.lengths, self.methods, self.checksums)} != {num_images}:
            return False
        if (len(self.starts), len(self.sizes), len(self.versions)) != (num_shards + 1, num_shards, num_shards):
            return False
        if self.starts[0] != 0 or self.starts[-1] != num_images or (np.diff(self.starts) < 0).any():
            return False
        if not np.isin(self.methods, (STORED, DEFLATED, *UNUSABLE)).all():
            return False
        sizes = np.repeat(self.sizes, np.diff(self.starts))
        lengths, offsets = self.lengths, self.offsets
        inside = (offsets >= 0) & (lengths >= 0) & (lengths <= MAX_IMAGE_BYTES) & (offsets <= sizes - lengths)
        return bool((inside | (self.methods < 0)).all())


class Member(NamedTuple):
    """An image in an archive, as an `Index` holds it; `encoded` is its name."""

    encoded: bytes
    offset: int
    length: int
    method: int
    checksum: int = -1


def _member(file: File, name: bytes, offset: int, length: int, method: int, checksum: int = -1) -> Member:
    """The member, or that it cannot be used, judged by its name and by the size of the archive."""
    if method >= 0 and not (len(name) <= MAX_NAME_BYTES and _is_text(name)):
        method = BAD_NAME
    elif method >= 0 and length > MAX_IMAGE_BYTES:
        method = TOO_LARGE
    elif method >= 0 and not (length >= 0 and 0 <= offset <= file.size - length):
        method = BAD_PLACE
    if method < 0:
        return Member(name[:MAX_NAME_BYTES], 0, 0, method)
    return Member(name, offset, length, method, checksum)


def _is_text(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def _index(files: Sequence[File], members: Sequence[Sequence[Member]]) -> Index:
    flat = [member for shard in members for member in shard]
    columns = list(zip(*flat, strict=True)) if flat else [()] * 5
    offsets, lengths, methods, checksums = (np.array(column, dtype=np.int64) for column in columns[1:])
    return Index(
        np.array(columns[0], dtype=np.bytes_),
        offsets,
        lengths,
        methods,
        checksums,
        np.cumsum([0, *(len(shard) for shard in members)], dtype=np.int64),
        np.array([_basename(file) for file in files], dtype=np.bytes_),
        np.array([file.size for file in files], dtype=np.int64),
        np.array([file.version.encode() for file in files], dtype=np.bytes_),
    )


def _basename(file: File) -> bytes:
    return PurePosixPath(file.name).name.encode("utf-8", "surrogateescape")


class Zip:
    """The images of a zip file, never unpacked: read in place, or by ranges where it is remote.

    A remote one costs its directory (100 bytes an image) before the first image. The directory is kept in the cache.
    Raises `InputError` if it is no zip, truncated, or holds no picture; `Damaged` for a member with a wrong checksum.
    """

    def __init__(self, path: str, cache_gb: float = 20.0, patience_s: float = 60.0) -> None:
        self.path = str(path)
        self.file = open_file(self.path, Cache(cache_gb), patience_s)
        kept = _kept_index([self.file], "zip")
        self.index = kept if kept is not None else self._read_directory()
        self.blocks = np.array([0, len(self)])
        if not len(self):
            raise InputError(f"no picture in {self.path} (looked for {' '.join(sorted(SUFFIXES))})")

    def _read_directory(self) -> Index:
        try:
            with zipfile.ZipFile(Reader(self.file)) as archive:
                entries = archive.infolist()
        except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error, OverflowError, IndexError) as error:
            raise InputError(f"{self.path} is no zip file, or a truncated one ({error}): fetch it again") from None
        rows = [self._member(entry) for entry in entries if is_picture(entry.filename) and not entry.is_dir()]
        index = _index([self.file], [rows])
        _keep_index(index, [self.file], "zip")
        return index

    def _member(self, entry: zipfile.ZipInfo) -> Member:
        method = entry.compress_type
        if entry.flag_bits & 1:
            method = ENCRYPTED
        elif method not in (STORED, DEFLATED):
            method = UNSUPPORTED
        elif entry.file_size > MAX_IMAGE_BYTES:
            method = TOO_LARGE
        name = entry.filename.encode("utf-8", "surrogateescape")
        return _member(self.file, name, entry.header_offset, entry.compress_size, method, entry.CRC)

    def __len__(self) -> int:
        return len(self.index.names)

    def name(self, index: int) -> str:
        return self.index.name(index)

    def read(self, index: int) -> bytes:
        self.index.check(index, self.path)
        offset, length = int(self.index.offsets[index]), int(self.index.lengths[index])
        named = _LOCAL_HEADER + len(self.index.names[index])
        content = self.file.read(offset, named + 64 + length)  # header, name, extra field (rarely 64 bytes), data
        if content[:4] != b"PK\x03\x04":
            raise Damaged(f"{self.name(index)} is not where {self.path} says it is", "truncated")
        start = _LOCAL_HEADER + int.from_bytes(content[26:28], "little") + int.from_bytes(content[28:30], "little")
        if start + length > len(content):
            content += self.file.read(offset + len(content), start + length - len(content))
        data = content[start : start + length]
        if int(self.index.methods[index]) == DEFLATED:
            inflate = zlib.decompressobj(-15)
            try:
                data = inflate.decompress(data, MAX_IMAGE_BYTES)
            except zlib.error as error:
                raise Damaged(f"{self.name(index)} in {self.path} is damaged: {error}", "corrupt") from None
            if inflate.unconsumed_tail:
                raise Damaged(f"{self.name(index)} in {self.path}: {UNUSABLE[TOO_LARGE][1]}", "too large")
        if zlib.crc32(data) != int(self.index.checksums[index]):
            raise Damaged(f"{self.name(index)} in {self.path} is damaged: wrong checksum", "corrupt")
        return data


class Shards:
    """The images of uncompressed tar files, as WebDataset lays them out: a folder, one file, `train-{000..117}.tar`,
    a pattern with *, or a URL of any of these.

    `stylization content pack` leaves an index beside its shards, which opens them at once. Others are indexed by
    walking their headers, once. Each shard is a block of the order: its images are read together, remote ones in
    blocks of `BLOCK_BYTES`, so that one pass fetches a shard once.
    """

    BLOCK_BYTES = 8 << 20

    def __init__(self, path: str, cache_gb: float = 20.0, patience_s: float = 60.0) -> None:
        self.path, self.cache, self.patience_s = str(path), Cache(cache_gb), patience_s
        locations = _shard_locations(self.path, patience_s)
        with ThreadPoolExecutor(16) as pool:
            self.files = list(pool.map(lambda x: open_file(x, self.cache, patience_s, self.BLOCK_BYTES), locations))
        kept = self._packed_index() or _kept_index(self.files, "tar")
        self.index = kept if kept is not None else self._read_headers(locations)
        self.blocks = np.unique(self.index.starts)
        if not len(self):
            raise InputError(f"no picture in {self.path} (looked for {' '.join(sorted(SUFFIXES))})")

    def _packed_index(self) -> Index | None:
        """The index that `stylization content pack` left, if the shards are all of those it knows."""
        location = self.files[0].name.rsplit("/", 1)[0] + "/" + SHARD_INDEX
        if not is_remote(location) and not Path(location).exists():
            return None
        try:
            file = open_file(location, self.cache, self.patience_s)
        except InputError:
            return None  # there is none: the headers tell as much
        index = Index.load(file.read(0, file.size)) if file.size <= MAX_INDEX_BYTES else None
        if index is None or list(index.shards) != [_basename(file) for file in self.files]:
            return None
        for size, file in zip(index.sizes, self.files, strict=True):
            if size != file.size:
                raise InputError(
                    f"{file.name} has {file.size} bytes, and {size} when {location} was made of it: "
                    f"pack again, or remove {SHARD_INDEX} to have the shards indexed as they are"
                )
        return index

    def _read_headers(self, locations: Sequence[str]) -> Index:
        def members(location: str) -> list[Member]:
            return _members(open_file(location, self.cache, self.patience_s))  # by small ranges, not by blocks

        with ThreadPoolExecutor(16 if is_remote(locations[0]) else 1) as pool:
            walk = tqdm(pool.map(members, locations), total=len(locations), desc="indexing", unit="shard", delay=2)
            index = _index(self.files, list(walk))
        _keep_index(index, self.files, "tar")
        return index

    def __len__(self) -> int:
        return len(self.index.names)

    def name(self, index: int) -> str:
        return f"{self.index.shards[self._shard(index)].decode(errors='backslashreplace')}/{self.index.name(index)}"

    def read(self, index: int) -> bytes:
        self.index.check(index, self.files[self._shard(index)].name)
        offset, length = int(self.index.offsets[index]), int(self.index.lengths[index])
        return self.files[self._shard(index)].read(offset, length)

    def _shard(self, index: int) -> int:
        return int(np.searchsorted(self.index.starts, index, side="right")) - 1


def index_shards(paths: Sequence[Path]) -> Index:
    """The index of local shards, read from their headers."""
    files = [LocalFile(path) for path in paths]
    return _index(files, [_members(file) for file in files])


def _members(file: File) -> list[Member]:
    return [member for entry in tar.entries(file) if (member := _tar_member(file, entry))]


def _tar_member(file: File, entry: tar.Entry) -> Member | None:
    """The image that a tar entry is, or None if it is none."""
    if not entry.kind:
        return _member(file, f"(header at byte {entry.offset})".encode(), 0, 0, BAD_HEADER)
    if entry.kind == tarfile.DIRTYPE or not is_picture(entry.name.decode("utf-8", "surrogateescape")):
        return None
    method = STORED
    if entry.kind == tarfile.GNUTYPE_SPARSE:
        method = SPARSE
    elif entry.kind not in tarfile.REGULAR_TYPES:
        method = NO_FILE
    return _member(file, entry.name, entry.offset, entry.size, method)


def _shard_locations(path: str, patience_s: float) -> list[str]:
    """The tar files that a folder, a name, a {000..117} range or a * pattern stands for, in their order."""
    if (span := re.search(r"\{(\d{1,9})\.\.(\d{1,9})\}", path)) and not Path(path).is_file():
        first, last = span.groups()
        if not 0 <= int(last) - int(first) < MAX_SHARDS:
            raise InputError(f"{path}: the range {span.group()} must go upwards, over {MAX_SHARDS} shards at most")
        names = [f"{k:0{len(first)}d}" for k in range(int(first), int(last) + 1)]
        return [path[: span.start()] + name + path[span.end() :] for name in names]
    if is_remote(path):
        found = [path] if path.endswith(".tar") else [x for x in find_files(path, patience_s) if x.endswith(".tar")]
        found = [x for x in found if not is_hidden(x.rsplit("/", 1)[1])]
    else:
        place = Path(path.removeprefix("file://")).expanduser()
        found = [str(place)] if place.is_file() else [str(x) for x in local_shards(place)]
    if not found:
        raise InputError(f"no tar files at {path} (a folder, a file, train-{{000..117}}.tar or a pattern with *)")
    return found


def local_shards(place: Path) -> list[Path]:
    """The tar files in a folder, or those that a pattern with * names, sorted; hidden files and folders are none."""
    folder, pattern = (place, "*.tar") if place.is_dir() else (place.parent, place.name)
    return sorted(x for x in folder.glob(pattern) if not is_hidden(x.name) and not x.is_dir())


def _index_path(files: Sequence[File], kind: str) -> Path:
    known = "\n".join(f"{file.name} {file.size} {file.version}" for file in files)
    digest = hashlib.sha256(f"{kind}{known}".encode("utf-8", "surrogateescape")).hexdigest()
    return cache_folder() / "indexes" / f"{digest[:32]}.npz"


def _kept_index(files: Sequence[File], kind: str) -> Index | None:
    """The index made of the very same files before: their names, sizes and versions are its name."""
    try:
        index = Index.load(_index_path(files, kind).read_bytes())
    except OSError:
        return None  # none yet
    if index is None or index.sizes.tolist() != [file.size for file in files]:
        return None  # damaged: it is made again
    return index


def _keep_index(index: Index, files: Sequence[File], kind: str) -> None:
    index.save(_index_path(files, kind))
