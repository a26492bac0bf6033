"""The paper: norms, and the images that their statistics are taken over.

    y = gamma * (x - mean) / sqrt(var + eps) + beta

Two choices are independent of each other. The *norm* says which channels share a mean and a variance: each its own
(instance and batch norm), all of them (layer norm), or some (group norm). The *statistics* say which pixels they are
taken over:

    instance   those of each image by itself              Ulyanov et al. 2016, eq. 3
    batch      those of all images in the batch at hand   Ulyanov et al. 2016, eq. 2; Ioffe & Szegedy 2015
    running    averages gathered in training
    frozen     those of images given beforehand, see `freeze_statistics`
    smoothed   those of each image, averaged with the images' before it, see `smooth_statistics`

Instance norm uses `instance` in training and at test time, identically; batch norm trains with `batch` and is
tested with `running`. Any trained network can be given other test statistics by `set_statistics`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from stylization.errors import InputError

Statistics = Literal["instance", "batch", "running", "frozen", "smoothed"]


class Norm(nn.Module):
    """Normalization of (b, c, h, w) by the mean and the biased variance of groups of channels, in float32.

    `channels_per_group` is 1, a number that divides c (or is cut down to c), or "all". `train_statistics` serves
    train mode and `statistics` eval mode. `synchronized` pools batch statistics over all ranks. `gamma` starts at
    "ones" or "uniform" in [0, 1), as in the authors' code (texture_nets, InstanceNormalization.lua); beta at 0.
    """

    running_mean: Tensor
    running_var: Tensor
    frozen_mean: Tensor | None
    frozen_var: Tensor | None
    smoothed: Tensor | None  # (2, groups), mean and variance after the last image

    def __init__(
        self,
        num_channels: int,
        *,
        channels_per_group: int | Literal["all"] = 1,
        train_statistics: Literal["instance", "batch"] = "instance",
        statistics: Literal["instance", "batch", "running"] = "instance",
        synchronized: bool = False,
        affine: bool = True,
        eps: float = 1e-5,
        gamma: Literal["ones", "uniform"] = "ones",
        momentum: float = 0.1,
    ) -> None:
        super().__init__()
        size = num_channels if channels_per_group == "all" else min(channels_per_group, num_channels)
        if num_channels % size:
            raise InputError(f"norm.channels_per_group={size} does not divide a layer of {num_channels} channels")
        _check(train_statistics, ("instance", "batch"), "norm.train_statistics")
        _check(statistics, ("instance", "batch", "running"), "norm.statistics")
        _check(gamma, ("ones", "uniform"), "norm.gamma")
        self.num_channels, self.num_groups = num_channels, num_channels // size
        self.train_statistics = train_statistics
        self.statistics: Statistics = statistics
        self.synchronized, self.eps, self.momentum, self.smooth = synchronized, eps, momentum, 0.0
        self.gamma = nn.Parameter(torch.ones(num_channels)) if affine else None
        self.beta = nn.Parameter(torch.zeros(num_channels)) if affine else None
        if affine and gamma == "uniform":
            # From a generator of its own: the convolutions' draws must depend neither on the norm nor equal its.
            with torch.random.fork_rng(devices=[]):
                seed = int(torch.randint(2**62, ())) + num_channels
            nn.init.uniform_(self.gamma, generator=torch.Generator().manual_seed(seed))  # type: ignore[arg-type]
        self.register_buffer("running_mean", torch.zeros(self.num_groups))
        self.register_buffer("running_var", torch.ones(self.num_groups))
        self.register_buffer("frozen_mean", None, persistent=False)
        self.register_buffer("frozen_var", None, persistent=False)
        self.register_buffer("smoothed", None, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        statistics = self.train_statistics if self.training else self.statistics
        # Autocast would run some norms in float32 and others in half precision, and compare precisions.
        with torch.autocast(x.device.type, enabled=False):
            if statistics == "instance":
                y, mean, var = self._by_instance(x.float())
            elif statistics == "batch":
                y, mean, var = self._by_batch(x.float())
            elif statistics == "smoothed":
                return self._by_given(x.float(), *self._smoothed(x.float())).to(x.dtype)
            else:
                return self._by_given(x.float(), *self._given(statistics)).to(x.dtype)
        if self.training:
            with torch.no_grad():
                self.running_mean.lerp_(mean.mean(0), self.momentum)
                self.running_var.lerp_(var.mean(0), self.momentum)
        return y.to(x.dtype)

    def _by_instance(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        normalize = _ChannelsLast.apply if _channels_last(x) else _native
        y, mean, rstd = normalize(x, self.gamma, self.beta, self.num_groups, self.eps)
        return y, mean, rstd.detach() ** -2 - self.eps  # (b, g), and the kernel has them already

    def _by_batch(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if self.num_groups == self.num_channels and not self.synchronized:
            y, mean, rstd = torch.native_batch_norm(x, self.gamma, self.beta, None, None, True, 0.0, self.eps)
            return y, mean[None], rstd.detach()[None] ** -2 - self.eps
        mean, var = self.moments(x)
        return self._by_given(x, mean, var), mean.detach()[None], var.detach()[None]

    def _by_given(self, x: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        """By one mean and variance of each group, (g,), or by each image's, (b, g)."""
        repeat = self.num_channels // self.num_groups
        scale = torch.rsqrt(var + self.eps).repeat_interleave(repeat, -1)
        mean = mean.repeat_interleave(repeat, -1)
        if self.gamma is not None:
            scale = scale * self.gamma
        shift = -mean * scale if self.beta is None else self.beta - mean * scale
        return torch.addcmul(shift[..., None, None], x, scale[..., None, None])

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and biased variance of each group over the whole batch, and over all ranks if synchronized: (g,)."""
        grouped = x.reshape(len(x), self.num_groups, -1)
        var, mean = torch.var_mean(grouped, dim=(0, 2), correction=0)
        # In eval mode rank 0 may be alone, drawing samples: waiting for the others would be for ever.
        if self.synchronized and self.training and torch.distributed.is_initialized():
            from torch.distributed.nn.functional import all_reduce

            # Ranks hold equal shares, so means of means are means; the spread of the means adds to the variance.
            num_ranks = torch.distributed.get_world_size()
            own_mean = mean
            mean = all_reduce(own_mean) / num_ranks
            var = all_reduce(var + (own_mean - mean).square()) / num_ranks
        return mean, var

    @torch.no_grad()
    def _smoothed(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Each image's mean and variance, averaged with those of all before it, in this batch or an earlier: (b, g)."""
        var, mean = torch.var_mean(x.reshape(len(x), self.num_groups, -1), dim=2, correction=0)
        averages = []
        for own in torch.stack((mean, var), dim=1):
            self.smoothed = own if self.smoothed is None else own.lerp(self.smoothed, self.smooth)
            averages.append(self.smoothed)
        mean, var = torch.stack(averages, dim=1)
        return mean, var

    def _given(self, statistics: str) -> tuple[Tensor, Tensor]:
        if statistics == "running":
            return self.running_mean, self.running_var
        if self.frozen_mean is None or self.frozen_var is None:
            raise InputError("no frozen statistics yet: call freeze_statistics(network, images)")
        return self.frozen_mean, self.frozen_var

    def extra_repr(self) -> str:
        return (
            f"{self.num_channels}, groups={self.num_groups}, train_statistics={self.train_statistics}, "
            f"statistics={self.statistics}, eps={self.eps}, affine={self.gamma is not None}"
        )


def _native(x: Tensor, gamma: Tensor | None, beta: Tensor | None, groups: int, eps: float) -> tuple[Tensor, ...]:
    b, c, h, w = x.shape
    return torch.native_group_norm(x, gamma, beta, b, c, h * w, groups, eps)


def _channels_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


class _ChannelsLast(torch.autograd.Function):
    """`_native` with a backward pass of its own: where the channels of a pixel lie together PyTorch's forward kernel
    is fast and its backward kernel several times slower than the four passes over memory that it takes.

    With xhat = (x - mean) / std and g = gamma dy, summed over the n values of a group:
    dx = (g - sum(g) / n - xhat sum(g xhat) / n) / std.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, gamma: Tensor | None, beta: Tensor | None, groups: int, eps: float
    ) -> tuple[Tensor, ...]:
        y, mean, rstd = _native(x, gamma, beta, groups, eps)
        ctx.save_for_backward(x, gamma, mean, rstd)
        ctx.mark_non_differentiable(mean, rstd)
        return y, mean, rstd

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dy: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, gamma, mean, rstd = ctx.saved_tensors
        b, c, h, w = x.shape
        groups = mean.shape[1]

        def to_channels(statistic: Tensor) -> Tensor:
            return statistic.repeat_interleave(c // groups, dim=1)  # (b, g) -> (b, c)

        dy = dy.contiguous(memory_format=torch.channels_last)
        pixels, slopes = (t.permute(0, 2, 3, 1).reshape(b, h * w, c) for t in (x, dy))
        sum_dy, sum_dy_x = slopes.sum(1), (slopes * pixels).sum(1)
        sum_dy_xhat = (sum_dy_x - to_channels(mean) * sum_dy) * to_channels(rstd)
        weight = torch.ones_like(mean[:1, :1]) if gamma is None else gamma
        n = h * w * (c // groups)
        shift, slope = (to_channels((total * weight).view(b, groups, -1).sum(2)) / n for total in (sum_dy, sum_dy_xhat))
        slope = slope * to_channels(rstd)
        offset = (to_channels(mean) * slope - shift) * to_channels(rstd)
        dx = torch.addcmul(_per_pixel(offset), dy, _per_pixel(to_channels(rstd) * weight))
        dx.addcmul_(x, _per_pixel(slope * to_channels(rstd)), value=-1)
        return dx, None if gamma is None else sum_dy_xhat.sum(0), None if gamma is None else sum_dy.sum(0), None, None


def _per_pixel(x: Tensor) -> Tensor:
    return x[:, :, None, None]


def _check(value: object, choices: tuple[str, ...], option: str) -> None:
    if value not in choices:
        raise InputError(f"{option}={value}: choose one of {', '.join(choices)}")


def norms(network: nn.Module) -> Iterator[Norm]:
    """The norms of a network, in the order of its modules."""
    return (module for module in network.modules() if isinstance(module, Norm))


def set_statistics(network: nn.Module, statistics: Statistics) -> None:
    """Give every norm of a network other statistics for eval mode; its weights stay as they are."""
    _check(statistics, get_args(Statistics), "statistics")
    for norm in norms(network):
        norm.statistics = statistics


@contextmanager
def statistics_restored(network: nn.Module) -> Iterator[None]:
    """Inside, norms may be given other statistics, or frozen at others; afterwards they are as before."""
    before = [(norm, norm.statistics, norm.frozen_mean, norm.frozen_var) for norm in norms(network)]
    try:
        yield
    finally:
        for norm, statistics, mean, var in before:
            norm.statistics, norm.frozen_mean, norm.frozen_var = statistics, mean, var


@torch.no_grad()
def freeze_statistics(network: nn.Module, images: Tensor) -> None:
    """Freeze every norm at its statistics over `images`, pooled, and let eval mode use those.

    Of one image these are its instance statistics: frozen at a whole picture's (or its thumbnail's, Chen et al.
    2022), a network may be applied to parts of it without seams.
    """

    def record(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, Norm)
        norm.frozen_mean, norm.frozen_var = norm.moments(inputs[0].float())

    handles = [norm.register_forward_pre_hook(record) for norm in norms(network)]
    training = network.training
    try:
        set_statistics(network, "batch")
        network.eval()(images)
    finally:
        for handle in handles:
            handle.remove()
        network.train(training)
    set_statistics(network, "frozen")


def smooth_statistics(network: nn.Module, smooth: float) -> None:
    """Let eval mode take images for the frames of a video, in order, and smooth their statistics over time.

    Each norm that takes an image's own statistics averages them exponentially: of mean and variance it keeps `smooth`
    (0: each frame's own; 1: for ever the first's) from one frame to the next. Frames may come in batches of any size.
    Called again, it begins anew. Raises `InputError` if the network has no such norm.
    """
    if not 0 <= smooth <= 1:
        raise InputError(f"smooth={smooth:g}: must be from 0 to 1")
    own = [norm for norm in norms(network) if norm.statistics in ("instance", "batch", "smoothed")]
    if not own:
        raise InputError("no norm of this model takes its statistics from the frame: there is nothing to smooth")
    for norm in own:
        norm.statistics, norm.smooth, norm.smoothed = "smoothed", smooth, None
