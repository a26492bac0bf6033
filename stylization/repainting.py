"""A photograph's file, repainted at any size within a given memory."""

import operator
import resource
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Literal

import numpy as np
import pyvips
import torch
from numpy.typing import NDArray
from torch import Tensor

from stylization import blending, images
from stylization.blending import ColourMatch, KeepColors, Moments, Strokes
from stylization.conditions import Mixture
from stylization.errors import tell
from stylization.images import Photograph
from stylization.memory import release_memory
from stylization.normalization import freeze_statistics, statistics_restored
from stylization.stylizer import Stylizer, scaled_box
from stylization.tiles import Tiled, tiled_cost, untiled_bytes
from stylization.tiles.graph import Box, Span

Tile = Literal["auto", "thumbnail", "never"]
Watch = Callable[[float], None]  # is told by how much of the whole the work has gone on
THUMBNAIL_PX = 1024  # of its long side (Chen et al. 2022)
STRIP_PIXELS = 2**20
DEVIATION = "the thumbnail's statistics put activations off by {:.2f} standard deviations"
MEMORY_BYTES = 1e9  # of activations, if nothing else is asked for
RESERVED_BYTES = 160e6  # for libvips' strips and ours, and what PyTorch's kernels take when first used


@dataclass(frozen=True)
class Look:
    """How a photograph is to be repainted: see `Stylizer`. `mask` is a picture's name."""

    strength: float = 1.0
    keep_colors: KeepColors | None = None
    scale: float = 1.0
    mask: str | None = None
    style: Mixture | None = None
    strokes: Strokes = "relative"

    def __post_init__(self) -> None:
        blending.check(self.strength, self.keep_colors, self.scale, self.strokes)


@contextmanager
def repainted(
    stylizer: Stylizer,
    photo: Photograph,
    look: Look,
    tile: Tile = "auto",
    memory_bytes: float = MEMORY_BYTES,
    watch: Watch = lambda share: None,
) -> Iterator[pyvips.Image]:
    """The photograph repainted, to be saved inside: parts of it may lie in temporary files.

    `tile` says what is done with a photograph too large for `memory_bytes` of activations: "auto" repaints it part by
    part with the statistics of the whole, exactly; "thumbnail" with those of a thumbnail, in one pass, whatever its
    size; "never" repaints it as a whole all the same.
    """
    mask = images.resized_mask(images.read_mask(look.mask), photo.width, photo.height) if look.mask else None
    strength, scale = stylizer.ask(look.style, look.strength, look.scale)
    size = blending.painted_size(_size(photo), scale, look.strokes)
    look = replace(look, strength=strength)
    with tempfile.TemporaryDirectory(prefix="stylization-") as folder, statistics_restored(stylizer.generator):
        small = photo
        if size != _size(photo):
            small = photo.showing(images.resized(images.to_16_bits(photo.srgb), size), depth=16)
        box = None if mask is None else _region(mask, small)
        if tile == "never" or (tile == "auto" and _whole_bytes(stylizer, small) <= memory_bytes):
            x = torch.from_numpy(small.whole())[None]
            if box is not None:
                _freeze(stylizer, x[..., slice(*box[0]), slice(*box[1])])
            with torch.no_grad():
                painted = stylizer.generator(stylizer.to_model_input(x))
            stylized = images.as_image(painted[0].float().cpu().numpy(), 16)
            watch(1.0)
        else:
            canvas = Canvas(Path(folder) / "stylized", small.height, small.width)
            _paint_by_tiles(stylizer, small, box, canvas, tile == "thumbnail", memory_bytes, watch)
            stylized = canvas.image()
        if small is not photo:
            stylized = images.enlarged(stylized, small.srgb, images.to_16_bits(photo.srgb))
        yield _blended(photo, photo.showing(stylized, depth=16), look, mask, Path(folder) / "blended")


def _paint_by_tiles(
    stylizer: Stylizer,
    photo: Photograph,
    box: Box | None,
    canvas: "Canvas",
    by_thumbnail: bool,
    memory_bytes: float,
    watch: Watch,
) -> None:
    """Paint onto the canvas, with the statistics of the box if there is one."""
    tiled = Tiled(stylizer.generator, memory_bytes)
    whole = (0, photo.height), (0, photo.width)
    if by_thumbnail:
        thumbnail = photo.reduced(THUMBNAIL_PX)
        part = thumbnail.part(*scaled_box(box or whole, _size(photo), _size(thumbnail)))
        _freeze(stylizer, torch.from_numpy(part)[None])
    elif box is not None:
        tiled.freeze(*_within(photo, box))
    size, read = _within(photo, whole)
    tiled(size, read, lambda box, part: canvas.write(box, part[0].float().cpu().numpy()), watch)
    if by_thumbnail:
        tell(f"{photo.name}: {DEVIATION.format(tiled.deviation)}")


def _freeze(stylizer: Stylizer, images: Tensor) -> None:
    freeze_statistics(stylizer.generator, images.to(next(stylizer.generator.parameters())))


def memory_left(process_bytes: float) -> float:
    """What a process that may take so much has left for activations, now that the model is loaded."""
    return process_bytes - _resident_bytes() - RESERVED_BYTES


def _resident_bytes() -> int:
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(
        resource.RUSAGE_SELF
    ).ru_maxrss  # elsewhere the most it has held so far, on macOS in bytes


class Canvas:
    """A picture on the disk, (h, w, 3) of 16 bits, written in parts."""

    def __init__(self, path: Path, height: int, width: int) -> None:
        self.path, self.height, self.width = path, height, width
        self.file = path.open("w+b", buffering=0)

    def write(self, box: Box, part: NDArray[np.float32]) -> None:
        """Write a part (3, h, w) in [0, 1]."""
        (top, _), (left, _) = box
        for y, row in enumerate(images.quantized(part, 16).transpose(1, 2, 0)):
            self.file.seek(((top + y) * self.width + left) * 6)
            self.file.write(row.tobytes())

    def image(self) -> pyvips.Image:
        """What was written, as a picture of libvips."""
        self.file.close()
        raw = pyvips.Image.rawload(str(self.path), self.width, self.height, 6)
        return raw.copy(bands=3, format="ushort", interpretation="rgb16")


def _blended(
    photo: Photograph, stylized: Photograph, look: Look, mask: pyvips.Image | None, path: Path
) -> pyvips.Image:
    """Strength, colours and mask, strip by strip."""
    if look.strength == 1 and look.keep_colors is None and mask is None:
        return _of_depth(stylized.srgb, photo.depth)
    step, columns = max(1, STRIP_PIXELS // photo.width), (0, photo.width)
    strips = [(top, min(top + step, photo.height)) for top in range(0, photo.height, step)]
    colours = None
    if look.keep_colors == "matched":
        ours, theirs = (
            reduce(operator.add, (Moments.of(picture.part(rows, columns)) for rows in strips))
            for picture in (stylized, photo)
        )
        colours = ColourMatch(ours, theirs)
    canvas = Canvas(path, photo.height, photo.width)
    for rows in strips:
        shares = None if mask is None else images.mask_shares(mask, *rows)
        parts = photo.part(rows, columns), stylized.part(rows, columns)
        canvas.write((rows, columns), blending.blended(*parts, look.strength, look.keep_colors, shares, colours))
    return _of_depth(canvas.image(), photo.depth)


def _of_depth(picture: pyvips.Image, depth: int) -> pyvips.Image:
    return picture if depth == 16 else (picture / 257).rint().cast("uchar").copy(interpretation="srgb")


def _region(mask: pyvips.Image, small: Photograph) -> Box | None:
    """The box, in the reduced photograph, around what the mask selects."""
    columns, rows = (np.flatnonzero(sums.numpy()) for sums in (mask > 127).project())
    if not len(rows):
        return None
    box = (int(rows[0]), int(rows[-1]) + 1), (int(columns[0]), int(columns[-1]) + 1)
    return scaled_box(box, _size(mask), _size(small))


def _size(picture: Photograph | pyvips.Image) -> tuple[int, int]:
    return picture.height, picture.width


def _within(photo: Photograph, box: Box) -> tuple[tuple[int, int], Callable[[Span, Span], Tensor]]:
    """The size of a part of the photograph, and how to read that part in parts."""
    (top, bottom), (left, right) = box

    def read(rows: Span, columns: Span) -> Tensor:
        part = photo.part((top + rows[0], top + rows[1]), (left + columns[0], left + columns[1]))
        release_memory()
        return torch.from_numpy(part)[None]

    return (bottom - top, right - left), read


def _whole_bytes(stylizer: Stylizer, photo: Photograph) -> float:
    """What repainting it as a whole takes: activations, and half a dozen copies of the picture."""
    num_pixels = int(photo.height) * int(photo.width)
    return untiled_bytes(stylizer.generator, (photo.height, photo.width)) + 72.0 * num_pixels


def painted_size(photo: Photograph, look: Look) -> tuple[int, int]:
    """The size (h, w) at which a photograph is painted."""
    return blending.painted_size(_size(photo), look.scale, look.strokes)


def cost(stylizer: Stylizer, photo: Photograph, look: Look) -> str:
    """About how much disk and time a photograph takes that is painted by tiles, for a person to read."""
    size = painted_size(photo, look)
    num_bytes, seconds = tiled_cost(stylizer.generator, size)
    num_bytes += 12.0 * size[0] * size[1] + 9.0 * photo.height * photo.width  # painted and blended, decoded and masked
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    return (
        f"{photo.name}: {photo.height * photo.width / 1e6:.0f} megapixels take about {num_bytes / 1e9:.0f} GB of "
        f"{folder} ({free / 1e9:.0f} GB free) and {seconds / 60:.0f} minutes on two cores"
    )
