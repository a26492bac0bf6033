"""What a training step costs, in turns with the common recipe, and where its time goes.

    uv run benchmarks/step.py

The same work for all: a batch of 4 at 256 px, the johnson generator at the width of the paper, style layers relu1_2,
relu2_2, relu3_3 and relu4_3, content layer relu2_2 of VGG-16; then the compact loss network at its own layers.
Weights are random: what they hold changes no timing. Ratios are turn by turn; the ceiling is a large matrix product's.
"""

import argparse
import statistics
from collections.abc import Callable

import common
import torch
from torch.utils.flop_counter import FlopCounterMode

from stylization.errors import clear_errors
from stylization.generators import Johnson
from stylization.loss_networks import compact
from stylization.loss_networks.vgg import VGG, VGG16_DEPTHS, VGG_WIDTHS
from stylization.memory import keep_memory
from stylization.muon import Muon
from stylization.normalization import Norm
from stylization.objective import Objective
from stylization.training import Training

WEIGHTS = {"content": 1.0, "style": 30.0, "tv": 0.1}  # of conf/objective/relative.yaml
COMPACT_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
RIVAL = "common recipe"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size-px", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--num-turns", type=int, default=7)
    options = parser.parse_args()
    keep_memory()
    photographs = torch.rand(options.batch_size, 3, options.size_px, options.size_px)
    vgg = VGG(VGG16_DEPTHS, VGG_WIDTHS)
    same = Objective(vgg, photographs[:1], [common.CONTENT_LAYER], common.STYLE_LAYERS, WEIGHTS)
    narrow = Objective(compact(), photographs[:1], COMPACT_LAYERS[-1:], COMPACT_LAYERS, WEIGHTS)
    contenders = {
        RIVAL: common.training_step(photographs),
        "this project, the same work, Adam": training_step(photographs, same, torch.optim.Adam),
        "this project, the same work, Muon": training_step(photographs, same, Muon),
        "this project, compact loss network": training_step(photographs, narrow, Muon),
    }
    a = torch.rand(2048, 2048)
    seconds = common.turns(contenders | {"ceiling": lambda: a @ a}, options.num_turns)
    ceiling = 2 * 2048**3 / statistics.median(seconds.pop("ceiling"))
    print(
        f"batch {options.batch_size}, {options.size_px} px, {torch.get_num_threads()} threads, {options.num_turns} "
        f"turns, ceiling {ceiling / 1e9:.0f} GFLOP/s\n"
    )
    print("| step | s | GFLOP | times as fast | share of the ceiling |\n| --- | ---: | ---: | ---: | ---: |")
    for name, own in seconds.items():
        with FlopCounterMode(display=False) as counter:
            contenders[name]()
        num_flops, median = counter.get_total_flops(), statistics.median(own)
        ratios = [theirs / ours for theirs, ours in zip(seconds[RIVAL], own, strict=True)]
        times = "1" if name == RIVAL else f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"| {name} | {median:.2f} | {num_flops / 1e9:.0f} | {times} | {num_flops / median / ceiling:.0%} |")


def training_step(photographs: torch.Tensor, objective: Objective, optimizer: type) -> Callable[[], None]:
    """One step of this project's training, without the trainer around it."""
    module = Training(Johnson(Norm), objective, optimizer, lambda _: None)  # type: ignore[arg-type,return-value]
    descend = optimizer(module.generator.parameters(), lr=1e-4)

    def step() -> None:
        descend.zero_grad()
        module.evaluate(photographs)["total"].backward()
        descend.step()

    return step


if __name__ == "__main__":
    with clear_errors():
        main()
