"""How fast a photograph is repainted: the johnson generator at the paper's width, in turns with its rivals.

    uv run --extra export benchmarks/inference.py

pytorch/examples' network as everyone runs it (benchmarks/common.py), this project's, and onnxruntime on this project's
weights, on one photograph of random pixels at each size. The medians and ranges are of the ratios turn by turn; the
ceiling is what a large matrix product reaches in the same run.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import common
import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from stylization import model_file
from stylization.errors import clear_errors
from stylization.export import export
from stylization.generators import Johnson
from stylization.memory import keep_memory
from stylization.normalization import Norm
from stylization.onnx_runtime import OnnxStylizer
from stylization.stylizer import load
from stylization.training import parameter_count

ARCHITECTURE = {
    "generator": {"_target_": "stylization.generators.Johnson", "width": 32},
    "norm": {"_target_": "stylization.normalization.Norm"},
}
RIVAL, OURS, ONNX = "common recipe, eager", "this project", "onnxruntime"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes-px", type=int, nargs="+", default=[256, 512, 1024])
    parser.add_argument("--num-turns", type=int, default=7)
    options = parser.parse_args()
    keep_memory()
    rival = common.Generator().eval()
    assert parameter_count(rival) == parameter_count(Johnson(Norm))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        model_file.write(path, Johnson(Norm), ARCHITECTURE, {})
        ours = load(path)
        export(path, Path(folder) / "model.onnx", "onnx")
        onnx = OnnxStylizer(Path(folder) / "model.onnx")
        print(f"{torch.get_num_threads()} threads, {options.num_turns} turns\n")
        print("| size | network | s | times the common recipe | share of the ceiling |")
        print("| ---: | --- | ---: | ---: | ---: |")
        for size_px in options.sizes_px:
            pixels = np.random.default_rng(0).integers(0, 256, (size_px, size_px, 3), dtype=np.uint8)
            x = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
            with torch.inference_mode():
                contenders: dict[str, Callable[[], object]] = {
                    RIVAL: lambda x=x: rival(x),  # type: ignore[misc]
                    OURS: lambda x=x: ours(x),  # type: ignore[misc]
                    ONNX: lambda pixels=pixels: onnx(pixels),  # type: ignore[misc]
                }
                a = torch.rand(2048, 2048)
                seconds = common.turns(contenders | {"ceiling": lambda a=a: a @ a}, options.num_turns)
            with FlopCounterMode(display=False) as counter:
                rival(x)
            report(size_px, seconds, counter.get_total_flops())


def report(size_px: int, seconds: dict[str, list[float]], num_flops: int) -> None:
    ceiling = 2 * 2048**3 / statistics.median(seconds.pop("ceiling"))
    for name, own in seconds.items():
        ratios = [a / b for a, b in zip(seconds[RIVAL], own, strict=True)]
        times = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        share = num_flops / statistics.median(own) / ceiling
        print(f"| {size_px} | {name} | {statistics.median(own):.3f} | {times if name != RIVAL else 1} | {share:.0%} |")


if __name__ == "__main__":
    with clear_errors():
        main()
