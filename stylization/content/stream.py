"""In which order content images flow: sample n of a run is a pure function of (seed, n)."""

import csv
import io
import mmap
import multiprocessing
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from stylization import images
from stylization.content.sources import Source
from stylization.errors import Damaged, InputError
from stylization.text import csv_cell

Cut = tuple[float, float, float, bool]  # left, top and side in a picture's pixels, and whether to flip

_CROP, _ORDER, _SUBSTITUTE = 0, 1, 3  # keys that keep the uses of a seed apart
LEAST_PX = 32  # a picture with a shorter side shows nothing
MOST_ELONGATED = 8.0  # of which a square shows an eighth at most: banners and scan lines, no photographs
SUBSTITUTES = 100  # images tried for one sample before the source is given up


class Skip(NamedTuple):
    """An image that sample `n` would have shown and could not: which one, why in a word, and why in full."""

    n: int
    image: str
    reason: str
    detail: str


def as_csv(skips: Sequence[Skip]) -> bytes:
    """`skipped.csv`: each image once, with the first sample that met it and how many did."""
    times = Counter(skip.image for skip in skips)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("image", "reason", "times", "first_sample", "detail"))
    seen: set[str] = set()
    for skip in skips:
        if skip.image in seen:
            continue
        seen.add(skip.image)
        detail = csv_cell(skip.detail)
        writer.writerow((csv_cell(skip.image), skip.reason, times[skip.image], skip.n, detail))
    return text.getvalue().encode()


def counted(reasons: Iterable[str]) -> str:
    """How often each reason was given, the most frequent first: "3 truncated, 1 empty"."""
    return ", ".join(f"{num} {reason}" for reason, num in Counter(reasons).most_common())


class Sample(NamedTuple):
    """A crop as uint8 (3, size_px, size_px) of that `image` of the source, and what was skipped on the way to it.

    Where a device keeps the squares, `pixels` is the whole square, or empty if the device has it; `cut` (left, top,
    side, and whether to flip) is then left to be done there.
    """

    pixels: Tensor
    image: int
    cut: Cut
    skips: list[Skip]


class Batch(NamedTuple):
    """The samples of a step; `pixels` holds those that are not empty."""

    pixels: Tensor
    carried: list[bool]
    images: list[int]
    cuts: list[Cut]
    skips: list[Skip]


class Squares:
    """The decoded centre squares of a source's images, uint8 (n, side_px, side_px, 3), each filled in when first met.

    In shared memory that is only taken up as it is filled: every worker reads what any of them has decoded.
    """

    def __init__(self, num: int, side_px: int, device: torch.device | None = None) -> None:
        self.side_px = side_px
        self.filled = np.frombuffer(mmap.mmap(-1, num), np.uint8)
        shape = (num, side_px, side_px, 3)
        if device is None:
            memory = mmap.mmap(-1, num * side_px * side_px * 3)
            self.pixels = torch.from_numpy(np.frombuffer(memory, np.uint8).reshape(shape))
        else:
            self.pixels = torch.empty(shape, dtype=torch.uint8, device=device)
        self.on_host = device is None

    def put(self, index: int, square: Tensor) -> None:
        """Keep the (3, side_px, side_px) square of image `index`."""
        self.pixels[index] = square.permute(1, 2, 0).to(self.pixels.device)
        self.filled[index] = 1

    def crop(self, index: int, cut: Cut, size_px: int) -> Tensor:
        """The crop (3, size_px, size_px) of image `index`."""
        left, top, side, flip = cut
        pixels = images.square(self.pixels[index], left, top, side, size_px)
        return pixels.flip(-1) if flip else pixels

    def crops(self, batch: Batch, size_px: int) -> Tensor:
        """The crops of a batch, after keeping the squares that it carries."""
        fresh = iter(batch.pixels)
        for index, carried in zip(batch.images, batch.carried, strict=True):
            if carried:
                self.put(index, next(fresh))
        return torch.stack([self.crop(i, cut, size_px) for i, cut in zip(batch.images, batch.cuts, strict=True)])


class Stream(Dataset[Sample]):
    """Random-resized, flipped square crops, addressed by sample number: `stream[n].pixels`.

    Each pass over the source is a new permutation of it, of its blocks and within them. A crop is a square,
    undistorted; its share of the area of the largest square in the picture is drawn from `crop_area`; it is flipped
    with probability 1/2. With `targets` a crop has six channels: the picture's and, from the same place, those of the
    target of its name. With `squares` the crops are taken from the pictures' centre squares, which are kept.

    An image that is damaged, smaller than `LEAST_PX` or longer than `MOST_ELONGATED` times its width is skipped: the
    sample shows another, drawn by (seed, n) too, and names what it skipped.
    """

    def __init__(
        self,
        source: Source,
        size_px: int,
        seed: int,
        crop_area: tuple[float, float] = (0.1, 1.0),
        squares: Squares | None = None,
        targets: Source | None = None,
    ) -> None:
        self.source, self.targets = source, targets
        self.target_of = {stem(targets, i): i for i in range(len(targets))} if targets is not None else {}
        self.size_px = size_px
        self.seed = seed
        self.crop_area = crop_area
        low, high = crop_area
        if not 0 < low <= high <= 1:
            raise InputError(f"data.crop_area={list(crop_area)}: two shares of the area, 0 < low <= high <= 1")
        self.squares = squares
        self.shuffled: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, np.int64))  # the latest pass and its order

    def __getitem__(self, n: int) -> Sample:
        skips: list[Skip] = []
        for attempt in range(SUBSTITUTES):
            index = self.index(n) if attempt == 0 else self.substitute(n, attempt)
            try:
                return self._sample(n, index, skips)
            except Damaged as error:
                skips.append(Skip(n, self.source.name(index), error.reason, str(error)))
        raise InputError(f"sample {n}: {SUBSTITUTES} images in a row cannot be used; of the last, {skips[-1].detail}")

    def index(self, n: int) -> int:
        """Which image of the source sample `n` shows, if it is sound."""
        passes, position = divmod(n, len(self.source))
        return int(self.permutation(passes)[position])

    def substitute(self, n: int, attempt: int) -> int:
        """Which image takes its place at the attempt after."""
        return int(np.random.default_rng((_SUBSTITUTE, self.seed, n, attempt)).integers(len(self.source)))

    def permutation(self, passes: int) -> NDArray[np.int64]:
        """The order in which a pass takes the images of the source: block after block, each shuffled."""
        if self.shuffled[0] != passes:
            rng = np.random.default_rng((_ORDER, self.seed, passes))
            blocks = self.source.blocks
            order = [blocks[k] + rng.permutation(blocks[k + 1] - blocks[k]) for k in rng.permutation(len(blocks) - 1)]
            self.shuffled = (passes, np.concatenate(order))
        return self.shuffled[1]

    def _sample(self, n: int, index: int, skips: list[Skip]) -> Sample:
        rng = np.random.default_rng((_CROP, self.seed, n))
        if self.squares is None:
            picture = opened(self.source, index)
            cut = self._cut(rng, picture.width, picture.height)
            pixels = picture.crop(*cut[:3], self.size_px)
            if self.targets is not None:
                target = opened(self.targets, self.target_of[stem(self.source, index)])
                scale = target.width / picture.width
                left, top, side = (scale * x for x in cut[:3])
                pixels = torch.cat([pixels, target.crop(left, top, side, self.size_px)])
            return Sample(pixels.flip(-1) if cut[3] else pixels, index, cut, skips)
        cut = self._cut(rng, self.squares.side_px, self.squares.side_px)
        if not self.squares.on_host:  # only the main process can write there: hand on what is not there yet
            pixels = torch.empty(0) if self.squares.filled[index] else self._centre(index)
            return Sample(pixels, index, cut, skips)
        if not self.squares.filled[index]:
            self.squares.put(index, self._centre(index))
        return Sample(self.squares.crop(index, cut, self.size_px), index, cut, skips)

    def _centre(self, index: int) -> Tensor:
        assert self.squares is not None
        return center_square(opened(self.source, index), self.squares.side_px)

    def _cut(self, rng: np.random.Generator, width: int, height: int) -> Cut:
        side = min(width, height) * np.sqrt(rng.uniform(*self.crop_area))
        left, top = rng.uniform(0, width - side), rng.uniform(0, height - side)
        return left, top, side, bool(rng.random() < 0.5)

    def __getstate__(self) -> dict[str, object]:
        if self.squares is not None and multiprocessing.get_start_method() != "fork":
            raise InputError("data.cache: workers can share it only where processes are forked; set data.num_workers=0")
        return self.__dict__


class Endless(Sampler[int]):
    """The sample numbers of one rank, for ever: start + rank, start + rank + num_ranks, ..."""

    def __init__(self, start: int = 0, rank: int = 0, num_ranks: int = 1) -> None:
        self.start, self.rank, self.num_ranks = start, rank, num_ranks

    def __iter__(self) -> Iterator[int]:
        n = self.start + self.rank
        while True:
            yield n
            n += self.num_ranks


def stem(source: Source, index: int) -> str:
    """The name of image `index`, without its suffix: what a photograph and its stylization share."""
    return str(PurePosixPath(source.name(index)).with_suffix(""))


def opened(source: Source, index: int) -> images.Encoded:
    """Image `index`, not yet decoded. Raises `Damaged` if it cannot be read or is of no use as content."""
    picture = images.Encoded(source.read(index), source.name(index))
    short, long = sorted((picture.width, picture.height))
    if short < LEAST_PX:
        raise Damaged(f"{picture.name} is {picture.width}x{picture.height}: less than {LEAST_PX} px", "too small")
    if long > MOST_ELONGATED * short:
        raise Damaged(f"{picture.name} is {picture.width}x{picture.height}: too elongated", "too elongated")
    return picture


def center_square(picture: images.Encoded, size_px: int) -> Tensor:
    """The largest centred square of a picture, as uint8 (3, size_px, size_px)."""
    side = min(picture.width, picture.height)
    return picture.crop((picture.width - side) / 2, (picture.height - side) / 2, side, size_px)


def held_out(source: Source, size_px: int) -> Tensor:
    """Every image of a source as one fixed uint8 batch (n, 3, size_px, size_px): centred squares, by Lanczos' filter,
    slower and a little sharper than the stream's crops."""
    squares = []
    for i in range(len(source)):
        image = images.read(opened(source, i).content, source.name(i))
        side = min(image.size)
        left, top = (image.width - side) / 2, (image.height - side) / 2
        box = (left, top, left + side, top + side)
        squares.append(images.to_uint8(image.resize((size_px, size_px), Image.Resampling.LANCZOS, box=box)))
    return torch.stack(squares)


def collated(samples: Sequence[Sample]) -> Batch:
    """The samples of a step as one batch, its bytes in the order in which they were decoded: channels last."""
    pixels = [sample.pixels.permute(1, 2, 0) for sample in samples if sample.pixels.numel()]
    return Batch(
        torch.stack(pixels).permute(0, 3, 1, 2) if pixels else torch.empty(0),
        [sample.pixels.numel() > 0 for sample in samples],
        [sample.image for sample in samples],
        [sample.cut for sample in samples],
        [skip for sample in samples for skip in sample.skips],
    )
