"""What benchmarks share: turns, ceilings, tables, and the rival, the recipe that pytorch/examples made common.

The rival is our own statement of it, as everyone runs it: eager, float32, NCHW, PyTorch's modules. A residual generator
of width 32 with InstanceNorm2d, and VGG-16 up to relu4_3 over both the photograph and its stylization.
"""

import argparse
import json
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parent.parent
TABLES = Path("docs") / "benchmarks.md"
RIVAL = "common recipe"
STYLE_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
CONTENT_LAYER = "relu2_2"


class Generator(nn.Module):
    """Reflection padding, convolution, InstanceNorm2d and ReLU as modules of their own; nearest upsampling."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_layer(3, 32, 9),
            *_layer(32, 64, 3, stride=2),
            *_layer(64, 128, 3, stride=2),
            *(_Residual() for _ in range(5)),
            nn.Upsample(scale_factor=2, mode="nearest"),
            *_layer(128, 64, 3),
            nn.Upsample(scale_factor=2, mode="nearest"),
            *_layer(64, 32, 3),
            nn.ReflectionPad2d(4),
            nn.Conv2d(32, 3, 9),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return y


class _Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(*_layer(128, 128, 3), *_layer(128, 128, 3)[:-1])

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y


def _layer(in_channels: int, out_channels: int, kernel_px: int, stride: int = 1) -> list[nn.Module]:
    return [
        nn.ReflectionPad2d(kernel_px // 2),
        nn.Conv2d(in_channels, out_channels, kernel_px, stride),
        nn.InstanceNorm2d(out_channels, affine=True),
        nn.ReLU(),
    ]


class LossNetwork(nn.Module):
    """VGG up to a layer, photographs in [0, 1] to {name: features} of the layers asked for."""

    mean: Tensor
    std: Tensor

    def __init__(self, depths: Sequence[int], layers: Sequence[str]) -> None:
        super().__init__()
        self.features, self.layers = nn.Sequential(), set(layers)
        self.names: list[str] = []
        channels = 3
        for block, (depth, width) in enumerate(zip(depths, (64, 128, 256, 512), strict=True), start=1):
            for number in range(1, depth + 1):
                self.features.extend([nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)])
                self.names += ["", f"relu{block}_{number}"]
                channels = width
            self.features.append(nn.MaxPool2d(2))
            self.names.append("")
        last = max(self.names.index(layer) for layer in layers)
        self.features = self.features[: last + 1]
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1), persistent=False)
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        features = {}
        x = (x - self.mean) / self.std
        for name, module in zip(self.names, self.features, strict=False):
            x = module(x)
            if name in self.layers:
                features[name] = x
        return features


def training_step(photographs: Tensor) -> Callable[[], None]:
    """One step of training on a batch in [0, 1]: both losses, backward, Adam.

    The whole loss network is run over the photographs too, though only relu2_2 of it is looked at.
    """
    generator = Generator().to(photographs.device)
    loss_network = LossNetwork((2, 2, 3, 3), STYLE_LAYERS).to(photographs.device)  # weights change no timing
    optimizer = torch.optim.Adam(generator.parameters(), 1e-3)
    targets = [_gram(x) for x in loss_network(photographs).values()]

    def step() -> None:
        optimizer.zero_grad()
        ours, theirs = loss_network(generator(photographs)), loss_network(photographs)
        content = 1e5 * F.mse_loss(ours[CONTENT_LAYER], theirs[CONTENT_LAYER])
        style = sum(F.mse_loss(_gram(x), target) for x, target in zip(ours.values(), targets, strict=True))
        (content + 1e10 * style).backward()
        optimizer.step()

    return step


def _gram(x: Tensor) -> Tensor:
    b, c, h, w = x.shape
    flat = x.reshape(b, c, h * w)
    return flat @ flat.mT / (c * h * w)


def turns(contenders: Mapping[str, Callable[[], object]], num: int) -> dict[str, list[float]]:
    """Seconds of each contender in each turn; a first one warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(num + 1):
        for name, run in contenders.items():
            start = time.perf_counter()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return seconds


MATMUL, COPY = "matrix product", "copy"  # the ceilings
SIDE, COPIED_BYTES = 2048, 2**28


def ceilings(device: str = "cpu", dtype: torch.dtype = torch.float32) -> dict[str, Callable[[], object]]:
    """A large matrix product and a large copy, to be contenders beside others; see `ceiling`."""
    a = torch.rand(SIDE, SIDE, device=device).to(dtype)
    source = torch.rand(COPIED_BYTES // 4, device=device)
    target = torch.empty_like(source)
    return {MATMUL: lambda: a @ a, COPY: lambda: target.copy_(source)}


def ceiling(seconds: dict[str, list[float]]) -> tuple[float, float]:
    """Operations and bytes, read and written, per second; takes their turns out of the others'."""
    flops = 2 * SIDE**3 / statistics.median(seconds.pop(MATMUL))
    return flops, 2 * COPIED_BYTES / statistics.median(seconds.pop(COPY))


def arithmetic(run: Callable[[], object]) -> tuple[int, int]:
    """The operations of convolutions and matrix products, and the bytes that all operations read and write."""
    with FlopCounterMode(display=False) as counter:
        run()
    with _Bytes() as moved:
        run()
    return counter.get_total_flops(), moved.total


class _Bytes(TorchDispatchMode):
    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not (func.is_view or func is torch.ops.aten._unsafe_view.default):
            found = [x for x in tree_leaves((args, kwargs, result)) if isinstance(x, Tensor)]
            self.total += sum(x.numel() * x.element_size() for x in found)
        return result


class Spread(NamedTuple):
    """A median and its range."""

    median: float
    least: float
    most: float

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.least:.3g} to {self.most:.3g})"


def spread(values: Sequence[float]) -> Spread:
    return Spread(statistics.median(values), min(values), max(values))


def times_as_fast(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """The ratio of each turn."""
    return spread([b / a for a, b in zip(ours, theirs, strict=True)])


Row = Mapping[str, str | float | Spread]


def parser(doc: str | None) -> argparse.ArgumentParser:
    """With the options that all benchmarks have."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--json", type=Path, help="write the figures to this file, too")
    made.add_argument("--docs", action="store_true", help=f"write the table into {TABLES}")
    made.set_defaults(device="cpu")  # of those that are not asked
    return made


def publish(name: str, rows: Sequence[Row], options: argparse.Namespace, note: str = "", **more: object) -> None:
    """Print rows as a Markdown table below a line with command, machine, versions and date.

    Also write them to the file of `--json` and, with `--docs`, into docs/benchmarks.md.
    """
    command = " ".join([f"benchmarks/{Path(sys.argv[0]).name}", *(a for a in sys.argv[1:] if a != "--docs")])
    facts = {
        "machine": machine(options.device),
        "versions": _versions(),
        "date": date.today().isoformat(),
        "command": command,
    }
    heading = f"*`uv run {command}`: {facts['machine']}, {facts['versions']}, {facts['date']}.{' ' * bool(note)}{note}*"
    text = f"{heading}\n\n{markdown(rows)}"
    print(text, flush=True)
    if options.json is not None:
        plain = [{key: v._asdict() if isinstance(v, Spread) else v for key, v in row.items()} for row in rows]
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({"benchmark": name, **facts, "rows": plain, **more}, indent=1) + "\n")
    if options.docs:
        put(name, text)


def put(name: str, text: str) -> None:
    """Replace the text between the two marks of a benchmark in docs/benchmarks.md."""
    path = ROOT / TABLES
    start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    before, found, after = path.read_text().partition(start)
    if not found:
        raise SystemExit(f"{TABLES} has no mark {start.strip()}")
    path.write_text(before + start + text + end + after.partition(end)[2])


def markdown(rows: Sequence[Row]) -> str:
    """Words to the left, numbers to the right."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    words = {name: all(isinstance(row.get(name, ""), str) for row in rows) for name in names}
    lines = [" | ".join(names), " | ".join("---" if words[name] else "---:" for name in names)]
    lines += [" | ".join(_cell(row.get(name, "")) for name in names) for row in rows]
    return "".join(f"| {line} |\n" for line in lines)


def _cell(value: str | float | Spread) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def machine(device: str) -> str:
    """What this was run on, as a reader would say it."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    told = info.read_text() if info.exists() else ""
    found = re.search(r"model name\s*: (.*)", told)
    wide = " without AVX-512" if told and "avx512f" not in told else ""
    return f"{torch.get_num_threads()} threads of {found[1] if found else platform.processor()}{wide}"


def _versions() -> str:
    return f"PyTorch {version('torch').partition('+')[0]}, Python {platform.python_version()}"
