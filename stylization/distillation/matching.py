"""How far a student's objective and its gradient over pixels are from the teacher's.

The teacher's features are A f with f the student's, so that with C = A'A distances need no wide features:
|A d|^2 = tr(C dd') between features, and |A D A'|^2 = tr(C D C D) between Gram matrices.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from stylization.distillation.networks import CONTENT_LAYERS, LAYERS, Features

SCALES = (1, 4)  # px: gradients are compared as they are, and averaged over blocks
NORM_SHARE = 0.1  # of the term that compares the gradients' lengths

Metrics = Mapping[str, Tensor]  # C of each layer; none for the teacher


class Weights(NamedTuple):
    """Weights of the objective's distances, for each image of a batch."""

    content: Tensor  # (b, len(CONTENT_LAYERS))
    style: Tensor  # (b, len(LAYERS))

    @staticmethod
    def of(style: float, content_layer: str = "relu2_2") -> "Weights":
        """A content weight of 1 at one layer; the style weight shared by the four layers alike."""
        content = torch.tensor([[float(layer == content_layer) for layer in CONTENT_LAYERS]])
        return Weights(content, torch.full((1, len(LAYERS)), style / len(LAYERS)))


def gram(features: Tensor) -> Tensor:
    """As `objective.gram_matrix`, but differentiable twice."""
    x = features.permute(0, 2, 3, 1).flatten(1, 2)
    return x.mT @ x / x.shape[1]


def grams(features: Features) -> dict[str, Tensor]:
    """The Gram matrices of all layers."""
    return {layer: gram(feature) for layer, feature in features.items()}


def objective(
    features: Features,
    matrices: Features,
    contents: Features,
    styles: Features,
    weights: Weights,
    metrics: Metrics | None = None,
) -> Tensor:
    """The relative objective of each image, (b,), from its features and Gram matrices and those it is held to."""
    terms = []
    for i, layer in enumerate(CONTENT_LAYERS):
        metric = None if metrics is None else metrics[layer]
        difference, target = (_energy(x, metric) for x in (features[layer] - contents[layer], contents[layer]))
        terms.append(weights.content[:, i] * difference / target)
    for i, layer in enumerate(LAYERS):
        metric = None if metrics is None else metrics[layer]
        difference, target = (_gram_energy(x, metric) for x in (matrices[layer] - styles[layer], styles[layer]))
        terms.append(weights.style[:, i] * difference / target)
    return torch.stack(terms).sum(0)


def _energy(x: Tensor, metric: Tensor | None) -> Tensor:
    """|A x|^2 per pixel of each image."""
    if metric is None:
        return x.square().sum(1).mean((1, 2))
    return (gram(x) * metric).sum((1, 2))


def _gram_energy(x: Tensor, metric: Tensor | None) -> Tensor:
    """|A X A'|^2 of each image."""
    if metric is not None:
        x = metric @ x
    return (x * x.mT).sum((1, 2))


def gradient_mismatch(ours: Tensor, theirs: Tensor) -> Tensor:
    """1 - cosine of two gradients (b, 3, h, w), mean over images and `SCALES`, plus the squared log of their ratio."""
    terms = [NORM_SHARE * (_norms(ours) / _norms(theirs)).log().square().mean()]
    for scale in SCALES:
        a, b = (F.avg_pool2d(x, scale) for x in (ours, theirs))
        terms.append((1 - cosines(a, b)).mean() / len(SCALES))
    return torch.stack(terms).sum()


def cosines(a: Tensor, b: Tensor) -> Tensor:
    """The cosine between two batches, image by image: (b,)."""
    return (a * b).flatten(1).sum(1) / (_norms(a) * _norms(b))


def _norms(x: Tensor) -> Tensor:
    return (x.square().flatten(1).sum(1) + 1e-24).sqrt()


def feature_mismatch(ours: Features, matrices: Features, theirs: Features, maps: Features) -> Tensor:
    """|A f - F|^2 / |F|^2, mean over images and layers: tr(C ff') - 2 tr(A' Ff') + |F|^2 over |F|^2."""
    terms = []
    for layer, f in ours.items():
        a, target = maps[layer], theirs[layer]
        rows, wide = (x.permute(0, 2, 3, 1).flatten(1, 2) for x in (f, target))
        products = wide.mT @ rows / rows.shape[1]
        energy = _energy(target, None)
        residual = (a.T @ a * matrices[layer]).sum((1, 2)) - 2 * (a * products).sum((1, 2)) + energy
        terms.append((residual / energy).mean())
    return torch.stack(terms).mean()


def gram_mismatch(ours: Features, theirs: Features, maps: Features) -> Tensor:
    """|A G A' - H|^2 / |H|^2, mean over images and layers."""
    terms = []
    for layer, matrix in ours.items():
        a, target = maps[layer], theirs[layer]
        terms.append((_gram_energy(a @ matrix @ a.T - target, None) / _gram_energy(target, None)).mean())
    return torch.stack(terms).mean()


def index(features: Features, order: Sequence[int]) -> dict[str, Tensor]:
    """The features of these images of the batch."""
    return {layer: feature[list(order)] for layer, feature in features.items()}
