"""What the compact loss network is shown while it learns."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stylization import images
from stylization.content.stream import Stream
from stylization.objective import gram_matrix, relative


class Lessons:
    """Batches to learn from: a quarter photographs, a quarter the same photographs damaged, half being stylized.

    The last half persists from batch to batch. Each picture in it descends the student's own style distance to
    another photograph by a few steps of equal length a batch, and starts anew after `LIFE` batches, no two together.
    """

    LIFE = 24
    MOVES = 2

    def __init__(self, stream: Stream, student: nn.Module, batch_size: int, seed: int) -> None:
        self.stream, self.student = stream, student
        self.quarter = batch_size // 4
        self.random = torch.Generator().manual_seed(seed)
        self.n = 0
        num = batch_size - 2 * self.quarter
        self.moving = self._photographs(num)
        self.models = self._photographs(num)
        self.age = torch.arange(num) * self.LIFE // num

    def take(self, num: int) -> Iterator[Tensor]:
        for _ in range(num):
            photographs = self._photographs(self.quarter)
            self._stylize()
            yield torch.cat([photographs, torch.stack([self._damage(x) for x in photographs]), self.moving])

    def _photographs(self, num: int) -> Tensor:
        self.n += num
        return images.to_float(torch.stack([self.stream[n].pixels for n in range(self.n - num, self.n)]))

    def _uniform(self, low: float, high: float) -> float:
        return low + (high - low) * torch.rand((), generator=self.random).item()

    def _damage(self, x: Tensor) -> Tensor:
        kind = int(self._uniform(0, 5))
        if kind == 0:  # blur
            width = x.shape[-1]
            small = F.interpolate(x[None], size=int(width / self._uniform(1.5, 6)), mode="area")
            return F.interpolate(small, size=width, mode="bilinear")[0]
        if kind == 1:  # noise
            noise = torch.randn(x.shape, generator=self.random)
            return (x + noise * self._uniform(0.03, 0.4)).clamp(0, 1)
        if kind == 2:  # contrast and a colour cast
            cast = torch.rand(3, 1, 1, generator=self.random)
            return torch.lerp(cast.expand_as(x), x, self._uniform(0.2, 0.8))
        if kind == 3:  # two exposures
            other = self._photographs(1)[0]
            return torch.lerp(x, other, self._uniform(0.15, 0.5))
        # blocks of colour, laid over the photograph
        grain = torch.rand(1, 3, *(2 * [2 ** int(self._uniform(3, 8))]), generator=self.random)
        grain = F.interpolate(grain, size=x.shape[-2:], mode="nearest")[0]
        return torch.lerp(x, grain, self._uniform(0.1, 0.9))

    def _stylize(self) -> None:
        old = self.age >= self.LIFE
        if old.any():
            self.moving[old] = self._photographs(int(old.sum()))
            self.models[old] = self._photographs(int(old.sum()))
            self.age[old] = 0
        with torch.no_grad():
            targets = {k: gram_matrix(v) for k, v in self.student(self.models).items()}
        for _ in range(self.MOVES):
            x = self.moving.clone().requires_grad_(True)
            distances = [relative(gram_matrix(v), targets[k]).mean() for k, v in self.student(x).items()]
            (gradient,) = torch.autograd.grad(torch.stack(distances).sum(), x)
            size = gradient.square().mean(dim=(1, 2, 3), keepdim=True).sqrt() + 1e-12
            self.moving = (x.detach() - 0.02 * gradient / size).clamp(0, 1)
        self.age += 1
