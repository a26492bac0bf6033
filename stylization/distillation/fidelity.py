"""Agreement of a loss network with VGG-16: of their gradients over pixels, on the pictures that descent visits."""

from collections.abc import Mapping

import torch
from torch import Tensor

from stylization.distillation.matching import cosines
from stylization.distillation.networks import LAYERS
from stylization.loss_networks.vgg import VGG
from stylization.objective import Objective

CONTENT_LAYER = "relu2_2"
WEIGHTS = {"content": 1.0, "style": 6.0, "tv": 0.0}
DESCENT_STEPS, STEP_SIZE = 20, 0.02


def objective(network: VGG, style: Tensor, weights: Mapping[str, float] = WEIGHTS) -> Objective:
    """The objective whose gradients are compared: Johnson et al.'s layers in relative units."""
    return Objective(network, style, [CONTENT_LAYER], LAYERS, weights)


def gradient(held_to: Objective, x: Tensor, content: Tensor) -> Tensor:
    """The gradient of the total over the pixels of x, (b, 3, h, w)."""
    x = x.detach().clone().requires_grad_()
    (slope,) = torch.autograd.grad(held_to.total(held_to(x, content)), x)
    return slope


def descended(held_to: Objective, content: Tensor) -> Tensor:
    """The photographs after `DESCENT_STEPS` steps of equal length along the gradient."""
    x = content
    for _ in range(DESCENT_STEPS):
        slope = gradient(held_to, x, content)
        x = (x - STEP_SIZE * slope / slope.square().mean((1, 2, 3), keepdim=True).sqrt().clamp_min(1e-12)).clamp(0, 1)
    return x


def fidelity(network: VGG, teacher: VGG, photographs: Tensor, style: Tensor) -> dict[str, float]:
    """The mean cosine of the two networks' gradients on photographs and on pictures descended by each of them."""
    ours, theirs = objective(network, style), objective(teacher, style)
    pictures = {
        "photographs": photographs,
        "descended by VGG-16": descended(theirs, photographs),
        "descended by the student": descended(ours, photographs),
    }
    return {
        name: cosines(gradient(ours, x, photographs), gradient(theirs, x, photographs)).mean().item()
        for name, x in pictures.items()
    }
