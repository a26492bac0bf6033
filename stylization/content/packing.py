"""A content source seen as a whole: check that every image of it can be used, or pack it into shards."""

import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from stylization import images
from stylization.content.archives import SHARD_INDEX, Shards, Zip, index_shards, local_shards
from stylization.content.files import is_remote
from stylization.content.sources import Source, folder
from stylization.content.stream import Skip, as_csv, counted, opened
from stylization.errors import Damaged, InputError, printable
from stylization.files import atomic_write


def open_source(location: str, cache_gb: float = 20.0, patience_s: float = 60.0) -> Source:
    """What lies at a path or URL: a zip, tar shards (also a folder of them) or a folder of pictures."""
    suffix = PurePosixPath(location).suffix.lower()
    if suffix == ".zip":
        return Zip(location, cache_gb, patience_s)
    remote = is_remote(location)
    packed = not remote and Path(location).expanduser().is_dir() and local_shards(Path(location).expanduser())
    if suffix == ".tar" or "*" in location or "{" in location or packed:
        return Shards(location, cache_gb, patience_s)
    if not remote and not Path(location).expanduser().exists():
        raise InputError(f"no content at {location}: neither a folder, nor a .zip, nor .tar shards")
    return folder(location, cache_gb, patience_s)


class Seen(NamedTuple):
    """An image as `check` found it: its size in pixels and bytes, and what is wrong with it, if anything."""

    name: str
    width: int
    height: int
    num_bytes: int
    reason: str
    detail: str


class Inspection(Dataset[Seen]):
    """Reads image `index` whole, decodes it at full size, and says what it is like."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Seen:
        name = self.source.name(index)
        try:
            picture = opened(self.source, index)
            side = min(picture.width, picture.height)
            picture.crop(0, 0, side, side)  # at full size: every pixel of the file is decoded
        except Damaged as error:
            return Seen(name, 0, 0, 0, error.reason, str(error))
        return Seen(name, picture.width, picture.height, len(picture.content), "", "")


def check(source: Source, num_workers: int) -> list[Seen]:
    """Every image of a source, read and decoded in parallel, in its order, with a progress bar."""
    bar = tqdm(in_parallel(Inspection(source), num_workers), total=len(source), unit="img", desc="checking")
    return list(bar)


def in_parallel(dataset: Dataset, num_workers: int) -> Iterator:
    """The items of a dataset in order, made by worker processes."""
    yield from DataLoader(dataset, batch_size=None, num_workers=num_workers, collate_fn=lambda x: x)


def told(seen: Sequence[Seen]) -> str:
    """The result of a check as text: how many, how large, and each damaged image with what is wrong with it."""
    sound, damaged = [x for x in seen if not x.reason], [x for x in seen if x.reason]
    lines = [f"{len(seen)} images, {len(sound)} of them sound"]
    if sound:
        short = np.sort([min(x.width, x.height) for x in sound])
        sizes = ", ".join(f"{name} {short[int(q * (len(short) - 1))]}" for name, q in _QUANTILES.items())
        total = sum(x.num_bytes for x in sound)
        lines.append(f"short side in px: {sizes}")
        lines.append(f"bytes: {total / 1e6:.1f} MB in all, {total / len(sound) / 1e3:.1f} kB an image")
    if damaged:
        lines.append(f"not usable: {counted(x.reason for x in damaged)}")
        lines += [f"  {x.name}: {x.reason}: {x.detail}" for x in damaged]
    return "\n".join(printable(line) for line in lines)


_QUANTILES = {"least": 0.0, "5%": 0.05, "median": 0.5, "95%": 0.95, "greatest": 1.0}


class Packed(NamedTuple):
    """An image on its way into a shard: its name there and its JPEG, or why there is none."""

    name: str
    jpeg: bytes
    skip: Skip | None = None


class Reduction(Dataset[Packed]):
    """Image `indices[i]` reduced to a short side of `side_px` at most and encoded as JPEG."""

    def __init__(self, source: Source, indices: range, side_px: int, quality: int) -> None:
        self.source, self.indices, self.side_px, self.quality = source, indices, side_px, quality

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, i: int) -> Packed:
        index = self.indices[i]
        name = self.source.name(index)
        try:
            picture = opened(self.source, index)
            image = images.shrink(images.read(picture.content, name), self.side_px)
        except Damaged as error:
            return Packed(name, b"", Skip(index, name, error.reason, str(error)))
        content = io.BytesIO()
        image.save(content, "JPEG", quality=self.quality)
        stem = _short(
            PurePosixPath(name).stem.replace(".", "_")
        )  # WebDataset takes all after the first dot for the suffix
        return Packed(f"{index:08d}_{_short(stem)}.jpg", content.getvalue())


def _short(stem: str) -> str:
    return stem.encode()[:80].decode(errors="ignore")  # a name in a ustar header has 100 bytes


def pack(
    source: Source,
    destination: Path,
    *,
    side_px: int,
    quality: int,
    images_per_shard: int,
    num_workers: int,
) -> list[Skip]:
    """Write a source as tar shards with an index and a `skipped.csv`; return the images left out.

    Each shard appears whole or not at all. Called again after an interruption, with the same settings on the same
    source, it keeps the shards that are there. Raises `InputError` if the destination holds anything else.
    """
    _claim(destination, source, {"side_px": side_px, "quality": quality, "images_per_shard": images_per_shard})
    starts = range(0, len(source), images_per_shard)
    paths = [destination / f"content-{k:06d}.tar" for k in range(len(starts))]
    with tqdm(total=len(source), unit="img", desc="packing") as bar:
        for start, path in zip(starts, paths, strict=True):
            indices = range(start, min(start + images_per_shard, len(source)))
            if path.exists():
                bar.update(len(indices))
            else:
                _write_shard(path, Reduction(source, indices, side_px, quality), num_workers, bar)
    notes = sorted(destination.glob("*.skipped.json"))
    skips = [Skip(*row) for note in notes for row in json.loads(note.read_text())]
    with atomic_write(destination / "skipped.csv") as file:
        file.write(as_csv(skips))
    index_shards(paths).save(destination / SHARD_INDEX)
    return skips


def _claim(destination: Path, source: Source, settings: dict[str, int]) -> None:
    """Make the destination ours, or find that it is: of this source, with these settings."""
    claim = destination / "packing.json"
    ours = json.dumps(settings | {"images": len(source), "first": source.name(0), "last": source.name(len(source) - 1)})
    if claim.exists():
        if claim.read_text() != ours:
            raise InputError(f"{destination} holds shards of another source or settings: give another destination")
    elif destination.exists() and any(destination.iterdir()):
        raise InputError(f"{destination} is not empty: give a new folder for the shards")
    else:
        with atomic_write(claim) as file:
            file.write(ours.encode())


def _write_shard(path: Path, reduction: Reduction, num_workers: int, bar: tqdm) -> None:
    skips = []
    with atomic_write(path) as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            for item in in_parallel(reduction, num_workers):
                bar.update()
                if item.skip:
                    skips.append(item.skip)
                    continue
                entry = tarfile.TarInfo(item.name)
                entry.size = len(item.jpeg)
                archive.addfile(entry, io.BytesIO(item.jpeg))
        if skips:  # before the shard is there, for it is its being there that says it is done
            with atomic_write(path.with_suffix(".skipped.json")) as note:
                note.write(json.dumps(skips).encode())
