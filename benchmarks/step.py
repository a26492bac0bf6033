"""What a training step costs, in turns with the common recipe, and where its time goes.

    uv run benchmarks/step.py

The same work for all: a batch of 4 at 256 px, the johnson generator at the width of the paper, style layers relu1_2,
relu2_2, relu3_3 and relu4_3, content layer relu2_2 of VGG-16; then of the compact loss network.
Weights are random: what they hold changes no timing. Ratios are turn by turn; GFLOP are the multiplications and
additions that were done, GB what all operations read and wrote, and the ceiling is a large matrix product's.
"""

from collections.abc import Callable

import common
import torch

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


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--size-px", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--num-turns", type=int, default=11)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    options = parser.parse_args()
    keep_memory()
    device = options.device
    photographs = torch.rand(options.batch_size, 3, options.size_px, options.size_px, device=device)
    vgg, narrow = VGG(VGG16_DEPTHS, VGG_WIDTHS).to(device), compact().to(device)
    same = Objective(vgg, photographs[:1], [common.CONTENT_LAYER], common.STYLE_LAYERS, WEIGHTS)
    small = Objective(narrow, photographs[:1], [common.CONTENT_LAYER], common.STYLE_LAYERS, WEIGHTS)
    contenders = {
        common.RIVAL: common.training_step(photographs),
        "this project, the same work, Adam": training_step(photographs, same, torch.optim.Adam),
        "this project, the same work, Muon": training_step(photographs, same, Muon),
        "this project, compact loss network": training_step(photographs, small, Muon),
    }
    if device == "cuda":
        half = training_step(photographs, same, Muon, torch.bfloat16)
        contenders["this project, the same work, bf16"] = half
    seconds = common.turns(contenders | common.ceilings(device), options.num_turns)
    flops_per_s, bytes_per_s = common.ceiling(seconds)
    rows: list[common.Row] = []
    for name, own in seconds.items():
        num_flops, num_bytes = common.arithmetic(contenders[name])
        rows.append(
            {
                "step": name,
                "s": common.spread(own),
                "GFLOP": round(num_flops / 1e9),
                "GB": round(num_bytes / 1e9, 1),
                "times as fast": common.times_as_fast(own, seconds[common.RIVAL]),
                "share of the ceiling": f"{num_flops / common.spread(own).median / flops_per_s:.0%}",
            }
        )
    note = (
        f"Batch {options.batch_size} at {options.size_px} px, {options.num_turns} turns; the ceilings were "
        f"{flops_per_s / 1e9:.0f} GFLOP/s and {bytes_per_s / 1e9:.1f} GB/s."
    )
    common.publish("step", rows, options, note, turns=seconds)


def training_step(
    photographs: torch.Tensor, objective: Objective, optimizer: type, half: torch.dtype | None = None
) -> Callable[[], None]:
    """One step of this project's training, without the trainer around it."""
    module = Training(Johnson(Norm), objective, optimizer, lambda _: None).to(photographs.device)  # type: ignore[arg-type,return-value]
    descend = optimizer(module.generator.parameters(), lr=1e-4)

    def step() -> None:
        descend.zero_grad()
        with torch.autocast(photographs.device.type, half, enabled=half is not None):
            total = module.evaluate(photographs)["total"]
        total.backward()
        descend.step()

    return step


if __name__ == "__main__":
    with clear_errors():
        main()
