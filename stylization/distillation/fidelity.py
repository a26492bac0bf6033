"""Agreement of a loss network with VGG-16: of their gradients over pixels, on the pictures that descent visits."""

import torch
from torch import Tensor

from stylization.distillation.matching import cosines
from stylization.distillation.networks import LAYERS
from stylization.loss_networks.vgg import VGG
from stylization.objective import gram_matrix, relative

CONTENT_LAYER, CONTENT, TOTAL = "relu2_2", "content", "total"
STYLE_WEIGHT = 6.0
DESCENT_STEPS, STEP_SIZE = 20, 0.02


def gradients(network: VGG, style: Tensor, x: Tensor, content: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """The gradients over the pixels of x of each term, and the total of each image.

    The terms are the style distances at `LAYERS`, "content", and "total": content plus `STYLE_WEIGHT` times the mean
    of the style distances, in relative units and without total variation.
    """
    with torch.no_grad():
        styles = {layer: gram_matrix(feature) for layer, feature in network(style, LAYERS).items()}
        contents = network(content, [CONTENT_LAYER])[CONTENT_LAYER]
    x = x.detach().clone().requires_grad_()
    features = network(x, LAYERS)
    distances = {layer: relative(gram_matrix(features[layer]), styles[layer]) for layer in LAYERS}
    distances[CONTENT] = relative(features[CONTENT_LAYER], contents)
    found = {
        name: torch.autograd.grad(distance.sum(), x, retain_graph=name != CONTENT)[0]
        for name, distance in distances.items()
    }
    found[TOTAL] = found[CONTENT] + STYLE_WEIGHT * torch.stack([found[layer] for layer in LAYERS]).mean(0)
    total = distances[CONTENT] + STYLE_WEIGHT * torch.stack([distances[layer] for layer in LAYERS]).mean(0)
    return found, total.detach()


def descended(network: VGG, style: Tensor, content: Tensor) -> Tensor:
    """The photographs after `DESCENT_STEPS` steps of equal length along the gradient of the total."""
    x = content
    for _ in range(DESCENT_STEPS):
        slope = gradients(network, style, x, content)[0][TOTAL]
        x = (x - STEP_SIZE * slope / slope.square().mean((1, 2, 3), keepdim=True).sqrt().clamp_min(1e-12)).clamp(0, 1)
    return x


def agreement(network: VGG, teacher: VGG, style: Tensor, x: Tensor, content: Tensor) -> dict[str, Tensor]:
    """The cosine of the two networks' gradients, image by image, for each term."""
    ours, theirs = (gradients(each, style, x, content)[0] for each in (network, teacher))
    return {name: cosines(ours[name], theirs[name]) for name in ours}


def fidelity(network: VGG, teacher: VGG, photographs: Tensor, style: Tensor) -> dict[str, float]:
    """The mean cosine of the totals' gradients on photographs and on pictures descended by each network."""
    pictures = {
        "photographs": photographs,
        "descended by VGG-16": descended(teacher, style, photographs),
        "descended by the student": descended(network, style, photographs),
    }
    return {
        name: agreement(network, teacher, style, x, photographs)[TOTAL].mean().item() for name, x in pictures.items()
    }
