"""What is wrong, or right, with stylizations beside their objective: each meter a number for each image.

Meters of a picture compare a stylization with its photograph, so that what the photograph has is not held against it;
meters of a generator compare its answers to a photograph and to a changed one.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torchmetrics import Metric, MetricCollection
from torchmetrics.functional.image import structural_similarity_index_measure

Score = Callable[[Tensor, Tensor], Tensor]
Stylize = Callable[[Tensor], Tensor]

BORDER_PX = 8  # what paddings of a generator's 9x9 and 3x3 convolutions reach at full size
BLOB_PX = 4.0  # the radius of the dots that generators make of a saturated feature map
NOISE = 0.02  # of the standard deviation of a camera's noise in poor light, in [0, 1]
SHIFT_PX = 2  # not a multiple of the generator's stride of 4


def ssim(stylized: Tensor, content: Tensor) -> Tensor:
    """Structural similarity to the photograph (Wang et al. 2004), 1 if nothing was changed: (b,)."""
    similarity = structural_similarity_index_measure(stylized, content, data_range=1.0, reduction="none")
    assert isinstance(similarity, Tensor)
    return similarity


def border(stylized: Tensor, content: Tensor) -> Tensor:
    """How far the band along the border differs from the interior, in its colours and in their variation, beyond what
    it does in the photograph: the root mean square of the differences, in units of [0, 1]: (b,)."""
    differences = []
    for images in (stylized, content):
        colour, variation = _smooth(images, 1.0), (images - _smooth(images, 1.0)).abs()
        features = torch.cat([colour, variation], dim=1)
        inside = torch.zeros(images.shape[2:], dtype=torch.bool, device=images.device)
        inside[BORDER_PX:-BORDER_PX, BORDER_PX:-BORDER_PX] = True
        differences.append(features[..., ~inside].mean(-1) - features[..., inside].mean(-1))
    return (differences[0] - differences[1]).square().mean(1).sqrt()


def checkerboard(stylized: Tensor, content: Tensor) -> Tensor:
    """The share of the variance that sits at periods of 2 and 4 pixels, beyond what its neighbourhood in the spectrum
    has: what strided transposed convolutions leave (Odena et al. 2016): (b,). The photograph is not looked at."""
    h, w = (size - size % 4 for size in stylized.shape[2:])
    grey = stylized[..., :h, :w].mean(1)
    window = torch.hann_window(h, device=grey.device)[:, None] * torch.hann_window(w, device=grey.device)
    power = torch.fft.fft2((grey - grey.mean((1, 2), keepdim=True)) * window).abs().square()
    total = power.sum((1, 2))
    excess = torch.zeros_like(total)
    for y in (0, h // 4, h // 2, 3 * h // 4):
        for x in (0, w // 4, w // 2, 3 * w // 4):
            if (y, x) == (0, 0):
                continue
            around = power.roll((5 - y, 5 - x), (1, 2))[:, :11, :11]
            peak = around[:, 4:7, 4:7].sum((1, 2))
            floor = (around.sum((1, 2)) - around[:, 3:8, 3:8].sum((1, 2))) / (121 - 25)
            excess = excess + (peak - 9 * floor).clamp_min(0)
    share: Tensor = excess / total.clamp_min(1e-12)
    return share


def blobs(stylized: Tensor, content: Tensor) -> Tensor:
    """How far the strongest dots of `BLOB_PX` stick out: the mean of the strongest thousandth of a difference of
    Gaussians' answers over their root mean square, less the same of the photograph: (b,). The border is left out."""
    scores = []
    for images in (stylized, content):
        dots = (_smooth(images, BLOB_PX / 1.6) - _smooth(images, BLOB_PX * 1.6)).abs().amax(1)
        margin = min(2 * BORDER_PX, min(images.shape[2:]) // 4)
        dots = dots[:, margin:-margin, margin:-margin].flatten(1)
        strongest = dots.topk(max(1, dots.shape[1] // 1000)).values.mean(1)
        scores.append(strongest / dots.square().mean(1).sqrt().clamp_min(1e-6))
    return scores[0] - scores[1]


def clipping(stylized: Tensor, content: Tensor) -> Tensor:
    """The share of values at black or white, beyond the photograph's: (b,)."""
    shares = [((x < 1.5 / 255) | (x > 253.5 / 255)).float().flatten(1).mean(1) for x in (stylized, content)]
    return shares[0] - shares[1]


def contrast_sensitivity(stylize: Stylize, content: Tensor) -> Tensor:
    """How far the answer changes when the photograph's contrast is halved about grey: root mean square: (b,).

    What Ulyanov et al. 2016 ask of a stylization, and instance norm gives: that it does not depend on contrast.
    """
    return _rms(stylize(0.5 * content + 0.25) - stylize(content))


def shift_sensitivity(stylize: Stylize, content: Tensor) -> Tensor:
    """How far the answer, shifted back, changes if the photograph is shifted by `SHIFT_PX`: root mean square: (b,)."""
    whole, shifted = stylize(content), stylize(content.roll((SHIFT_PX, SHIFT_PX), (2, 3)))
    margin = min(4 * BORDER_PX, min(content.shape[2:]) // 4)  # what rolled over the edge is another picture there
    difference = shifted.roll((-SHIFT_PX, -SHIFT_PX), (2, 3)) - whole
    return _rms(difference[..., margin:-margin, margin:-margin])


def flicker(stylize: Stylize, content: Tensor) -> Tensor:
    """How much a noise of `NOISE` in the photograph, as between two frames of a video, is amplified: (b,)."""
    random = torch.Generator().manual_seed(0)
    noise = NOISE * torch.randn(content.shape, generator=random).to(content)
    return _rms(stylize(content + noise) - stylize(content)) / NOISE


def _rms(x: Tensor) -> Tensor:
    return x.square().flatten(1).mean(1).sqrt()


def _smooth(images: Tensor, sigma_px: float) -> Tensor:
    """Gaussian blur, the edges replicated."""
    radius = int(3 * sigma_px + 0.5)
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, device=images.device) / sigma_px) ** 2)
    kernel = (kernel / kernel.sum()).to(images)
    channels = images.shape[1]
    for shape, padding in (((1, 1, -1, 1), (0, 0, radius, radius)), ((1, 1, 1, -1), (radius, radius, 0, 0))):
        weight = kernel.view(shape).expand(channels, -1, -1, -1)
        images = functional.conv2d(functional.pad(images, padding, mode="replicate"), weight, groups=channels)
    return images


class Meter(Metric):
    """The mean of a score over all images it is shown: `update` takes what the score takes."""

    full_state_update = False
    sum: Tensor
    num: Tensor

    def __init__(self, score: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.score = score
        self.add_state("sum", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("num", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, subject: Any, content: Tensor) -> None:
        scores = self.score(subject, content)
        self.sum = self.sum + scores.double().sum()
        self.num = self.num + len(scores)

    def compute(self) -> Tensor:
        return (self.sum / self.num).float()


OF_PICTURES: Mapping[str, Score] = {
    "ssim": ssim,
    "border": border,
    "checkerboard": checkerboard,
    "blobs": blobs,
    "clipping": clipping,
}
OF_GENERATORS: Mapping[str, Callable[[Stylize, Tensor], Tensor]] = {
    "contrast_sensitivity": contrast_sensitivity,
    "shift_sensitivity": shift_sensitivity,
    "flicker": flicker,
}


def meters(scores: Mapping[str, Callable[[Any, Tensor], Tensor]]) -> MetricCollection:
    """A meter for each score, to be shown the same images."""
    return MetricCollection({name: Meter(score) for name, score in scores.items()}, compute_groups=False)
