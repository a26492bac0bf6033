"""What training minimises: how far a stylization is from its photograph and from the style, as a loss network sees it.

Feature and style reconstruction after Gatys et al. 2016 and Johnson et al. 2016, and total variation, each a number
whose unit is a choice of its own.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from stylization.conditions import Condition
from stylization.errors import InputError
from stylization.loss_networks.vgg import VGG

TERMS = ("content", "style", "tv")


def gram_matrix(features: Tensor) -> Tensor:
    """Mean over pixels of the outer product of the channels, G = F F' / (h w): (b, c, h, w) -> (b, c, c).

    In float32 whatever the features' precision: sums over a picture overflow half precision.
    """
    with torch.autocast(features.device.type, enabled=False):
        rows = features.float().permute(0, 2, 3, 1).flatten(1, 2)  # pixels; a view where their channels lie together
        gram: Tensor = _Gram.apply(rows)  # type: ignore[no-untyped-call]
        return gram / rows.shape[1]


class _Gram(torch.autograd.Function):
    """X' X, (b, n, c) -> (b, c, c), whose gradient is X (dG + dG'): one product, where each X by itself takes one."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        return rows.mT @ rows

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        (rows,) = ctx.saved_tensors
        gradient: Tensor = rows @ (slope + slope.mT)
        return gradient


def relative(x: Tensor, target: Tensor) -> Tensor:
    """|x - target|^2 / |target|^2 of each image: (b,)."""
    energy = target.square().flatten(1).sum(1)
    return (x - target).square().flatten(1).sum(1) / energy.clamp_min(1e-12)


def mean_squared(x: Tensor, target: Tensor) -> Tensor:
    """The mean of (x - target)^2 over the elements of each image: (b,)."""
    return (x - target).square().flatten(1).mean(1)


def squared_norm(x: Tensor, target: Tensor) -> Tensor:
    """|x - target|^2 of each image: (b,)."""
    return (x - target).square().flatten(1).sum(1)


def mean_variation(images: Tensor) -> Tensor:
    """Mean squared difference between neighbours, down plus across: independent of the image's size."""
    down, across = images.diff(dim=2), images.diff(dim=3)
    return down.square().mean() + across.square().mean()


def summed_variation(images: Tensor) -> Tensor:
    """Half the sum of squared differences between neighbours in 0..255, over the whole batch: the energy whose
    gradient jcjohnson/fast-neural-style's and texture_nets' TotalVariation layers add to the output's."""
    down, across = images[..., :-1, :-1] - images[..., 1:, :-1], images[..., :-1, :-1] - images[..., :-1, 1:]
    return 0.5 * 255.0**2 * (down.square().sum() + across.square().sum())


@dataclass(frozen=True)
class Units:
    """How the squared distances of an objective are measured, and how its layers add up."""

    features: Callable[[Tensor, Tensor], Tensor]
    grams: Callable[[Tensor, Tensor], Tensor]
    gram_per_channel: bool  # G / c, the published F F' / (c h w)
    mean_over_layers: bool
    variation: Callable[[Tensor], Tensor]


UNITS = {
    # Ours: a weight means the same for every style, image size, loss network and feature scale.
    "relative": Units(relative, relative, False, True, mean_variation),
    # Johnson et al. 2016, eq. 2-4: features per element, Gram matrices by the squared Frobenius norm.
    "johnson": Units(mean_squared, squared_norm, True, False, summed_variation),
    # texture_nets: nn.MSECriterion on both, Gram / (c h w). fast-neural-style's *code* is the same: it divides
    # eq. 4 by c^2, and its default weights (style 5) belong to that. Both presume features of Caffe's scale.
    "texture_nets": Units(mean_squared, mean_squared, True, False, summed_variation),
    # pytorch/examples fast_neural_style: the same distances, on features of torchvision's scale, without variation.
    "pytorch_examples": Units(mean_squared, mean_squared, True, False, mean_variation),
}


class Objective(nn.Module):
    """`objective(stylized, content)` -> {"content", "style", "tv"}: unweighted scalars from (b, 3, h, w) images.

    `style` is a picture (1, 3, h, w), or for each of several styles its pictures from small to large strokes (one, or
    three for the sizes -1, 0 and 1 of a `Condition`). Their Gram matrices are computed once, at construction. Layers
    come as a sequence of names, or as a mapping to weights of their own. `style_weights` takes the place of
    `weights["style"]` for those of several styles that have one. `total(terms)` is the weighted sum that trains.

    A `condition` says which mixture of the styles' matrices, at which size, each image is held to. At a strength s the
    style weighs s^2 of what it does at 1, and there is a term "photograph": the relative squared distance of the
    pixels from the photograph's, times (1 - s)^2.
    """

    def __init__(
        self,
        loss_network: VGG,
        style: Tensor | Sequence[Sequence[Tensor]],
        content_layers: Sequence[str] | Mapping[str, float],
        style_layers: Sequence[str] | Mapping[str, float],
        weights: Mapping[str, float],
        units: str = "relative",
        style_weights: Sequence[float | None] = (),
    ) -> None:
        super().__init__()
        if units not in UNITS:
            raise InputError(f"objective.units={units}: choose one of {', '.join(UNITS)}")
        self.loss_network = loss_network
        self.units = UNITS[units]
        self.weights = {term: float(weights[term]) for term in TERMS}
        self.weights["photograph"] = float(weights.get("photograph", 1.0))
        self.content_layers, self.style_layers = _layer_weights(content_layers), _layer_weights(style_layers)
        if not self.content_layers or not self.style_layers:
            raise InputError("objective.content_layers and objective.style_layers need at least one layer each")
        pictures = [[style]] if isinstance(style, Tensor) else style
        num_sizes = len(pictures[0])
        usual = self.weights["style"]
        own = [usual if weight is None else weight for weight in style_weights or [None] * len(pictures)]
        shares = torch.tensor([weight / usual if usual else 1.0 for weight in own])
        self.register_buffer("style_shares", shares, persistent=False)
        with torch.no_grad():
            grams = [
                {layer: self._gram(features) for layer, features in loss_network(x, list(self.style_layers)).items()}
                for of_style in pictures
                for x in of_style
            ]
        for layer in self.style_layers:
            targets = torch.cat([of_picture[layer] for of_picture in grams])
            self.register_buffer(f"target_{layer}", targets.unflatten(0, (-1, num_sizes)), persistent=False)

    def forward(self, stylized: Tensor, content: Tensor, condition: Condition | None = None) -> dict[str, Tensor]:
        if content.shape[1] != 3:
            raise InputError("data=pairs carries stylizations that this objective does not look at: objective=paired")
        with torch.no_grad():
            targets = self.loss_network(content, list(self.content_layers))
        features = self.loss_network(stylized, [*self.content_layers, *self.style_layers])
        content_term = self._over_layers(
            {
                k: w * self.units.features(features[k].float(), targets[k].float())
                for k, w in self.content_layers.items()
            }
        )
        style_term = self._over_layers(
            {k: w * self._style_distance(k, features[k], condition) for k, w in self.style_layers.items()}
        )
        variation = self.units.variation(stylized.float())
        if condition is None:
            return {"content": content_term.mean(), "style": style_term.mean(), "tv": variation}
        strength, shares = condition.strength, condition.mix @ self.get_buffer("style_shares")
        style_term = strength.square() * shares * style_term
        photograph = (1 - strength).square() * relative(stylized.float(), content.float())
        terms = {"content": content_term.mean(), "style": style_term.mean(), "tv": variation}
        return terms | {"photograph": photograph.mean()}

    def total(self, terms: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum of the terms."""
        known = [term for term in self.weights if term in terms]
        return sum((self.weights[term] * terms[term] for term in known), start=torch.zeros_like(terms["content"]))

    def _gram(self, features: Tensor) -> Tensor:
        gram = gram_matrix(features)
        return gram / features.shape[1] if self.units.gram_per_channel else gram

    def _style_distance(self, layer: str, features: Tensor, condition: Condition | None) -> Tensor:
        gram, targets = self._gram(features), self.get_buffer(f"target_{layer}")
        if condition is None:
            return self.units.grams(gram, targets[0, targets.shape[1] // 2].expand_as(gram))
        wanted = torch.einsum("bk,bs,ksij->bij", condition.mix, _near(condition.size, targets.shape[1]), targets)
        return self.units.grams(gram, wanted.expand_as(gram))

    def _over_layers(self, distances: Mapping[str, Tensor]) -> Tensor:
        total = torch.stack(list(distances.values())).sum(0)
        return total / len(distances) if self.units.mean_over_layers else total


class Paired(Objective):
    """Trains on pairs: the distance of a stylization from the one that the iterative method made of its photograph.

    `content` (b, 6, h, w) holds the photographs and those targets. The term "pair" is the mean of the relative squared
    distances of the pixels and of the features at the style layers (Johnson et al. 2016, eq. 2, at several layers),
    and is alone what trains; the usual terms are there to be compared. Photographs without a pair (b, 3, h, w), the
    held-out ones, have the usual terms and total only.
    """

    def forward(self, stylized: Tensor, content: Tensor, condition: Condition | None = None) -> dict[str, Tensor]:
        terms = super().forward(stylized, content[:, :3], condition)
        if content.shape[1] == 3:
            return terms
        target, layers = content[:, 3:], list(self.style_layers)
        with torch.no_grad():
            wanted = self.loss_network(target, layers)
        features = self.loss_network(stylized, layers)
        distances = [relative(features[k].float(), wanted[k].float()) for k in layers]
        return terms | {"pair": torch.stack([relative(stylized.float(), target.float()), *distances]).mean()}

    def total(self, terms: Mapping[str, Tensor]) -> Tensor:
        if "pair" not in terms and torch.is_grad_enabled():
            raise InputError("objective=paired trains on pairs: data=pairs data.targets.path=<their stylizations>")
        return terms["pair"] if "pair" in terms else super().total(terms)


def _near(size: Tensor, num_sizes: int) -> Tensor:
    """The weights, (b, num_sizes), that interpolate between pictures for the sizes -1, 0, 1; or of the only one."""
    if num_sizes == 1:
        return torch.ones_like(size)[:, None]
    return torch.stack([(-size).clamp_min(0), 1 - size.abs(), size.clamp_min(0)], 1)


def _layer_weights(layers: Sequence[str] | Mapping[str, float]) -> dict[str, float]:
    return {k: float(v) for k, v in layers.items()} if isinstance(layers, Mapping) else dict.fromkeys(layers, 1.0)
