"""Where content images come from: a length, and the name and bytes of image i."""

import hashlib
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stylization.content.files import Cache, fetch, find_files, is_remote, read_whole
from stylization.errors import Damaged, InputError
from stylization.images import SUFFIXES, is_picture, pictures_below

_FIRST = 2  # a key that keeps this use of a seed apart from the stream's


# Colour photographs inside the wheels of scikit-image and scikit-learn: nothing to download.
TRAIN_SAMPLES = (
    "skimage/data/astronaut.png",
    "skimage/data/hubble_deep_field.jpg",
    "skimage/data/ihc.png",
    "skimage/data/motorcycle_left.png",
    "skimage/data/retina.jpg",
    "skimage/data/rocket.jpg",
    "sklearn/datasets/images/flower.jpg",
)
HELD_OUT_SAMPLES = (
    "skimage/data/chelsea.png",
    "sklearn/datasets/images/china.jpg",
    "skimage/data/coffee.png",
)


class Source(Protocol):
    """Encoded images by number; reading one does not depend on having read another.

    `blocks` are the numbers at which its blocks begin, and its length last: runs of images that are best read
    together. Most sources are one block. `read` raises `Damaged` for an image that cannot be read.
    """

    blocks: NDArray[np.int64]

    def __len__(self) -> int: ...

    def name(self, index: int) -> str: ...

    def read(self, index: int) -> bytes: ...


class Files:
    """Image files of this machine, in the order given, named by their paths below `root`."""

    def __init__(self, paths: Sequence[Path], root: Path | None = None) -> None:
        # One array rather than a list of objects, whose reference counts would copy it into every worker.
        self.paths = np.array([os.fsencode(path) for path in paths], dtype=np.bytes_)
        self.root = root
        self.blocks = np.array([0, len(self.paths)])

    def __len__(self) -> int:
        return len(self.paths)

    def path(self, index: int) -> Path:
        return Path(os.fsdecode(bytes(self.paths[index])))

    def name(self, index: int) -> str:
        return self._name(index).decode(errors="backslashreplace")

    def _name(self, index: int) -> bytes:
        path = self.path(index)
        return os.fsencode(path.relative_to(self.root) if self.root else path.name)

    def read(self, index: int) -> bytes:
        try:
            self._name(index).decode()
            return read_whole(self.path(index))
        except UnicodeDecodeError:  # no record of the run could name it
            raise Damaged(f"cannot read {self.name(index)}: its name is not UTF-8; rename it", "unreadable") from None
        except OSError as error:
            raise Damaged(f"cannot read {self.path(index)}: {error.strerror or error}", "unreadable") from None


class RemoteFiles:
    """Image files behind a URL, in the order given, fetched whole through the cache."""

    def __init__(self, urls: Sequence[str], root: str, cache_gb: float = 20.0, patience_s: float = 60.0) -> None:
        self.urls = np.array([url.encode() for url in urls], dtype=np.bytes_)
        self.root, self.cache, self.patience_s = root.rstrip("/") + "/", Cache(cache_gb), patience_s
        self.blocks = np.array([0, len(self.urls)])

    def __len__(self) -> int:
        return len(self.urls)

    def name(self, index: int) -> str:
        return bytes(self.urls[index]).decode().removeprefix(self.root)

    def read(self, index: int) -> bytes:
        return fetch(bytes(self.urls[index]).decode(), self.cache, self.patience_s)


class Part:
    """Some images of a source: `part[i]` is `source[indices[i]]`, in the source's order and blocks."""

    def __init__(self, source: Source, indices: NDArray[np.int64]) -> None:
        self.source, self.indices = source, np.sort(indices)
        self.blocks = np.unique(np.searchsorted(self.indices, source.blocks))

    def __len__(self) -> int:
        return len(self.indices)

    def name(self, index: int) -> str:
        return self.source.name(int(self.indices[index]))

    def read(self, index: int) -> bytes:
        return self.source.read(int(self.indices[index]))


def first(source: Source, num_images: int | None, seed: int) -> Source:
    """The first `num_images` of a permutation of the source: of the same seed, fewer are a part of more."""
    if num_images is None:
        return source
    if not 1 <= num_images <= len(source):
        raise InputError(f"data.num_images={num_images}: the source has {len(source)} images to choose from")
    return Part(source, np.random.default_rng((_FIRST, seed)).permutation(len(source))[:num_images])


def last_images(source: Source, num_images: int) -> Part:
    """The last `num_images` of a source: those that distillation leaves unread."""
    return Part(source, np.arange(max(0, len(source) - num_images), len(source)))


def by_hash(source: Source) -> NDArray[np.int64]:
    """The images in the order of their names' hashes: what comes first there is a choice that depends on no seed and
    on no order, and that stays when other images are added."""
    digests = [hashlib.sha256(source.name(i).encode()).digest()[:8] for i in range(len(source))]
    return np.argsort(np.array([int.from_bytes(x) for x in digests], dtype=np.uint64), kind="stable")


def folder(path: str | Path, cache_gb: float = 20.0, patience_s: float = 60.0) -> Files | RemoteFiles:
    """All pictures below a folder, local or behind a URL, sorted by path. Raises `InputError` if there are none."""
    sought = f"(looked for {' '.join(sorted(SUFFIXES))})"
    if is_remote(str(path)):
        base = str(path).rstrip("/") + "/"
        urls = [url for url in find_files(str(path), patience_s) if is_picture(url.removeprefix(base))]
        if not urls:
            raise InputError(f"no picture listed below {path} {sought}")
        return RemoteFiles(urls, str(path), cache_gb, patience_s)
    root = Path(path).expanduser()
    if not root.is_dir():
        raise InputError(f"no folder of content images at {root}")
    paths = pictures_below(root)
    if not paths:
        raise InputError(f"no picture below {root} {sought}")
    return Files(paths, root)


def train_samples() -> Files:
    """Seven photographs that installed libraries carry, to learn from."""
    return _samples(TRAIN_SAMPLES)


def held_out_samples() -> Files:
    """Three more, a cat, a temple and a cup of coffee, that training never sees."""
    return _samples(HELD_OUT_SAMPLES)


def _samples(names: Sequence[str]) -> Files:
    return Files([_site_packages(name.split("/", 1)[0]) / name for name in names])


def _site_packages(package: str) -> Path:
    spec = importlib.util.find_spec(package)  # finds the package without importing it, which would cost a second
    if spec is None or spec.origin is None:
        raise InputError(f"the sample photographs need the package '{package}': install this project's dependencies")
    return Path(spec.origin).parent.parent
