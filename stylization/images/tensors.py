"""Pictures as tensors: float RGB in [0, 1], (3, h, w) or (b, 3, h, w), or their bytes."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def to_uint8(image: Image.Image) -> Tensor:
    """The picture's bytes as a (3, h, w) uint8 tensor: a quarter of the float's size across processes."""
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).contiguous()


def to_float(pixels: Tensor) -> Tensor:
    """uint8 in 0..255 to float32 in [0, 1], on the tensor's own device."""
    return pixels.float().div_(255.0)


def to_tensor(image: Image.Image) -> Tensor:
    """The picture as a (3, h, w) float tensor in [0, 1]."""
    return to_float(to_uint8(image))


def to_picture(image: Tensor) -> Image.Image:
    """A (3, h, w) float tensor in [0, 1], clamped and rounded to 8 bits."""
    pixels = image.detach().float().clamp(0.0, 1.0).mul(255.0).round().to(torch.uint8)
    return Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy())
