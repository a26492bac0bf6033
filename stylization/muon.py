"""Muon: momentum whose every step is of full rank (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon)."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic; same source


class Muon(torch.optim.Optimizer):
    """Steps of `lr` along the orthogonalized momentum of each convolution's weight, and Adam's for all else.

    A weight (c', c, k, k) is taken as the matrix (c', c k k), and its Nesterov momentum M = U S V' replaced by U V',
    times sqrt(max(1, rows / columns)): all directions are learned at one pace, where Adam's steps are ruled by the few
    in which gradients are large. Biases, gammas and betas follow Adam at `lr` times `vector_share`.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 0.008,
        momentum: float = 0.9,
        vector_share: float = 0.2,
        table_share: float = 1.0,
        betas: tuple[float, float] = (0.9, 0.99),
    ) -> None:
        if lr < 0:
            raise ValueError(f"lr={lr:g} must not be negative")
        shares = {"vector_share": vector_share, "table_share": table_share}
        super().__init__(params, {"lr": lr, "momentum": momentum, "betas": tuple(betas), **shares})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    follow = self._orthogonal if parameter.ndim == 4 else self._adam
                    follow(parameter, parameter.grad, group)
        return loss

    def _orthogonal(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        state["momentum"].lerp_(gradient, 1 - group["momentum"])
        direction = orthogonalized(gradient.lerp(state["momentum"], group["momentum"]).flatten(1))
        rows, columns = direction.shape
        weight.add_(direction.view_as(weight), alpha=-group["lr"] * max(1.0, rows / columns) ** 0.5)

    def _adam(self, vector: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state, (beta1, beta2) = self.state[vector], group["betas"]
        if not state:
            state |= {"step": 0, "mean": torch.zeros_like(vector), "square": torch.zeros_like(vector)}
        state["step"] += 1
        state["mean"].lerp_(gradient, 1 - beta1)
        state["square"].lerp_(gradient.square(), 1 - beta2)
        mean, square = state["mean"] / (1 - beta1 ** state["step"]), state["square"] / (1 - beta2 ** state["step"])
        share = group["table_share"] if vector.ndim == 2 else group["vector_share"]
        vector.sub_(mean / (square.sqrt() + 1e-8), alpha=group["lr"] * share)


def orthogonalized(matrix: Tensor, num_steps: int = 5) -> Tensor:
    """U V' of a matrix U S V', nearly: singular values come out between 0.7 and 1.2 (Newton and Schulz's iteration)."""
    a, b, c = COEFFICIENTS
    x = matrix.float() / (matrix.float().norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    for _ in range(num_steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    direction: Tensor = (x.T if tall else x).to(matrix.dtype)
    return direction
