"""Photographs changed beforehand, to ask what it is in them that a norm makes up for: contrast, or style.

Huang & Belongie 2017 (section 3.1) train on photographs of equalised luminance and on photographs that were brought to
one other style: if instance norm removed contrast, it should help no more on the first; if it removes style, on the
second.
"""

from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageEnhance, ImageOps
from tqdm import tqdm

from stylization import images
from stylization.content import Source
from stylization.iterative import optimize
from stylization.objective import Objective

Treatment = Callable[[Image.Image], Image.Image]


def plain(picture: Image.Image) -> Image.Image:
    """The photograph as it is."""
    return picture


def equalised(picture: Image.Image) -> Image.Image:
    """With a flat histogram of luminance, so that all have one contrast and one brightness."""
    luminance, *colours = picture.convert("YCbCr").split()
    return Image.merge("YCbCr", [ImageOps.equalize(luminance), *colours]).convert("RGB")


def contrast(factor: float) -> Treatment:
    """With so many times the contrast, about the mean luminance."""
    return lambda picture: ImageEnhance.Contrast(picture).enhance(factor)


def stylized(objective: Objective, num_steps: int) -> Treatment:
    """Brought to one style by the iterative method."""

    def treat(picture: Image.Image) -> Image.Image:
        content = images.to_tensor(picture)[None]
        return images.to_picture(optimize(content, [objective], num_steps)[0])

    return treat


def prepare(source: Source, treat: Treatment, folder: Path, size_px: int) -> None:
    """Write each picture of a source as a PNG of that short side, treated; those that are there are left alone."""
    for i in tqdm(range(len(source)), unit="img", desc=str(folder)):
        path = folder / f"{Path(source.name(i)).stem}.png"
        if not path.exists():
            picture = images.read(source.read(i), source.name(i))
            images.save(treat(images.shrink(picture, size_px)), path)
