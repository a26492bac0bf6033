"""What is done with a photograph and its stylization: strength, kept colours, a mask.

Everything here takes PyTorch's tensors and NumPy's arrays alike, (3, h, w) or (b, 3, h, w) in [0, 1]: an exported model
is applied where there is no PyTorch.
"""

from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from stylization.errors import InputError

Array = TypeVar("Array", bound=Any)  # a tensor or an array
KeepColors = Literal["luminance", "matched"]
Strokes = Literal["relative", "native"]
REFERENCE_PX = 768  # long side of a picture that is painted at its own size when strokes are relative
LEAST_PX = 16  # of what a generator is given
LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601


def check(strength: float, keep_colors: str | None, scale: float = 1.0, strokes: str = "native") -> None:
    """Raise `InputError` for an option that is out of range or unknown."""
    if not 0 <= strength <= 1:
        raise InputError(f"strength={strength:g}: must be from 0 to 1")
    if keep_colors is not None and keep_colors not in get_args(KeepColors):
        raise InputError(f"keep_colors={keep_colors}: choose luminance or matched")
    if not 0.1 <= scale <= 10:
        raise InputError(f"scale={scale:g}: must be from 0.1 to 10")
    if strokes not in get_args(Strokes):
        raise InputError(f"strokes={strokes}: choose relative or native")


def painted_size(size: tuple[int, int], scale: float, strokes: Strokes) -> tuple[int, int]:
    """The size (h, w) at which a picture is painted, so that strokes are `scale` times as large.

    Relative strokes are the same share of every picture: they are painted on a long side of `REFERENCE_PX`. Native ones
    have the size in pixels that the generator was trained for.
    """
    factor = REFERENCE_PX / max(size) / scale if strokes == "relative" else 1 / scale
    h, w = (max(LEAST_PX, round(side * factor)) if factor != 1 else side for side in size)
    return h, w


def blended(
    photograph: Array,
    stylized: Array,
    strength: float = 1.0,
    keep_colors: KeepColors | None = None,
    mask: Array | None = None,
    colours: "ColourMatch | None" = None,
) -> Array:
    """The stylization as asked for: with the photograph's colours, `strength` of it, inside the `mask` (h, w) only.

    `colours` is given where these are parts of a larger picture, whose colours are matched as a whole.
    """
    check(strength, keep_colors)
    if keep_colors == "luminance":
        stylized = with_colours(stylized, photograph)
    elif keep_colors == "matched":
        colours = colours or ColourMatch(Moments.of(stylized), Moments.of(photograph))
        stylized = colours(stylized)
    if mask is None and strength == 1:
        return stylized
    share: Any = strength if mask is None else strength * mask
    mixed: Array = (photograph + share * (stylized - photograph)).clip(0, 1)
    return mixed


def with_colours(stylized: Array, photograph: Array) -> Array:
    """The photograph with the stylization's luminance."""
    difference = stylized - photograph
    lighter = sum(weight * difference[..., c : c + 1, :, :] for c, weight in enumerate(LUMINANCE))
    coloured: Array = (photograph + lighter).clip(0, 1)
    return coloured


@dataclass
class Moments:
    """Sums over pixels, from which the mean and the covariance of pictures' colours follow. Sums of parts add up."""

    num: int
    first: NDArray[np.float64]  # (..., 3)
    second: NDArray[np.float64]  # (..., 3, 3)

    @classmethod
    def of(cls, images: Any) -> "Moments":
        colours = np.asarray(images.double().cpu() if hasattr(images, "cpu") else images, np.float64)
        colours = colours.reshape(*colours.shape[:-2], -1)
        return cls(colours.shape[-1], colours.sum(-1), colours @ colours.swapaxes(-1, -2))

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(self.num + other.num, self.first + other.first, self.second + other.second)

    @property
    def mean(self) -> NDArray[np.float64]:
        return self.first / self.num

    @property
    def factor(self) -> NDArray[np.float64]:
        """Of the covariance, by Cholesky."""
        covariance = self.second / self.num - self.mean[..., None] * self.mean[..., None, :]
        return np.asarray(np.linalg.cholesky(covariance + 1e-5 * np.eye(3)))  # one colour alone has no inverse


class ColourMatch:
    """Moves the mean and the covariance of a stylization's colours to the photograph's (Gatys et al. 2016b)."""

    def __init__(self, stylized: Moments, photograph: Moments) -> None:
        self.matrix = photograph.factor @ np.linalg.inv(stylized.factor)
        self.shift = photograph.mean[..., None] - self.matrix @ stylized.mean[..., None]

    def __call__(self, stylized: Array) -> Array:
        matrix, shift = (
            stylized.new_tensor(x) if hasattr(stylized, "new_tensor") else x.astype(stylized.dtype)
            for x in (self.matrix, self.shift)
        )
        flat = stylized.reshape(*stylized.shape[:-2], -1)
        matched: Array = (matrix @ flat + shift).reshape(stylized.shape).clip(0, 1)
        return matched
