"""What one generator of many styles is asked for: which mixture of them, how strong, how large the strokes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from stylization.errors import InputError

Mixture = str | Mapping[str, float | Tensor | None]  # a style; or the share of several, a number or a map (h, w)
LARGEST_STROKE = 1.6  # what `size` = 1 means; -1 is its inverse, 0 the style picture at its own size


@dataclass(frozen=True)
class Condition:
    """For each of b pictures, or with b = 1 for all of them: `mix` over k styles (b, k), or pixel by pixel (b, k, h,
    w), which sums to 1 over the styles; `strength` (b,) from 0, the photograph, to 1; and `size` (b,) of the strokes,
    the logarithm to base `LARGEST_STROKE`, from -1 to 1."""

    mix: Tensor
    strength: Tensor
    size: Tensor

    @staticmethod
    def of(mix: Sequence[float] | Tensor, strength: float = 1.0, scale: float = 1.0) -> Condition:
        """One for all pictures. `mix` holds k weights that add up to 1, or k maps of weights (k, h, w)."""
        weights = torch.as_tensor(mix, dtype=torch.float32)
        size = max(-1.0, min(1.0, math.log(scale) / math.log(LARGEST_STROKE)))
        return Condition(weights[None], torch.tensor([strength]), torch.tensor([size]))

    @staticmethod
    def drawn(first: int, num_images: int, num_styles: int, strength: bool, size: bool) -> Condition:
        """For training images `first`, `first` + 1, ...: each style in turn, and every other time through all of them
        a strength and a size drawn at random, from PyTorch's own generator."""
        numbers = torch.arange(first, first + num_images)
        mix = torch.nn.functional.one_hot(numbers % num_styles, num_styles).float()
        free = (numbers // num_styles) % 2 == 1
        strengths, sizes = torch.rand(num_images), 2 * torch.rand(num_images) - 1
        return Condition(
            mix,
            torch.where(free & torch.tensor(strength), strengths, 1.0),
            torch.where(free & torch.tensor(size), sizes, 0.0),
        )

    def to(self, device: torch.device | str) -> Condition:
        mix, strength, size = (x.to(device, non_blocking=True) for x in (self.mix, self.strength, self.size))
        return Condition(mix, strength, size)

    def rows(self, strength: bool, size: bool) -> Tensor:
        """The weights of a table's rows, (b, rows) or (b, rows, h, w): no style, if `strength` is to be controlled;
        the strokes' size, if that is; then the styles."""
        by_image = [-1] + [1] * (self.mix.ndim - 1)

        def row(values: Tensor) -> Tensor:
            return values.view(by_image).expand(len(self.mix), 1, *self.mix.shape[2:])

        own = self.strength if strength else torch.ones_like(self.strength)
        weights = [self.mix * own.view(by_image)]
        if size:
            weights.insert(0, row(self.size * own))
        if strength:
            weights.insert(0, row(1 - own))
        return torch.cat(weights, 1)


@runtime_checkable
class Conditioned(Protocol):
    """A module that must be told what pictures are to look like."""

    num_styles: int
    strength: bool  # whether it can be asked for less than the whole style
    size: bool  # whether for larger or smaller strokes
    rows: Tensor | None


def conditional(network: nn.Module) -> list[Conditioned]:
    """The modules of a network that must be told."""
    return [module for module in network.modules() if isinstance(module, Conditioned)]


def condition(network: nn.Module, wanted: Condition) -> None:
    """Tell all of them, for the next pictures."""
    for module in conditional(network):
        module.rows = wanted.rows(module.strength, module.size)


def mixed(mixture: Mixture, styles: Sequence[str]) -> Tensor:
    """The weights of all `styles`, (k,) or (k, h, w), which add up to 1. Maps must be of one size; styles without a
    share get what the maps of others leave. Raises `InputError` for a style that is not there, and for shares that
    are negative or nothing."""
    shares = {mixture: 1.0} if isinstance(mixture, str) else dict(mixture)
    for name in shares:
        if name not in styles:
            raise InputError(f"no style '{name}' in this model: it has {', '.join(styles)}")
    maps = [share for share in shares.values() if isinstance(share, Tensor)]
    if len({share.shape for share in maps}) > 1:
        raise InputError("the masks of styles must be of one size")
    size = maps[0].shape if maps else ()
    given = sum(maps, start=torch.zeros(size))
    rest = (1 - given).clamp_min(0) if maps else torch.ones(())
    weights = torch.zeros(len(styles), *size)
    for name, share in shares.items():
        weights[styles.index(name)] = rest if share is None else torch.as_tensor(share)
    if bool((weights < 0).any()) or not bool((weights.sum(0) > 0).all()):
        raise InputError("the shares of styles must not be negative, and add up to more than nothing everywhere")
    return weights / weights.sum(0)


def sampled(maps: Tensor, size: tuple[int, int], box: tuple[tuple[int, int], tuple[int, int]]) -> Tensor:
    """Maps (b, c, h, w), stretched to `size` by linear interpolation, inside a box of rows and columns of it."""
    for dim, side, (start, end) in zip((2, 3), size, box, strict=True):
        last = maps.shape[dim] - 1
        at = ((torch.arange(start, end, device=maps.device) + 0.5) * (last + 1) / side - 0.5).clamp(0, last)
        low = at.long()
        share = (at - low).view([-1, 1] if dim == 2 else [-1])
        maps = torch.lerp(maps.index_select(dim, low), maps.index_select(dim, (low + 1).clamp(max=last)), share)
    return maps
