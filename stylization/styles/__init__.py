"""Style pictures drawn by code: the bundled pictures and the painters that drew them."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from stylization.errors import InputError

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

# The styles. A module of the same name in `painters` paints each; it is imported when it draws, because callers that
# only want a bundled picture should not pay for scipy.
PAINTERS = (
    "batik",
    "candy",
    "comic",
    "constructivist",
    "cubist",
    "ink",
    "marble",
    "mosaic",
    "oil",
    "pastel",
    "pointillism",
    "stained_glass",
    "swirl",
    "watercolor",
    "waves",
    "woodcut",
)

LEAST_PX = 32  # relu4_1 sees a picture of this size as 4x4
PICTURES = Path(__file__).parent / "pictures"


def names() -> list[str]:
    """Names of the bundled styles, sorted."""
    return sorted(PAINTERS)


def picture_path(name: str) -> Path:
    """The JPEG file of a bundled style."""
    if name not in PAINTERS:
        raise KeyError(f"no bundled style {name!r}; there are {', '.join(names())}")
    return PICTURES / f"{name}.jpg"


def draw(name: str, size_px: int = 640, seed: int = 0) -> Image.Image:
    """Paint a square style picture; the same name, size and seed give the same picture."""
    import numpy as np
    from PIL import Image

    if name not in PAINTERS:
        raise KeyError(f"no painter {name!r}; there are {', '.join(names())}")
    painter = getattr(import_module(f".painters.{name}", __name__), name)
    # Painters work at twice the size with hard edges; averaging 2 x 2 pixels is the antialiasing.
    painting = painter(2 * size_px, np.random.default_rng(seed))
    reduced = painting.reshape(size_px, 2, size_px, 2, 3).mean(axis=(1, 3))
    return Image.fromarray((reduced.clip(0.0, 1.0) * 255.0).round().astype(np.uint8))


def read(image: str, size_px: int) -> Tensor:
    """A style picture as (1, 3, h, w) in [0, 1], its short side reduced to `size_px`.

    `image` is the name of a bundled style, a path or an http(s) address. Raises `InputError`, also for a picture
    too small to hold a texture.
    """
    from stylization import images

    if image in PAINTERS:
        source = str(picture_path(image))
    elif "://" in image or Path(image).expanduser().exists():
        source = image
    else:
        raise InputError(f"style.image={image}: no such file, nor a bundled style (bundled are {', '.join(names())})")
    picture = images.read(source)
    if min(picture.size) < LEAST_PX:
        width, height = picture.size
        raise InputError(f"style picture {image} is {width}x{height}: it must be {LEAST_PX} px at least on each side")
    return images.to_tensor(images.shrink(picture, max(size_px, LEAST_PX)))[None]
