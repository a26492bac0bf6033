"""In which order content images flow: sample n of a run is a pure function of (seed, n)."""

from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from stylization import images
from stylization.content.sources import Source
from stylization.errors import InputError

_CROP, _ORDER = 0, 1  # keys that keep the two uses of a seed apart


class Stream(Dataset[Tensor]):
    """Random-resized, flipped square crops as uint8 (3, size_px, size_px), addressed by sample number.

    Each pass over the source is a new permutation of it. A crop is a square, undistorted; its share of the area of
    the largest square in the picture is drawn from `crop_area`; it is flipped with probability 1/2. `cached` keeps
    the decoded images in memory: right for a source that fits there.
    """

    def __init__(
        self,
        source: Source,
        size_px: int,
        seed: int,
        crop_area: tuple[float, float] = (0.1, 1.0),
        cached: bool = False,
    ) -> None:
        self.source = source
        self.size_px = size_px
        self.seed = seed
        self.crop_area = crop_area
        low, high = crop_area
        if not 0 < low <= high <= 1:
            raise InputError(f"data.crop_area={list(crop_area)}: two shares of the area, 0 < low <= high <= 1")
        self.decoded: dict[int, Image.Image] | None = {} if cached else None
        self.shuffled: tuple[int, np.ndarray] = (-1, np.empty(0))  # the latest pass and its permutation

    def __getitem__(self, n: int) -> Tensor:
        passes, position = divmod(n, len(self.source))
        image = self.decode(int(self.permutation(passes)[position]))
        return images.to_uint8(self._crop(image, np.random.default_rng((_CROP, self.seed, n))))

    def decode(self, index: int) -> Image.Image:
        """Image `index` of the source. Raises `InputError` naming it if it is damaged."""
        if self.decoded is None:
            return images.read(self.source.read(index), self.source.name(index))
        if index not in self.decoded:
            self.decoded[index] = images.read(self.source.read(index), self.source.name(index))
        return self.decoded[index]

    def permutation(self, passes: int) -> np.ndarray:
        """The order in which a pass takes the images of the source."""
        if self.shuffled[0] != passes:
            order = np.random.default_rng((_ORDER, self.seed, passes)).permutation(len(self.source))
            self.shuffled = (passes, order)
        return self.shuffled[1]

    def _crop(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        side = min(image.size) * np.sqrt(rng.uniform(*self.crop_area))
        left = rng.uniform(0, image.width - side)
        top = rng.uniform(0, image.height - side)
        box = (left, top, left + side, top + side)
        # BILINEAR is antialiased in Pillow: its support grows with the reduction.
        crop = image.resize((self.size_px, self.size_px), Image.Resampling.BILINEAR, box=box)
        return crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else crop


class Endless(Sampler[int]):
    """The sample numbers of one rank, for ever: start + rank, start + rank + num_ranks, ..."""

    def __init__(self, start: int = 0, rank: int = 0, num_ranks: int = 1) -> None:
        self.start, self.rank, self.num_ranks = start, rank, num_ranks

    def __iter__(self) -> Iterator[int]:
        n = self.start + self.rank
        while True:
            yield n
            n += self.num_ranks


def center_square(image: Image.Image, size_px: int) -> Tensor:
    """The largest centred square of a picture at `size_px`, as uint8 (3, size_px, size_px): held-out content."""
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = (left, top, left + side, top + side)
    return images.to_uint8(image.resize((size_px, size_px), Image.Resampling.LANCZOS, box=box))


def held_out(source: Source, size_px: int) -> Tensor:
    """Every image of a source as one fixed uint8 batch (n, 3, size_px, size_px)."""
    return torch.stack(
        [center_square(images.read(source.read(i), source.name(i)), size_px) for i in range(len(source))]
    )
