"""The pictures on which a student is compared with its teacher: those that descent of their objectives visits."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from stylization import images, styles
from stylization.content.stream import Stream
from stylization.distillation.matching import Weights
from stylization.generators import Johnson
from stylization.muon import Muon
from stylization.normalization import Norm

NUM_SCENES = 3  # photographs, each with a style, in a batch
STYLE_PX = (96, 640)  # short side to which a style picture is reduced before it is cropped
DESCENT_STEPS = 24  # after which a descended picture starts from a new photograph
STEP_SIZE = 0.02  # root mean square of a step of descent
GENERATOR_STEPS = (50, 400)  # after which a generator starts anew
STYLE_WEIGHTS = (2.0, 30.0)


class Batch(NamedTuple):
    """Pictures `x` with the objective each is held to: `scene[i]` is the photograph and `style[i]` the style of x[i],
    both rows of `targets`."""

    x: Tensor
    targets: Tensor
    scene: list[int]
    style: list[int]
    weights: Weights


class Painter:
    """A small generator in training, led by the student's gradient or by the teacher's."""

    def __init__(self, number: int, steps: int, weight: float) -> None:
        torch.manual_seed(number)
        self.number, self.steps, self.weight, self.age = number, steps, weight, 0
        self.generator = Johnson(Norm, width=16, num_blocks=3).to(memory_format=torch.channels_last)
        self.optimizer = Muon(self.generator.parameters())

    def paint(self, x: Tensor) -> Tensor:
        painted: Tensor = self.generator(x.contiguous(memory_format=torch.channels_last))
        return painted

    def follow(self, painted: Tensor, gradient: Tensor) -> None:
        """One step of training, whose rate falls to a tenth over the generator's life."""
        for group in self.optimizer.param_groups:
            group["lr"] = 0.008 * 0.1 ** (self.age / self.steps)
        self.optimizer.zero_grad()
        painted.backward(gradient / len(painted))
        self.optimizer.step()
        self.age += 1

    def state_dict(self) -> dict[str, Any]:
        settings = {"number": self.number, "steps": self.steps, "weight": self.weight, "age": self.age}
        return settings | {"generator": self.generator.state_dict(), "optimizer": self.optimizer.state_dict()}

    @staticmethod
    def of(state: dict[str, Any]) -> "Painter":
        painter = Painter(state["number"], state["steps"], state["weight"])
        painter.age = state["age"]
        painter.generator.load_state_dict(state["generator"])
        painter.optimizer.load_state_dict(state["optimizer"])
        return painter


class Pictures:
    """Batches of pictures that follow the gradients they are given.

    Three scenes, a photograph and a style each, are shown as outputs of two generators in training (one led by the
    student's gradient, one by the teacher's), as pictures whose pixels descend (two by the student's gradient, one by
    the teacher's), and as the photograph with planted artifacts. Since training computes both gradients of all these
    pictures anyway, following them costs only the generators.
    """

    def __init__(self, stream: Stream, seed: int) -> None:
        self.stream = stream
        self.size_px = stream.size_px
        self.random = torch.Generator().manual_seed(seed)
        self.num_read = 0
        self.num_painters = 0
        self.photographs = torch.stack([self.photograph() for _ in range(NUM_SCENES)])
        self.styles = torch.stack([self.style() for _ in range(NUM_SCENES)])
        self.moving = self.photographs.clone()
        self.ages = [DESCENT_STEPS * i // NUM_SCENES for i in range(NUM_SCENES)]
        self.painters = [self._painter(), self._painter()]
        self._painted: list[Tensor] = []

    def batch(self) -> Batch:
        """The pictures of the next step."""
        self._renew()
        self._painted = [self.painters[0].paint(self.photographs[:2]), self.painters[1].paint(self.photographs[1:])]
        damaged = [self.integer(0, NUM_SCENES) for _ in range(NUM_SCENES)]
        planted = torch.stack([self.damage(self.photographs[i]) for i in damaged])
        other_styles = [self.integer(0, NUM_SCENES) for _ in range(NUM_SCENES)]
        scene = [0, 1, 1, 2, 0, 1, 2, *damaged]
        style = [0, 0, 1, 1, 0, 1, 2, *other_styles]
        led = [Weights.of(self.painters[i].weight) for i in (0, 0, 1, 1)]
        weights = [*led, *(Weights.of(8.0) for _ in range(NUM_SCENES)), *(self._weights() for _ in range(NUM_SCENES))]
        return Batch(
            torch.cat([*(x.detach() for x in self._painted), self.moving, planted]),
            torch.cat([self.photographs, self.styles]),
            scene,
            [NUM_SCENES + i for i in style],
            Weights(*(torch.cat(parts) for parts in zip(*weights, strict=True))),
        )

    def follow(self, student: Tensor, teacher: Tensor) -> None:
        """Take one step along the gradients of the last batch: generators train, pictures descend."""
        self.painters[0].follow(self._painted[0], student[:2])
        self.painters[1].follow(self._painted[1], teacher[2:4])
        gradient = torch.stack([student[4], teacher[5], student[6]])
        root_mean_square = gradient.square().mean((1, 2, 3), keepdim=True).sqrt() + 1e-12
        self.moving = (self.moving - STEP_SIZE * gradient / root_mean_square).clamp(0, 1)
        self.ages = [age + 1 for age in self.ages]

    def state_dict(self) -> dict[str, Any]:
        """All that the next batches depend on."""
        return {
            "random": self.random.get_state(),
            "num_read": self.num_read,
            "num_painters": self.num_painters,
            "photographs": self.photographs,
            "styles": self.styles,
            "moving": self.moving,
            "ages": self.ages,
            "painters": [painter.state_dict() for painter in self.painters],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.random.set_state(state["random"])
        self.painters = [Painter.of(painter) for painter in state["painters"]]
        for name in ("num_read", "num_painters", "photographs", "styles", "moving", "ages"):
            setattr(self, name, state[name])

    def photograph(self) -> Tensor:
        self.num_read += 1
        return images.to_float(self.stream[self.num_read - 1].pixels)

    def style(self) -> Tensor:
        """A crop of a bundled style picture, at any size, or a photograph."""
        if self.uniform(0, 1) < 0.4:
            return self.photograph()
        names = styles.names()
        low, high = (max(math.log(side), math.log(self.size_px)) for side in STYLE_PX)
        picture = styles.read(names[self.integer(0, len(names))], round(math.exp(self.uniform(low, high))))[0]
        top, left = (self.integer(0, side - self.size_px + 1) for side in picture.shape[1:])
        return picture[:, top : top + self.size_px, left : left + self.size_px]

    def damage(self, x: Tensor) -> Tensor:
        """The picture, or a flat area of one of its colors, blurred or with an artifact planted on it."""
        if self.uniform(0, 1) < 0.25:
            top, left = self.integer(0, self.size_px), self.integer(0, self.size_px)
            x = x[:, top, left, None, None].expand_as(x)
        kind = self.integer(0, 5)
        if kind == 0:
            small = F.interpolate(x[None], size=int(self.size_px / self.uniform(1.5, 6)), mode="area")
            return F.interpolate(small, size=self.size_px, mode="bilinear")[0]
        if kind == 1:
            return (x + self.normal(*x.shape) * self.log_uniform(0.01, 0.3)).clamp(0, 1)
        if kind == 2:  # blocks of color
            cells = 2 ** self.integer(2, 7)
            blocks = torch.rand(1, 3, cells, cells, generator=self.random)
            return torch.lerp(x, F.interpolate(blocks, size=self.size_px, mode="nearest")[0], self.uniform(0.1, 0.8))
        return (x + self.lattice() * self.log_uniform(0.01, 0.2)).clamp(0, 1)

    def lattice(self) -> Tensor:
        """Stripes or a lattice of two stripes across, of a period from 2 to 16 px, in a random color."""
        angle, period = self.uniform(0, math.pi), self.log_uniform(2, 16)
        if self.integer(0, 2):  # aligned with the pixels, where convolutions and upsampling leave theirs
            angle, period = self.integer(0, 4) * math.pi / 4, float(self.integer(2, 17))
        waves = self._wave(angle, period)
        if self.integer(0, 2):
            waves = waves * self._wave(angle + math.pi / 2, period)
        if self.integer(0, 2):
            waves = waves.sign()
        color = self.normal(3, 1, 1) if self.integer(0, 2) else torch.ones(3, 1, 1)
        return color * waves

    def _wave(self, angle: float, period: float) -> Tensor:
        y, x = torch.meshgrid(*(2 * [torch.arange(self.size_px, dtype=torch.float32)]), indexing="ij")
        phase = self.uniform(0, 2 * math.pi)
        return torch.cos(2 * math.pi / period * (math.cos(angle) * x + math.sin(angle) * y) + phase)

    def _renew(self) -> None:
        for i, painter in enumerate(self.painters):
            if painter.age >= painter.steps:
                self.painters[i] = self._painter()
                self.styles[i] = self.style()
        for i, age in enumerate(self.ages):
            if age >= DESCENT_STEPS:
                self.photographs[i] = self.photograph()
                self.moving[i] = self.damage(self.photographs[i]) if self.integer(0, 2) else self.photographs[i]
                self.ages[i] = 0
                if i == NUM_SCENES - 1:  # the others belong to the generators
                    self.styles[i] = self.style()

    def _painter(self) -> Painter:
        self.num_painters += 1
        return Painter(self.num_painters, self.integer(*GENERATOR_STEPS), self.log_uniform(*STYLE_WEIGHTS))

    def _weights(self) -> Weights:
        """Of few layers or many, with either content layer."""
        weights = Weights.of(self.log_uniform(*STYLE_WEIGHTS), "relu3_3" if self.integer(0, 2) else "relu2_2")
        shares = torch.rand(weights.style.shape, generator=self.random).clamp_min(1e-6).log().neg() ** 2
        return Weights(weights.content * self.integer(0, 2), shares / shares.sum() * weights.style.sum())

    def integer(self, low: int, high: int) -> int:
        return int(torch.randint(low, high, (), generator=self.random))

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * torch.rand((), generator=self.random).item()

    def log_uniform(self, low: float, high: float) -> float:
        return math.exp(self.uniform(math.log(low), math.log(high)))

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.random)
