"""How fast photographs are repainted: the johnson generator at the paper's width, in turns with its rivals.

    uv run --extra export benchmarks/inference.py

pytorch/examples' network as everyone runs it (benchmarks/common.py), this project's, and onnxruntime on this project's
weights, on photographs of random pixels: one at each size, and a batch of the smallest. The medians and ranges are of
the ratios turn by turn. GFLOP and GB are what a network does; onnxruntime's, which cannot be watched, are left out.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import common
import numpy as np
import torch

from stylization import model_file
from stylization.errors import clear_errors
from stylization.export import export
from stylization.generators import Johnson
from stylization.memory import keep_memory
from stylization.normalization import Norm
from stylization.onnx_runtime import OnnxStylizer
from stylization.stylizer import Stylizer, load
from stylization.training import parameter_count

ARCHITECTURE = {
    "generator": {"_target_": "stylization.generators.Johnson", "width": 32},
    "norm": {"_target_": "stylization.normalization.Norm"},
}
OURS, ONNX = "this project", "onnxruntime"


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--sizes-px", type=int, nargs="+", default=[256, 512, 1024])
    parser.add_argument("--batch-size", type=int, default=8, help="of the batch at the smallest size")
    parser.add_argument("--num-turns", type=int, default=11)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    options = parser.parse_args()
    keep_memory()
    rival = common.Generator().eval().to(options.device)
    assert parameter_count(rival) == parameter_count(Johnson(Norm))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        model_file.write(path, Johnson(Norm), ARCHITECTURE, {})
        ours = load(path, device=options.device)
        export(path, Path(folder) / "model.onnx", "onnx")
        onnx = OnnxStylizer(Path(folder) / "model.onnx") if options.device == "cpu" else None
        for size_px in options.sizes_px:
            rows += measured(rival, ours, onnx, 1, size_px, options)
        rows += measured(rival, ours, None, options.batch_size, min(options.sizes_px), options)
    common.publish("inference", rows, options, f"{options.num_turns} turns.")


@torch.inference_mode()
def measured(
    rival: torch.nn.Module,
    ours: Stylizer,
    onnx: OnnxStylizer | None,
    num: int,
    size_px: int,
    options: argparse.Namespace,
) -> list[common.Row]:
    """The rows of one size: so many photographs at once."""
    pixels = np.random.default_rng(0).integers(0, 256, (num, size_px, size_px, 3), dtype=np.uint8)
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(options.device) / 255
    contenders: dict[str, Callable[[], object]] = {common.RIVAL: lambda: rival(x), OURS: lambda: ours(x)}
    counted = {name: common.arithmetic(run) for name, run in contenders.items()}
    if onnx is not None:
        photographs = x.numpy()
        contenders[ONNX] = lambda: onnx.paint(photographs)
    seconds = common.turns(contenders | common.ceilings(options.device), options.num_turns)
    flops_per_s, _ = common.ceiling(seconds)
    rows: list[common.Row] = []
    for name, own in seconds.items():
        row: dict[str, str | float | common.Spread] = {
            "photographs": f"{num} of {size_px} px",
            "network": name,
            "s": common.spread(own),
            "photographs/s": num / common.spread(own).median,
            "times as fast": common.times_as_fast(own, seconds[common.RIVAL]),
        }
        if name in counted:
            num_flops, num_bytes = counted[name]
            share = num_flops / common.spread(own).median / flops_per_s
            row |= {"GFLOP": num_flops / 1e9, "GB": num_bytes / 1e9, "share of the ceiling": f"{share:.0%}"}
        rows.append(row)
    return rows


if __name__ == "__main__":
    with clear_errors():
        main()
