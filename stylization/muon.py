"""Muon: momentum whose every step is of full rank (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon)."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam

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
            weights: dict[torch.Size, list[Tensor]] = defaultdict(list)
            vectors: list[Tensor] = []
            tables: list[Tensor] = []
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                if parameter.ndim == 4:  # those of one shape take their products of matrices together
                    weights[parameter.shape].append(parameter)
                else:
                    (tables if parameter.ndim == 2 else vectors).append(parameter)
            for alike in weights.values():
                self._orthogonal(alike, group)
            for follow, share in ((vectors, group["vector_share"]), (tables, group["table_share"])):
                if follow:
                    self._adam(follow, group, share)
        return loss

    def _orthogonal(self, weights: Sequence[Tensor], group: dict[str, Any]) -> None:
        momenta = torch.stack([self._momentum(weight, group["momentum"]).flatten(1) for weight in weights])
        rows, columns = momenta.shape[1:]
        for weight, direction in zip(weights, orthogonalized(momenta), strict=True):
            weight.add_(direction.view_as(weight), alpha=-group["lr"] * max(1.0, rows / columns) ** 0.5)

    def _momentum(self, weight: Tensor, decay: float) -> Tensor:
        state, gradient = self.state[weight], weight.grad
        assert gradient is not None
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        state["momentum"].lerp_(gradient, 1 - decay)
        return gradient.lerp(state["momentum"], decay)

    def _adam(self, vectors: Sequence[Tensor], group: dict[str, Any], share: float) -> None:
        for vector in vectors:
            state = self.state[vector]
            if not state:
                state |= {"step": 0, "mean": torch.zeros_like(vector), "square": torch.zeros_like(vector)}
            # A resumed run's count may be on another device, and of older runs is no tensor.
            state["step"] = torch.as_tensor(state["step"], dtype=torch.float32, device=vector.device)
        means, squares, steps = ([self.state[vector][key] for vector in vectors] for key in ("mean", "square", "step"))
        adam(
            list(vectors),
            [vector.grad for vector in vectors if vector.grad is not None],
            means,
            squares,
            [],
            steps,
            fused=True,
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"] * share,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )


def orthogonalized(matrices: Tensor, num_steps: int = 5) -> Tensor:
    """U V' of matrices U S V', (..., rows, columns), nearly: singular values come out between 0.7 and 1.2 (Newton and
    Schulz's iteration)."""
    a, b, c = COEFFICIENTS
    x = matrices.float()
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    for _ in range(num_steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    directions: Tensor = (x.mT if tall else x).to(matrices.dtype)
    return directions
