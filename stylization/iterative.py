"""The slow method: the same objective, minimised over the pixels of one picture (Gatys, Ecker & Bethge 2016).

It has no generator and needs no training. What a generator reaches in one pass is measured against what this reaches
in hundreds of steps.
"""

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.nn import functional

from stylization.errors import InputError
from stylization.objective import Objective

Watch = Callable[[int, dict[str, float]], None]
METHODS = ("lbfgs", "adam")
STARTS = ("photograph", "noise")


def optimize(
    content: Tensor,
    objectives: Sequence[Objective],
    num_steps: int,
    method: Literal["lbfgs", "adam"] = "lbfgs",
    start: Literal["photograph", "noise"] = "photograph",
    lr: float = 0.02,
    seed: int = 0,
    watch: Watch | None = None,
) -> Tensor:
    """The stylization (1, 3, h, w) in [0, 1] of a photograph, after so many steps of descent on the objective.

    `objectives` holds one for each scale, the coarsest first: with two of them the picture is first optimized at half
    its size and goes on, enlarged, at the whole (Gatys et al. 2017); the steps are shared out equally. `lbfgs` is
    Gatys et al.'s choice, with a line search; `adam` takes steps of `lr`. `start` is where the pixels begin.
    `watch(step, terms)` is told after each step. Raises `InputError` if the loss is not finite.
    """
    if content.shape[0] != 1:
        raise InputError(f"one photograph at a time, not {content.shape[0]}")
    random = torch.Generator(content.device).manual_seed(seed)
    noise = torch.rand(content.shape, generator=random, device=content.device)
    x = content if start == "photograph" else noise
    done = 0
    for scale, objective in enumerate(objectives):
        factor = 2 ** (len(objectives) - 1 - scale)
        size = (max(16, content.shape[2] // factor), max(16, content.shape[3] // factor))
        target, x = resized(content, size), resized(x, size)
        share = num_steps * (scale + 1) // len(objectives) - done
        x = _descend(x, target, objective, share, method, lr, partial(_shifted, watch, done))
        done += share
    return x


def _shifted(watch: Watch | None, done: int, step: int, terms: dict[str, float]) -> None:
    if watch is not None:
        watch(done + step, terms)


def resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    if images.shape[2:] == size:
        return images
    return functional.interpolate(images, size, mode="bilinear", antialias=True)


def _descend(
    start: Tensor, content: Tensor, objective: Objective, num_steps: int, method: str, lr: float, watch: Watch
) -> Tensor:
    def evaluated(pixels: Tensor) -> tuple[Tensor, dict[str, float]]:
        """The total, whose graph remains, and all terms as numbers."""
        terms = objective(pixels, content)
        total = objective.total(terms)
        if not torch.isfinite(total):
            raise InputError(f"the objective is {total.item()}: lower lr, or the weights of the objective")
        return total, {name: term.item() for name, term in (terms | {"total": total}).items()}

    descend = _by_lbfgs if method == "lbfgs" else _by_adam
    return descend(start, evaluated, num_steps, lr, watch)


Evaluated = Callable[[Tensor], tuple[Tensor, dict[str, float]]]


def _by_lbfgs(start: Tensor, evaluated: Evaluated, num_steps: int, lr: float, watch: Watch) -> Tensor:
    """SciPy's L-BFGS-B: it keeps the pixels within their bounds, and its line search needs no rate."""
    from scipy.optimize import minimize

    num_pixels = start[0, 0].numel()  # a loss of one picture, times its pixels, has gradients of the pixels' order
    terms: dict[str, float] = {}
    steps = itertools.count(1)

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        pixels = torch.from_numpy(flat).to(start).view_as(start).requires_grad_()
        total, now = evaluated(pixels)
        (gradient,) = torch.autograd.grad(total * num_pixels, pixels)
        terms.update(now)
        return now["total"] * num_pixels, gradient.flatten().double().cpu().numpy()

    def step_done(flat: NDArray[np.float64]) -> None:
        watch(next(steps), dict(terms))

    found = minimize(
        loss,
        start.flatten().double().cpu().numpy(),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0.0, 1.0)] * start.numel(),
        callback=step_done,
        options={"maxiter": num_steps, "maxfun": 10 * num_steps, "maxcor": 20, "ftol": 0.0, "gtol": 0.0},
    )
    return torch.from_numpy(found.x).to(start).view_as(start)


def _by_adam(start: Tensor, evaluated: Evaluated, num_steps: int, lr: float, watch: Watch) -> Tensor:
    pixels = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([pixels], lr)
    for step in range(1, num_steps + 1):
        optimizer.zero_grad()
        total, terms = evaluated(pixels)
        total.backward()
        optimizer.step()
        with torch.no_grad():
            pixels.clamp_(0, 1)
        watch(step, terms)
    return pixels.detach()


def kept_pictures(path: Path, shape: torch.Size) -> Tensor | None:
    """The pictures that the iterative method made, or None if the file has none of this shape."""
    try:
        if not path.is_file():
            return None
        with safe_open(path, framework="pt") as file:
            if "stylized" not in file.keys() or file.get_slice("stylized").get_shape() != list(shape):  # noqa: SIM118
                return None
            stylized: Tensor = file.get_tensor("stylized")
            return stylized if stylized.dtype == torch.float32 and bool(stylized.isfinite().all()) else None
    except (SafetensorError, OSError, ValueError):
        return None
