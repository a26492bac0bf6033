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

gamma and beta are the style (Dumoulin et al. 2017): a `Conditional` norm has a row of them for each of many styles,
and `conditions.condition` says which, or which mixture, pictures are to have.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from stylization.conditions import sampled
from stylization.errors import InputError

Within = tuple[tuple[int, int], tuple[tuple[int, int], tuple[int, int]]]
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

    def forward(self, x: Tensor, within: Within | None = None) -> Tensor:
        """`within` says of what whole x is a part: its size, and x's rows and columns."""
        statistics = self.train_statistics if self.training else self.statistics
        # Autocast would run some norms in float32 and others in half precision, and compare precisions.
        with torch.autocast(x.device.type, enabled=False):
            return self._normalized(x.float(), statistics, *self.affine(x, within)).to(x.dtype)

    def affine(self, x: Tensor, within: Within | None) -> tuple[Tensor | None, Tensor | None]:
        """gamma and beta for pictures x: (c,), or of each picture (b, c), or of each of its pixels (b, c, h, w)."""
        return _single(self.gamma), _single(self.beta)

    def _normalized(self, x: Tensor, statistics: str, gamma: Tensor | None, beta: Tensor | None) -> Tensor:
        if gamma is not None and gamma.ndim == 4:
            assert beta is not None
            return torch.addcmul(beta, self._normalized(x, statistics, None, None), gamma)
        if statistics == "instance":
            y, mean, var = self._by_instance(x, gamma, beta)
        elif statistics == "batch":
            y, mean, var = self._by_batch(x, gamma, beta)
        elif statistics == "smoothed":
            return self._by_given(x, *self._smoothed(x), gamma, beta)
        else:
            return self._by_given(x, *self._given(statistics), gamma, beta)
        if self.training:
            with torch.no_grad():
                self.running_mean.lerp_(mean.mean(0).to(self.running_mean), self.momentum)
                self.running_var.lerp_(var.mean(0).to(self.running_var), self.momentum)
        return y

    def _by_instance(self, x: Tensor, gamma: Tensor | None, beta: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        normalize = _ChannelsLast.apply if _channels_last(x) else _native
        y, mean, rstd = normalize(x, gamma, beta, self.num_groups, self.eps)
        return y, mean, rstd.detach() ** -2 - self.eps  # (b, g), and the kernel has them already

    def _by_batch(self, x: Tensor, gamma: Tensor | None, beta: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        by_channel = self.num_groups == self.num_channels and (gamma is None or gamma.ndim == 1)
        if by_channel and not self.synchronized:
            y, mean, rstd = torch.native_batch_norm(x, gamma, beta, None, None, True, 0.0, self.eps)
            return y, mean[None], rstd.detach()[None] ** -2 - self.eps
        mean, var = self.moments(x)
        return self._by_given(x, mean, var, gamma, beta), mean.detach()[None], var.detach()[None]

    def _by_given(self, x: Tensor, mean: Tensor, var: Tensor, gamma: Tensor | None, beta: Tensor | None) -> Tensor:
        """By one mean and variance of each group, (g,), or by each image's, (b, g)."""
        repeat = self.num_channels // self.num_groups
        scale = torch.rsqrt(var + self.eps).repeat_interleave(repeat, -1)
        mean = mean.repeat_interleave(repeat, -1)
        if gamma is not None:
            scale = scale * gamma
        shift = -mean * scale if beta is None else beta - mean * scale
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
            return self.running_mean.float(), self.running_var.float()
        if self.frozen_mean is None or self.frozen_var is None:
            raise InputError("no frozen statistics yet: call freeze_statistics(network, images)")
        return self.frozen_mean, self.frozen_var

    def extra_repr(self) -> str:
        return (
            f"{self.num_channels}, groups={self.num_groups}, train_statistics={self.train_statistics}, "
            f"statistics={self.statistics}, eps={self.eps}, affine={self.gamma is not None}"
        )


class Conditional(Norm):
    """A norm whose gamma and beta are tables with a row for each style (Dumoulin et al. 2017), mixed as `condition`
    says.

    A style costs two numbers a channel and nothing else. With `strength` there is a row for no style at all, and with
    `size` one that is added for larger strokes and taken away for smaller: both are learned, shared by all styles and
    moved continuously (after Babaeizadeh & Ghiasi 2018, who compute gamma and beta from the weights of the losses).
    """

    gamma: nn.Parameter  # (rows, channels): no style, size, the styles
    beta: nn.Parameter

    def __init__(
        self, num_channels: int, *, num_styles: int = 1, strength: bool = True, size: bool = True, **options: Any
    ) -> None:
        super().__init__(num_channels, **options)
        if self.gamma is None or self.beta is None:
            raise InputError("norm.affine=false: gamma and beta are all that tells one style from another")
        self.num_styles, self.strength, self.size = num_styles, strength, size
        num_rows = num_styles + strength + size
        self.gamma = nn.Parameter(self.gamma.detach().repeat(num_rows, 1))
        self.beta = nn.Parameter(self.beta.detach().repeat(num_rows, 1))
        if size:
            nn.init.zeros_(self.gamma.data[int(strength)])  # a difference
        self.rows: Tensor | None = None

    def affine(self, x: Tensor, within: Within | None) -> tuple[Tensor, Tensor]:
        if self.rows is None:
            raise InputError("no style was chosen yet: call condition(network, Condition.of(...))")
        rows, tables = self.rows.to(self.gamma.device), (self.gamma.float(), self.beta.float())
        if rows.ndim == 4:  # each pixel its own, at this layer's resolution
            h, w = x.shape[2:]
            rows = sampled(rows, *(within or ((h, w), ((0, h), (0, w)))))
            gamma, beta = (torch.einsum("brhw,rc->bchw", rows, table) for table in tables)
            return gamma, beta
        gamma, beta = (rows @ table for table in tables)
        return (gamma[0], beta[0]) if len(rows) == 1 else (gamma, beta)

    def of_one_style(self) -> Norm:
        """The norm that it is as long as nothing else is asked for."""
        if self.rows is None or self.rows.ndim != 2 or len(self.rows) != 1:
            raise InputError("a style that is the same everywhere must be chosen first")
        norm = Norm(
            self.num_channels,
            channels_per_group=self.num_channels // self.num_groups,
            train_statistics=self.train_statistics,
            synchronized=self.synchronized,
            eps=self.eps,
            momentum=self.momentum,
        )
        norm.statistics, norm.smooth = self.statistics, self.smooth
        norm._buffers.update(self._buffers)
        tables = self.gamma.detach(), self.beta.detach()
        norm.gamma, norm.beta = (nn.Parameter((self.rows.to(table) @ table)[0]) for table in tables)
        return norm.train(self.training)

    def add_styles(self, num_styles: int) -> None:
        """Append rows for more styles, which begin as the mean of those there are. What is there stays bit for bit:
        only the new rows are told their gradients."""
        first_style = self.strength + self.size
        num_before = len(self.gamma)
        for name in ("gamma", "beta"):
            table = getattr(self, name).detach()
            new = table[first_style:].mean(0, keepdim=True).repeat(num_styles, 1)
            grown = nn.Parameter(torch.cat([table, new]))
            grown.register_hook(
                lambda slope: slope * (torch.arange(len(slope), device=slope.device) >= num_before)[:, None]
            )
            setattr(self, name, grown)
        self.num_styles += num_styles


def with_one_style(network: nn.Module) -> nn.Module:
    """A copy that has nothing but what its conditional norms are asked for now."""
    network = copy.deepcopy(network)
    for module in list(network.modules()):
        for name, norm in module.named_children():
            if isinstance(norm, Conditional):
                setattr(module, name, norm.of_one_style())
    return network


def _native(x: Tensor, gamma: Tensor | None, beta: Tensor | None, groups: int, eps: float) -> tuple[Tensor, ...]:
    b, c, h, w = x.shape
    if gamma is None or gamma.ndim == 1:
        return torch.native_group_norm(x, gamma, beta, b, c, h * w, groups, eps)
    assert beta is not None
    y, mean, rstd = torch.native_group_norm(x, None, None, b, c, h * w, groups, eps)
    return torch.addcmul(_per_pixel(beta), y, _per_pixel(gamma)), mean, rstd


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
        own = gamma is not None and gamma.ndim == 2  # each picture its own
        n = h * w * (c // groups)
        shift, slope = (to_channels((total * weight).view(b, groups, -1).sum(2)) / n for total in (sum_dy, sum_dy_xhat))
        slope = slope * to_channels(rstd)
        offset = (to_channels(mean) * slope - shift) * to_channels(rstd)
        dx = torch.addcmul(_per_pixel(offset), dy, _per_pixel(to_channels(rstd) * weight))
        dx.addcmul_(x, _per_pixel(slope * to_channels(rstd)), value=-1)
        if gamma is None:
            return dx, None, None, None, None
        return dx, sum_dy_xhat if own else sum_dy_xhat.sum(0), sum_dy if own else sum_dy.sum(0), None, None


def _single(x: Tensor | None) -> Tensor | None:
    """In float32, of a network that was loaded in half precision, too."""
    return None if x is None else x.float()


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
