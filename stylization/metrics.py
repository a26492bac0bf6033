"""Artifacts and similarity of stylizations, beside their objective: each score is a number for each image.

Scores of pictures compare a stylization with its photograph, and some with the style picture, so that what those have
is not counted. Scores of generators compare the outputs for a photograph and for a changed one.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional
from torchmetrics import Metric, MetricCollection
from torchmetrics.functional.image import structural_similarity_index_measure

Stylize = Callable[[Tensor], Tensor]


class PictureScore(Protocol):
    """A score of stylizations (b, 3, h, w) of the photographs `content`: (b,).

    `style` is the style picture (1, 3, h', w') at the size that the generator was trained with. Where it is None, a
    score that subtracts the style picture's own level subtracts only the photograph's. NaN means that the photograph
    has no region where the artifact could be measured.
    """

    def __call__(self, stylized: Tensor, content: Tensor, style: Tensor | None = None) -> Tensor: ...


BORDER_PX = 8  # what paddings of a generator's 9x9 and 3x3 convolutions reach at full size
BLOB_PX = 4.0  # the radius of the dots that generators make of a saturated feature map
NOISE = 0.02  # of the standard deviation of a camera's noise in poor light, in [0, 1]
SHIFT_PX = 2  # not a multiple of the generator's stride of 4
FLAT_SLOPE = 0.015  # of the luminance in [0, 1] per pixel, after a blur of 2 px: sky, walls and skin lie below
LEAST_FLAT = 0.01  # of a photograph's pixels; with fewer there is no flat region to measure in
WINDOW_PX, STRIDE_PX = 64, 16  # a window holds two periods of the coarsest grid
FLAT_SHARE = 0.9  # of a window
WINDOWS_IN_REGION = 5  # in each direction: 128 px, about the size of a flat region
PROMINENCE = 10.0  # of a spectral peak over its neighborhood; strokes and noise stay below
NEAR_PX, FAR_PX = range(2, 9, 2), range(10, 25, 2)  # distances from an edge: the band of a halo, and beyond it
EDGE_SLOPE, EDGE_CONTRAST = 0.03, 0.1  # of a silhouette: per pixel after a blur of 2 px, and between its two sides
LEAST_EDGE_POINTS = 50


def ssim(stylized: Tensor, content: Tensor, style: Tensor | None = None) -> Tensor:
    """Structural similarity to the photograph (Wang et al. 2004), 1 if nothing was changed: (b,)."""
    similarity = structural_similarity_index_measure(stylized, content, data_range=1.0, reduction="none")
    assert isinstance(similarity, Tensor)
    return similarity


def border(stylized: Tensor, content: Tensor, style: Tensor | None = None) -> Tensor:
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


def checkerboard(stylized: Tensor, content: Tensor, style: Tensor | None = None) -> Tensor:
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


def blobs(stylized: Tensor, content: Tensor, style: Tensor | None = None) -> Tensor:
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


def clipping(stylized: Tensor, content: Tensor, style: Tensor | None = None) -> Tensor:
    """The share of values at black or white, beyond the photograph's: (b,)."""
    shares = [((x < 1.5 / 255) | (x > 253.5 / 255)).float().flatten(1).mean(1) for x in (stylized, content)]
    return shares[0] - shares[1]


def grid(stylized: Tensor, content: Tensor, style: Tensor | None = None) -> Tensor:
    """Amplitude of periodic patterns in the photograph's flat regions: root mean square of the luminance in [0, 1].

    Periods from 2 to 32 px, any direction: peaks in the power spectrum, averaged over flat windows, that stand out
    from their neighborhood by `PROMINENCE`. The larger of the photograph's own level and the style picture's is
    subtracted; 0 at least. Lower is better.
    """
    if min(content.shape[2:]) < WINDOW_PX:
        return content.new_full((len(content),), math.nan)
    weights = _hann(content) / _hann(content).sum()
    in_style = content.new_zeros(()) if style is None else _style_grid(style)
    found = []
    for image, photograph, mask in zip(stylized, content, _flat(content), strict=True):
        flat = (_windows(mask) * weights).sum((1, 2)) >= FLAT_SHARE
        if not flat.any():
            found.append(content.new_full((), math.nan))
            continue
        own, floor = (_periodic(_power(_windows(_luminance(x))[flat])) for x in (image, photograph))
        found.append(own - torch.maximum(floor, in_style))
    return torch.stack(found).clamp_min(0)


def texture(stylized: Tensor, content: Tensor, style: Tensor | None = None) -> Tensor:
    """Amplitude of small-scale texture in the photograph's flat regions: root mean square of the luminance in [0, 1].

    The luminance is band-passed between Gaussians of 1 and 3 px. The lower quartile of its local amplitude is taken:
    dense texture counts, sparse contour lines do not. The larger of the photograph's own level and that of the calmest
    tenth of the style picture is subtracted; 0 at least. Lower is better.
    """
    in_style = content.new_zeros(()) if style is None else torch.quantile(_detail(style), 0.1)
    found = []
    for image, photograph, mask in zip(_detail(stylized), _detail(content), _flat(content), strict=True):
        if mask.mean() < LEAST_FLAT:
            found.append(content.new_full((), math.nan))
            continue
        own, floor = (torch.quantile(x[mask > 0], 0.25) for x in (image, photograph))
        found.append(own - torch.maximum(floor, in_style))
    return torch.stack(found).clamp_min(0)


def halo(stylized: Tensor, content: Tensor, style: Tensor | None = None) -> Tensor:
    """Brightness of bands along the photograph's silhouettes, in luminance in [0, 1]. Lower is better; 0 at least.

    On each side of a strong edge, the luminance 2 to 8 px from it less that 10 to 24 px from it, beyond the same
    difference in the photograph; of the edge's points, the mean of the middle half. The score is the overshoot (bright
    on the bright side, dark on the dark side) plus the glow (bright on both). Dark contours on both sides, which are a
    means of style, do not count. The style picture is not used.
    """
    smooth = _smooth(_luminance(content), 2.0)
    across, down = _gradient(smooth)
    slope = torch.hypot(across, down)
    uphill = torch.stack([across, down], -1)[:, 0] / slope[:, 0, :, :, None].clamp_min(1e-6)
    at = partial(_displaced, directions=uphill)
    crest = (slope > at(slope, 1.0)) & (slope >= at(slope, -1.0)) & (slope > EDGE_SLOPE)
    inside = torch.zeros_like(crest)
    reach = FAR_PX[-1]
    inside[..., reach:-reach, reach:-reach] = True
    bands = []  # on the bright side and on the dark side
    contrast = torch.zeros_like(smooth)
    for sign in (1, -1):
        near, far = (
            [torch.stack([at(_luminance(x), sign * px) for px in distances]).mean(0) for x in (stylized, content)]
            for distances in (NEAR_PX, FAR_PX)
        )
        bands.append((near[0] - far[0]) - (near[1] - far[1]))
        contrast = contrast + sign * far[1]
    points = crest & inside & (contrast > EDGE_CONTRAST)
    found = []
    for bright, dark, chosen in zip(*bands, points, strict=True):
        if chosen.sum() < LEAST_EDGE_POINTS:
            found.append(bright.new_full((), math.nan))
            continue
        on_bright, on_dark = _middle_mean(bright[chosen]), _middle_mean(dark[chosen])
        found.append(((on_bright - on_dark) / 2).clamp_min(0) + ((on_bright + on_dark) / 2).clamp_min(0))
    return torch.stack(found)


def _luminance(images: Tensor) -> Tensor:
    """(..., 3, h, w) -> (..., 1, h, w), by the weights of ITU-R BT.601."""
    return (images * images.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(-3, keepdim=True)


def _gradient(images: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences across and down, of images (b, c, h, w)."""
    wide = functional.pad(images, (1, 1, 1, 1), mode="replicate")
    across = (wide[..., 1:-1, 2:] - wide[..., 1:-1, :-2]) / 2
    return across, (wide[..., 2:, 1:-1] - wide[..., :-2, 1:-1]) / 2


def _flat(content: Tensor) -> Tensor:
    """1 where a photograph is flat, 4 px from the next slope at least, else 0: (b, 1, h, w)."""
    slope = torch.hypot(*_gradient(_smooth(_luminance(content), 2.0)))
    return (functional.max_pool2d(slope, 9, 1, 4) < FLAT_SLOPE).to(content)


def _windows(image: Tensor) -> Tensor:
    """Overlapping windows of an image (1, h, w), row by row: (n, WINDOW_PX, WINDOW_PX)."""
    return image[0].unfold(0, WINDOW_PX, STRIDE_PX).unfold(1, WINDOW_PX, STRIDE_PX).flatten(0, 1)


def _hann(like: Tensor) -> Tensor:
    window = torch.hann_window(WINDOW_PX, device=like.device)
    return window[:, None] * window


def _power(windows: Tensor) -> Tensor:
    """The mean power spectrum of windows: (WINDOW_PX, WINDOW_PX), whose sum is their mean variance."""
    window = _hann(windows)
    centered = windows - (windows * window).sum((1, 2), keepdim=True) / window.sum()
    power: Tensor = torch.fft.fft2(centered * window).abs().square().mean(0)
    return power / (WINDOW_PX**2 * window.square().sum())


def _periodic(power: Tensor) -> Tensor:
    """The amplitude in the peaks of a power spectrum.

    A peak stands out from a ring around it and, in every direction, from one of two points on opposite sides of it:
    the spectrum of a straight edge or stroke is a broad line through the mean, which itself is not known.
    """
    frequency = WINDOW_PX * torch.fft.fftfreq(WINDOW_PX, device=power.device)
    squared = frequency[:, None].square() + frequency.square()
    white = functional.pad((power * squared)[None, None], (1, 1, 1, 1), mode="circular")  # edges fall off by this
    white = functional.avg_pool2d(white, 3, 1)[0, 0].masked_fill(squared < 1.5**2, math.inf)

    def rolled(y: int, x: int) -> Tensor:
        return white.roll((y, x), (0, 1))

    around = [rolled(y, x) for y in range(-4, 5) for x in range(-4, 5) if max(abs(y), abs(x)) > 2]
    floors = [torch.stack(around).median(0).values]
    for angle in range(0, 180, 15):
        sine, cosine = math.sin(math.radians(angle)), math.cos(math.radians(angle))
        points = [rolled(round(px * sine), round(px * cosine)) for px in (-3, 3)]
        floors.append(torch.stack(points).amin(0))
    floor = torch.stack(floors).amax(0) / squared.clamp_min(1)
    peak = (power > PROMINENCE * floor) & (squared >= (WINDOW_PX / 32) ** 2)
    amplitude: Tensor = torch.where(peak, power - floor, 0.0).sum().sqrt()
    return amplitude


def _style_grid(style: Tensor) -> Tensor:
    """The amplitude of periodic patterns in regions of a style picture: root mean square over the regions."""
    size = WINDOW_PX + (WINDOWS_IN_REGION - 1) * STRIDE_PX
    luminance = _luminance(style)[0]
    h, w = luminance.shape[1:]
    if min(h, w) < WINDOW_PX:
        return luminance.new_zeros(())
    regions = [
        luminance[:, top : top + size, left : left + size]
        for top in range(0, max(h - size, 0) + 1, size // 2)
        for left in range(0, max(w - size, 0) + 1, size // 2)
    ]
    return torch.stack([_periodic(_power(_windows(region))) for region in regions]).square().mean().sqrt()


def _detail(images: Tensor) -> Tensor:
    """Local amplitude of the luminance between Gaussians of 1 and 3 px: (b, 1, h, w)."""
    luminance = _luminance(images)
    return _smooth((_smooth(luminance, 1.0) - _smooth(luminance, 3.0)).square(), 4.0).sqrt()


def _displaced(images: Tensor, px: float, directions: Tensor) -> Tensor:
    """At each pixel, the value so many pixels away in its direction (b, h, w, 2), of images (b, 1, h, w)."""
    h, w = images.shape[2:]
    rows, columns = torch.arange(h, device=images.device), torch.arange(w, device=images.device)
    here = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1)
    place = 2 * (here + px * directions) / here.new_tensor([max(w - 1, 1), max(h - 1, 1)]) - 1
    return functional.grid_sample(images, place, align_corners=True, padding_mode="border")


def _middle_mean(values: Tensor) -> Tensor:
    """The mean of the middle half of values."""
    quarter = len(values) // 4
    return values.sort().values[quarter : len(values) - quarter].mean()


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
    """Mean of a score over all images that have one: `update` takes what the score takes. NaN where none has."""

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
        scores = scores[~scores.isnan()]
        self.sum = self.sum + scores.double().sum()
        self.num = self.num + len(scores)

    def compute(self) -> Tensor:
        return (self.sum / self.num).float()


class Scale(NamedTuple):
    """A score and its direction."""

    score: Callable[..., Tensor]
    lower_is_better: bool = True


OF_PICTURES: dict[str, Scale] = {
    "ssim": Scale(ssim, lower_is_better=False),
    "border": Scale(border),
    "checkerboard": Scale(checkerboard),
    "blobs": Scale(blobs),
    "clipping": Scale(clipping),
    "grid": Scale(grid),
    "texture": Scale(texture),
    "halo": Scale(halo),
}
OF_GENERATORS: dict[str, Scale] = {
    "contrast_sensitivity": Scale(contrast_sensitivity),
    "shift_sensitivity": Scale(shift_sensitivity),
    "flicker": Scale(flicker),
}


def meters(scales: Mapping[str, Scale], style: Tensor | None = None) -> MetricCollection:
    """A meter for each score, updated with the same images; scores of pictures are given the `style` picture."""
    scores = {name: scale.score for name, scale in scales.items()}
    if style is not None:
        scores = {name: partial(score, style=style) for name, score in scores.items()}
    return MetricCollection({name: Meter(score) for name, score in scores.items()}, compute_groups=False)


def readings(collection: MetricCollection) -> dict[str, float]:
    """The meters' means, without those that no image contributed to."""
    means = {name: value.item() for name, value in collection.compute().items()}
    return {name: mean for name, mean in means.items() if not math.isnan(mean)}
