"""What norms cost, forward and backward, against the memory that they must move.

    uv run benchmarks/norms.py

At the shapes of the johnson generator at the paper's width, batch 4 at 256 px, channels last. Forward reads x and
writes y; backward reads x and dy and writes dx: five times x. That, over the time, is a norm's bandwidth, told as a
share of what a large copy reaches in the same run. InstanceNorm2d is PyTorch's, channels apart, as the common recipe
has it.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import common
import torch
from torch import nn

from stylization.errors import clear_errors
from stylization.memory import keep_memory
from stylization.normalization import Norm

SHAPES = ((4, 32, 256, 256), (4, 64, 128, 128), (4, 128, 64, 64))
NORMS: Mapping[str, Mapping[str, Any]] = {
    "instance": {},
    "batch": {"train_statistics": "batch"},
    "layer": {"channels_per_group": "all"},
    "group": {"channels_per_group": 8},
}
PASSES = 5  # over x: two forward, three backward
COMMON: Literal["InstanceNorm2d"] = "InstanceNorm2d"


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--num-turns", type=int, default=21)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--compile", action="store_true", help="by torch.compile, too")
    options = parser.parse_args()
    keep_memory()
    rows: list[common.Row] = []
    for shape in SHAPES:
        torch.compiler.reset()  # each shape its own code, and no limit on how often a norm is compiled anew
        contenders = passes(shape, options.device, options.compile)
        seconds = common.turns(contenders | common.ceilings(options.device), options.num_turns)
        _, bytes_per_s = common.ceiling(seconds)
        num_bytes = PASSES * 4 * torch.Size(shape).numel()
        for name, own in seconds.items():
            bandwidths = [num_bytes / s / bytes_per_s for s in own]
            rows.append(
                {
                    "shape": "x".join(map(str, shape)),
                    "norm": name,
                    "ms": common.spread([1000 * s for s in own]),
                    "MB": round(num_bytes / 1e6),
                    "share of a copy's bandwidth": common.spread(bandwidths),
                    f"times as fast as {COMMON}": common.times_as_fast(own, seconds[COMMON]),
                }
            )
    common.publish("norms", rows, options, f"Medians and ranges of {options.num_turns} turns.")


def passes(shape: tuple[int, ...], device: str, compiled: bool) -> dict[str, Callable[[], None]]:
    """Forward and backward of each norm."""
    x, dy = torch.randn(2, *shape, device=device)
    theirs = nn.InstanceNorm2d(shape[1], affine=True).to(device)
    found: dict[str, Callable[[], None]] = {COMMON: partial(forward_and_backward, theirs, x, dy)}
    x, dy = (t.contiguous(memory_format=torch.channels_last) for t in (x, dy))
    for name, settings in NORMS.items():
        norm = Norm(shape[1], **settings).to(device)
        found[name] = partial(forward_and_backward, norm, x, dy)
        if compiled:
            found[f"{name}, compiled"] = partial(forward_and_backward, torch.compile(norm, dynamic=False), x, dy)
    return found


def forward_and_backward(norm: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, dy: torch.Tensor) -> None:
    norm(x.detach().requires_grad_()).backward(dy)


if __name__ == "__main__":
    with clear_errors():
        main()
