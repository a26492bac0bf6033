"""A trained generator, applied."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from stylization import blending, images, model_file
from stylization.blending import LEAST_PX, KeepColors, Strokes
from stylization.conditions import LARGEST_STROKE, Condition, Mixture, condition, conditional, mixed
from stylization.errors import InputError
from stylization.generators.blocks import Generator
from stylization.models import BUNDLED
from stylization.normalization import freeze_statistics, statistics_restored

Box = tuple[tuple[int, int], tuple[int, int]]  # rows and columns
FADES_BELOW = 0.1


class Stylizer:
    """`stylizer(image)` repaints a picture; what comes back is of the kind and size of what was given.

    Takes a PIL image of any mode, whose opacity is kept, a uint8 array (h, w, 3), or a float tensor (3, h, w) or
    (b, 3, h, w) in [0, 1].

    `strength` from 0 to 1 blends the photograph with its stylization. `keep_colors` gives the photograph's colours
    back: "luminance" takes only the lightness of the stylization, "matched" moves the mean and the covariance of its
    colours to the photograph's (Gatys et al. 2016b). `mask` (h, w) in [0, 1] says where to repaint; the norms'
    statistics are then those of the masked region's box.

    `strokes` are "relative", the same share of every picture, as if its long side had 768 px, or "native", of the size
    in pixels that the generator was trained for; `scale` multiplies them. Strokes of another size than the native one
    are painted on the reduced picture and enlarged, with the details that the photograph has beyond that size.

    A generator of several `styles` is told which by `style`: a name, or a mixture {"mosaic": 0.6, "ink": 0.4}, whose
    shares may be maps (h, w) of any size; `default_style` serves where none is given. What it has learned to be asked
    for, strength and the size of strokes up to a factor of 1.6, is then asked of it and not done to the picture; only
    below a strength of 0.1 the picture fades into the photograph, whose contrast no instance norm lets through.
    """

    def __init__(self, generator: Generator, facts: dict[str, Any], default_style: Mixture | None = None) -> None:
        self.generator = generator.eval().to(memory_format=torch.channels_last)  # convolutions are faster so
        self.facts = facts
        self.styles: list[str] = facts.get("styles", [])
        self.default_style = default_style or (self.styles[0] if len(self.styles) == 1 else None)

    @overload
    def __call__(self, image: Image.Image, **options: Any) -> Image.Image: ...
    @overload
    def __call__(self, image: np.ndarray, **options: Any) -> np.ndarray: ...
    @overload
    def __call__(self, image: Tensor, **options: Any) -> Tensor: ...
    def __call__(self, image: Image.Image | np.ndarray | Tensor, **options: Any) -> Image.Image | np.ndarray | Tensor:
        if isinstance(image, Image.Image):
            colors, opacity = images.without_opacity(image)
            stylized = images.to_picture(self._stylize(images.to_tensor(colors)[None], **options)[0])
            if opacity is not None:
                stylized.putalpha(opacity)
            return stylized
        if isinstance(image, np.ndarray):
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
                raise InputError(f"an array must be uint8 (h, w, 3), this one is {image.dtype} {image.shape}")
            return np.asarray(self(Image.fromarray(image), **options))
        if not image.is_floating_point() or image.ndim not in (3, 4) or image.shape[-3] != 3:
            raise InputError(
                f"a tensor must be float (3, h, w) or (b, 3, h, w) in [0, 1], this one is {image.dtype} "
                f"{tuple(image.shape)}"
            )
        return self._stylize(image, **options) if image.ndim == 4 else self._stylize(image[None], **options)[0]

    def ask(
        self, style: Mixture | Tensor | None = None, strength: float = 1.0, scale: float = 1.0
    ) -> tuple[float, float]:
        """Ask the generator for a style, or for a mixture of all (b, k); what of strength and scale remains to be done
        to pictures is returned. Raises `InputError` for a style that it does not have."""
        blending.check(strength, None, scale)
        asks = conditional(self.generator)
        if not asks:
            if style not in (None, own := self.facts.get("style")):
                raise InputError(f"no style '{style}' in this model: it has one, {own}")
            return strength, scale
        mix = style if isinstance(style, Tensor) else self.mixed(style)[None]
        own_scale = min(max(scale, 1 / LARGEST_STROKE), LARGEST_STROKE) if asks[0].size else 1.0
        wanted = Condition.of(mix[0], strength if asks[0].strength else 1.0, own_scale)
        condition(self.generator, replace(wanted, mix=mix))
        return min(1.0, strength / FADES_BELOW) if asks[0].strength else strength, scale / own_scale

    def mixed(self, style: Mixture | None) -> Tensor:
        """The weights, (k,) or (k, h, w), of a mixture of the model's k styles. Raises `InputError`."""
        style = self.default_style if style is None else style
        if style is None:
            raise InputError(f"which style? This model has {', '.join(self.styles)}")
        return mixed(style, self.styles)

    @torch.no_grad()
    def _stylize(
        self,
        x: Tensor,
        style: Mixture | Tensor | None = None,
        strength: float = 1.0,
        keep_colors: KeepColors | None = None,
        scale: float = 1.0,
        mask: Tensor | None = None,
        strokes: Strokes = "relative",
    ) -> Tensor:
        blending.check(strength, keep_colors, scale, strokes)
        strength, scale = self.ask(style, strength, scale)
        if mask is not None and mask.shape != x.shape[2:]:
            raise InputError(f"the mask is {tuple(mask.shape)}, the picture {tuple(x.shape[2:])}: they must be equal")
        if strength == 0:
            return x.clone()
        size = blending.painted_size((x.shape[2], x.shape[3]), scale, strokes)
        with statistics_restored(self.generator):
            stylized = self._painted(x, size, None if mask is None else region(mask)).to(x)
        return blending.blended(x, stylized, strength, keep_colors, None if mask is None else mask.to(x))

    def to_model_input(self, x: Tensor) -> Tensor:
        """Photographs where the generator is, in its precision and its order of memory."""
        weights = next(self.generator.parameters())
        return x.to(weights.device, weights.dtype, memory_format=torch.channels_last)

    def _painted(self, x: Tensor, size: tuple[int, int], box: Box | None) -> Tensor:
        """Paint pictures at a size, with the statistics of a box of them if there is one, and enlarge the result."""
        own_size = x.shape[2], x.shape[3]
        small = x if size == own_size else _each(x, lambda pixels: images.resized_pixels(pixels, size))
        given = self.to_model_input(small)
        if box is not None:
            rows, columns = scaled_box(box, own_size, size)
            freeze_statistics(self.generator, given[..., slice(*rows), slice(*columns)])
        painted: Tensor = self.generator(given)
        return painted if size == own_size else _each(painted, images.enlarged_pixels, small, x)


def _each(x: Tensor, compute: Callable[..., NDArray[np.float32]], *others: Tensor) -> Tensor:
    """Compute on arrays what is not computed on tensors, picture by picture."""
    pictures = zip(*(batch.float().cpu().numpy() for batch in (x, *others)), strict=True)
    return torch.stack([torch.from_numpy(compute(*arrays)) for arrays in pictures])


def scaled_box(box: Box, size: tuple[int, int], new_size: tuple[int, int]) -> Box:
    """A box of a picture in the same picture at another size, at least as large as a generator accepts."""
    spans = []
    for (start, end), side, new_side in zip(box, size, new_size, strict=True):
        first = min(round(start * new_side / side), max(0, new_side - LEAST_PX))
        spans.append((first, min(new_side, max(first + LEAST_PX, round(end * new_side / side)))))
    return spans[0], spans[1]


def region(mask: Tensor) -> Box | None:
    """The box, rows and columns, around what a mask (h, w) selects; None if that is nothing."""
    if not bool((mask > 0.5).any()):
        return None
    rows, columns = (torch.nonzero((mask > 0.5).any(dim)).flatten() for dim in (1, 0))
    return (int(rows[0]), int(rows[-1]) + 1), (int(columns[0]), int(columns[-1]) + 1)


def load(model: str | Path, device: str = "cpu", precision: Literal["float32", "bfloat16"] = "float32") -> Stylizer:
    """The stylizer in a model file, in the folder of a finished run, or of a bundled style. Raises `InputError`."""
    path = model_file.located(model)
    generator, facts = model_file.read(path)
    try:
        generator = generator.to(device, getattr(torch, precision))
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device={device}: {str(error).splitlines()[0]}") from None
    by_name = str(model) in facts.get("styles", []) and path == BUNDLED
    return Stylizer(generator, facts, str(model) if by_name else None)
