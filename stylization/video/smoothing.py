"""What keeps a stylized video from flickering, and how much it does."""

import copy
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from stylization.normalization import smooth_statistics
from stylization.stylizer import Stylizer

ALIKE = 0.5  # correlation from which two neighbouring frames are of one shot
NUM_PAIRS, LEAST_APART = 32, 8  # of neighbouring frames that flicker is measured on


class Smoothed:
    """A stylizer for a video's frames, in order: their statistics are smoothed, and begin anew where a shot does."""

    def __init__(self, stylizer: Stylizer, smooth: float) -> None:
        self.stylizer, self.smooth = copy.deepcopy(stylizer), smooth
        smooth_statistics(self.stylizer.generator, smooth)
        self.last: Tensor | None = None

    def __call__(self, frames: Tensor, **options: Any) -> Tensor:
        """The next frames stylized, (b, 3, h, w) in [0, 1]."""
        before = frames[0] if self.last is None else self.last
        cuts = [i for i, (a, b) in enumerate(pairwise((before, *frames))) if is_cut(a, b)]
        stylized = []
        for start, end in pairwise(sorted({0, *cuts, len(frames)})):
            if start in cuts:
                smooth_statistics(self.stylizer.generator, self.smooth)
            stylized.append(self.stylizer(frames[start:end], **options))
        self.last = frames[-1]
        return torch.cat(stylized)


def is_cut(before: Tensor, after: Tensor) -> bool:
    """Whether two neighbouring frames, (3, h, w), are of different shots: seen small, they do not correlate.

    A correlation does not mind an exposure that changes, and a camera or an object moves little between two frames.
    """
    small = [functional.adaptive_avg_pool2d(frame, (9, 16)).flatten() for frame in (before, after)]
    a, b = (x - x.mean() for x in small)
    return bool(functional.cosine_similarity(a, b, dim=0) < ALIKE)


class Flicker:
    """How much more a stylized video changes from frame to frame than its photographs do.

    The mean absolute change between neighbouring frames, over that of the photographs: `metrics.flicker` with what
    changes in a video in the place of noise. Measured on pairs of neighbours spread evenly over the video, cuts left
    out, on the frames as painted and as the `plain` stylizer paints them.
    """

    def __init__(self, plain: Callable[[Tensor], Tensor], num_frames: int) -> None:
        self.plain, self.every = plain, max(LEAST_APART, num_frames // NUM_PAIRS)
        self.num_frames = self.num_pairs = 0
        self.changes = torch.zeros(3, dtype=torch.float64)  # of the photographs, plain, as painted
        self.last: tuple[Tensor, Tensor] | None = None

    def update(self, photographs: Tensor, painted: Tensor) -> None:
        """The next frames, (b, 3, h, w)."""
        for photograph, stylized in zip(photographs, painted, strict=True):
            if self.last and self.num_frames % self.every == 0 and not is_cut(self.last[0], photograph):
                before, painted_before = self.last
                pair = torch.stack((before, photograph))
                pairs = (pair, self.plain(pair), torch.stack((painted_before, stylized)))
                self.changes += torch.stack([(x[1] - x[0]).abs().mean().double() for x in pairs])
                self.num_pairs += 1
            self.last = (photograph, stylized)
            self.num_frames += 1

    @property
    def before(self) -> float:
        """Without smoothing."""
        return float(self.changes[1] / self.changes[0])

    @property
    def after(self) -> float:
        """As painted."""
        return float(self.changes[2] / self.changes[0])

    def __str__(self) -> str:
        if not self.changes[0]:
            return "flicker: not measured, there are too few frames, or they do not change"
        return (
            f"flicker: {self.before:.3f} without smoothing, {self.after:.3f} with it ({self.num_pairs} pairs of frames)"
        )
