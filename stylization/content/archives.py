"""Images inside archives, read where they lie: zip files, and tar shards in WebDataset's layout."""

import hashlib
import io
import re
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

from stylization.content.files import Cache, File, LocalFile, Reader, cache_folder, find_files, is_remote, open_file
from stylization.errors import Damaged, InputError, written_whole
from stylization.images import SUFFIXES

STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
_LOCAL_HEADER = 30  # bytes, before a zip member's name and extra field
SHARD_INDEX = "index.npz"


class Index(NamedTuple):
    """The images of an archive as arrays, which processes share without copying; saved as an .npz.

    `starts[k]` is the first image of shard k and `starts[-1]` their number; `versions[k]` and `sizes[k]` say which
    file that was.
    """

    names: NDArray[np.bytes_]
    offsets: NDArray[np.int64]
    lengths: NDArray[np.int64]
    methods: NDArray[np.int64]  # of compression, as zip numbers them
    checksums: NDArray[np.int64]  # CRC-32, or -1
    starts: NDArray[np.int64]
    shards: NDArray[np.bytes_]
    sizes: NDArray[np.int64]
    versions: NDArray[np.bytes_]

    def name(self, index: int) -> str:
        return bytes(self.names[index]).decode()

    def save(self, path: Path) -> None:
        content = io.BytesIO()
        np.savez_compressed(content, **self._asdict())
        with written_whole(path) as file:
            file.write(content.getvalue())

    @classmethod
    def load(cls, content: bytes) -> "Index":
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return cls(**{field: arrays[field] for field in cls._fields})


Member = tuple[str, int, int, int, int]  # name, offset, length, method, checksum


def _index(files: Sequence[File], members: Sequence[Sequence[Member]]) -> Index:
    flat = [member for shard in members for member in shard]
    columns = list(zip(*flat, strict=True)) if flat else [()] * 5
    offsets, lengths, methods, checksums = (np.array(column, dtype=np.int64) for column in columns[1:])
    return Index(
        np.array([name.encode() for name in columns[0]], dtype=np.bytes_),
        offsets,
        lengths,
        methods,
        checksums,
        np.cumsum([0, *(len(shard) for shard in members)], dtype=np.int64),
        np.array([PurePosixPath(file.name).name.encode() for file in files], dtype=np.bytes_),
        np.array([file.size for file in files], dtype=np.int64),
        np.array([file.version.encode() for file in files], dtype=np.bytes_),
    )


def _is_image(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and "__MACOSX" not in path.parts


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
        except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            raise InputError(f"{self.path} is no zip file, or a truncated one ({error}): fetch it again") from None
        images = [e for e in entries if not e.is_dir() and _is_image(e.filename)]
        for entry in images:
            if entry.compress_type not in (STORED, DEFLATED) or entry.flag_bits & 1:
                kind = "encrypted" if entry.flag_bits & 1 else f"compressed by method {entry.compress_type}"
                raise InputError(f"{self.path}: {entry.filename} is {kind}; only stored and deflated files can be read")
        rows = [(e.filename, e.header_offset, e.compress_size, e.compress_type, e.CRC) for e in images]
        index = _index([self.file], [rows])
        _keep_index(index, [self.file], "zip")
        return index

    def __len__(self) -> int:
        return len(self.index.names)

    def name(self, index: int) -> str:
        return self.index.name(index)

    def read(self, index: int) -> bytes:
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
            try:
                data = zlib.decompress(data, -15)
            except zlib.error as error:
                raise Damaged(f"{self.name(index)} in {self.path} is damaged: {error}", "corrupt") from None
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
            index = Index.load(file.read(0, file.size))
        except (InputError, OSError, ValueError, KeyError, zipfile.BadZipFile):
            return None  # there is none, or it is not ours: the headers tell as much
        named = [PurePosixPath(file.name).name.encode() for file in self.files]
        if list(index.shards) != named:
            return None
        for shard, size, file in zip(index.shards, index.sizes, self.files, strict=True):
            if size != file.size:
                raise InputError(
                    f"{file.name} has {file.size} bytes, and {size} when {location} was made of it ({shard.decode()}): "
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
        return f"{self.index.shards[self._shard(index)].decode()}/{self.index.name(index)}"

    def read(self, index: int) -> bytes:
        offset, length = int(self.index.offsets[index]), int(self.index.lengths[index])
        return self.files[self._shard(index)].read(offset, length)

    def _shard(self, index: int) -> int:
        return int(np.searchsorted(self.index.starts, index, side="right")) - 1


def index_shards(paths: Sequence[Path]) -> Index:
    """The index of local shards, read from their headers."""
    files = [LocalFile(path) for path in paths]
    return _index(files, [_members(file) for file in files])


def _members(file: File) -> list[Member]:
    try:
        with tarfile.open(fileobj=Reader(file), mode="r:") as archive:
            found = [m for m in archive if m.isfile() and _is_image(m.name)]
    except tarfile.TarError as error:
        raise InputError(f"{file.name} is no uncompressed tar file, or a truncated one ({error})") from None
    if found and found[-1].offset_data + found[-1].size > file.size:
        raise InputError(f"{file.name} is truncated: {found[-1].name} ends after the file does")
    return [(m.name, m.offset_data, m.size, STORED, -1) for m in found]


def _shard_locations(path: str, patience_s: float) -> list[str]:
    """The tar files that a folder, a name, a {000..117} range or a * pattern stands for, in their order."""
    if span := re.search(r"\{(\d+)\.\.(\d+)\}", path):
        first, last = span.groups()
        names = [f"{k:0{len(first)}d}" for k in range(int(first), int(last) + 1)]
        return [path[: span.start()] + name + path[span.end() :] for name in names]
    if is_remote(path):
        found = [path] if path.endswith(".tar") else [x for x in find_files(path, patience_s) if x.endswith(".tar")]
    else:
        place = Path(path).expanduser()
        folder, pattern = (place, "*.tar") if place.is_dir() else (place.parent, place.name)
        found = sorted(str(x) for x in folder.glob(pattern))
    if not found:
        raise InputError(f"no tar files at {path} (a folder, a file, train-{{000..117}}.tar or a pattern with *)")
    return found


def _index_path(files: Sequence[File], kind: str) -> Path:
    known = "\n".join(f"{file.name} {file.size} {file.version}" for file in files)
    return cache_folder() / "indexes" / f"{hashlib.sha256(f'{kind}{known}'.encode()).hexdigest()[:32]}.npz"


def _kept_index(files: Sequence[File], kind: str) -> Index | None:
    """The index made of the very same files before: their names, sizes and versions are its name."""
    path = _index_path(files, kind)
    try:
        return Index.load(path.read_bytes())
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None  # none yet, or one that was cut: it is made again


def _keep_index(index: Index, files: Sequence[File], kind: str) -> None:
    index.save(_index_path(files, kind))
