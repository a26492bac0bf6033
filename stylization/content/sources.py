"""Where content images come from: a length, and the name and bytes of image i."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from stylization.errors import InputError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm"})

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
    """Encoded images by number; reading one does not depend on having read another."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str: ...

    def read(self, index: int) -> bytes: ...


class Files:
    """Image files, in the order given."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = list(paths)

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, index: int) -> str:
        return self.paths[index].name

    def read(self, index: int) -> bytes:
        try:
            return self.paths[index].read_bytes()
        except OSError as error:
            raise InputError(f"cannot read {self.paths[index]}: {error.strerror or error}") from None


def folder(path: str | Path) -> Files:
    """All pictures below a folder, sorted by path. Raises `InputError` if there are none."""
    root = Path(path).expanduser()
    if not root.is_dir():
        raise InputError(f"no folder of content images at {root}")
    paths = sorted(p for p in root.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not paths:
        raise InputError(f"no picture below {root} (looked for {' '.join(sorted(SUFFIXES))})")
    return Files(paths)


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
