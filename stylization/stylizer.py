"""A trained generator, applied."""

from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from stylization import images, model_file
from stylization.errors import InputError


class Stylizer:
    """`stylizer(image)` repaints a picture; what comes back is of the kind and size of what was given.

    Takes a PIL image, a uint8 array (h, w, 3), or a float tensor (3, h, w) or (b, 3, h, w) in [0, 1].
    """

    def __init__(self, generator: nn.Module, facts: dict[str, Any]) -> None:
        self.generator = generator.eval()
        self.facts = facts

    @overload
    def __call__(self, image: Image.Image) -> Image.Image: ...
    @overload
    def __call__(self, image: np.ndarray) -> np.ndarray: ...
    @overload
    def __call__(self, image: Tensor) -> Tensor: ...
    def __call__(self, image: Image.Image | np.ndarray | Tensor) -> Image.Image | np.ndarray | Tensor:
        if isinstance(image, Image.Image):
            return images.to_picture(self._stylize(images.to_tensor(image)))
        if isinstance(image, np.ndarray):
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
                raise InputError(f"an array must be uint8 (h, w, 3), this one is {image.dtype} {image.shape}")
            return np.asarray(self(Image.fromarray(image)))
        if not image.is_floating_point() or image.ndim not in (3, 4) or image.shape[-3] != 3:
            raise InputError(
                f"a tensor must be float (3, h, w) or (b, 3, h, w) in [0, 1], this one is {image.dtype} "
                f"{tuple(image.shape)}"
            )
        return self._stylize(image)

    @torch.no_grad()
    def _stylize(self, x: Tensor) -> Tensor:
        batch = x if x.ndim == 4 else x[None]
        stylized: Tensor = self.generator(batch.to(next(self.generator.parameters()).device)).to(x.device)
        return stylized if x.ndim == 4 else stylized[0]


def load(model: str | Path) -> Stylizer:
    """The stylizer in a model file, or in the folder of a finished run. Raises `InputError`."""
    path = Path(model).expanduser()
    if path.is_dir():
        path = path / model_file.FILE_NAME
        if not path.exists():
            raise InputError(f"{path.parent} holds no {model_file.FILE_NAME}: not a run, or one that has not finished")
    return Stylizer(*model_file.read(path))
