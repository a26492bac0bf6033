"""Does the compact loss network measure as VGG-19 does? Rank correlation of its terms with the teacher's on held-out
photographs, and the cost of each, side by side.

    uv run benchmarks/fidelity.py --teacher vgg19.safetensors --photos photos

Takes the last `--num-held-out` pictures of the folder, which `stylization distill` leaves unread, and forms pairs of
an image and a target. Images are other photographs, stylizations (some on their way, half of them led by the teacher
and half by the compact network itself), noisy and blurred photographs; style targets are photographs and the bundled
style pictures, content targets are the photographs that the images were made from.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from stylization import images, styles
from stylization.content import folder, last_images
from stylization.content.stream import held_out
from stylization.errors import InputError, clear_errors
from stylization.loss_networks import compact, vgg19
from stylization.loss_networks.vgg import VGG, VGG19_DEPTHS, VGG_WIDTHS
from stylization.memory import keep_memory
from stylization.objective import Objective

WEIGHTS = {"content": 1.0, "style": 30.0, "tv": 0.1}  # of conf/objective/relative.yaml
NUM_TARGETS = 12
STEPS = (3, 10, 30, 60)  # of descent, at which a stylization is taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--compact", type=Path, help="weights to measure (default: those that ship)")
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--num-held-out", type=int, default=100)
    parser.add_argument("--size-px", type=int, default=128)
    parser.add_argument("--style-layers", nargs="+", default=["relu1_1", "relu2_1", "relu3_1"])
    parser.add_argument("--content-layers", nargs="+", default=["relu3_4"])
    options = parser.parse_args()
    keep_memory()
    torch.manual_seed(0)
    networks = {"VGG-19": vgg19(options.teacher), "compact": compact(options.compact)}
    photographs = images.to_float(held_out(last_images(folder(options.photos), options.num_held_out), options.size_px))

    def objective(network: VGG, style: Tensor) -> Objective:
        return Objective(network, style, options.content_layers, options.style_layers, WEIGHTS)

    pairs = Pairs(photographs, networks, objective)
    terms: dict[str, dict[str, list[float]]] = {}
    for name, network in networks.items():
        terms[name] = {
            "style": [objective(network, target)(x, x)["style"].item() for x, target in tqdm(pairs.style, desc=name)],
            "content": [objective(network, target)(x, target)["content"].item() for x, target in pairs.content],
        }
    print(f"\n| term, {options.size_px} px | pairs | Spearman, all pairs | within a target, mean (least) |")
    print("| --- | ---: | ---: | ---: |")
    for term in ("style", "content"):
        theirs, ours = (np.array(terms[name][term]) for name in ("VGG-19", "compact"))
        within = [
            spearmanr(a, b).statistic
            for a, b in zip(np.split(theirs, NUM_TARGETS), np.split(ours, NUM_TARGETS), strict=True)
        ]
        print(
            f"| {term} | {len(ours)} | {spearmanr(theirs, ours).statistic:.3f} "
            f"| {np.mean(within):.3f} ({min(within):.3f}) |"
        )
    print(cost(options.size_px))


class Pairs:
    """(image, target) pairs of every quality: for each target 20 images and more."""

    def __init__(self, photographs: Tensor, networks: dict[str, VGG], objective: Callable[[VGG, Tensor], Objective]):
        size_px = photographs.shape[-1]
        least = NUM_TARGETS // 2 + 7 * NUM_TARGETS
        if len(photographs) < least:
            raise InputError(f"{len(photographs)} photographs held out, {least} are needed: see --num-held-out")
        names = styles.names()[: NUM_TARGETS // 2]
        pictures = [styles.read(name, size_px)[..., :size_px, :size_px] for name in names]
        self.style: list[tuple[Tensor, Tensor]] = []
        self.content: list[tuple[Tensor, Tensor]] = []
        targets = [*pictures, *photographs[: NUM_TARGETS // 2].split(1)]
        for number, target in enumerate(tqdm(targets, desc="pairs")):
            first = NUM_TARGETS // 2 + 7 * number  # seven photographs of its own for each target
            own = photographs[first : first + 7]
            guide = list(networks.values())[number % 2]
            for n, photograph in enumerate(own.split(1)):
                if n < 2:
                    variants = stylizations(objective(guide, target), photograph)
                elif n < 4:
                    variants = [noisy(photograph, strength) for strength in (0.02, 0.08, 0.3)]
                else:
                    variants = [blurred(photograph, factor) for factor in (1.5, 3, 6)]
                other = own[(n + 1) % 7 : (n + 1) % 7 + 1]
                self.style += [(x, target) for x in (photograph, *variants)]
                self.content += [(x, photograph) for x in (other, *variants)]


def stylizations(objective: Objective, photograph: Tensor) -> list[Tensor]:
    """The photograph at `STEPS` of Adam's descent of the objective over its pixels."""
    x = photograph.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([x], lr=0.03)
    taken = []
    for step in range(1, max(STEPS) + 1):
        optimizer.zero_grad()
        objective.total(objective(x, photograph)).backward()
        optimizer.step()
        x.data.clamp_(0, 1)
        if step in STEPS:
            taken.append(x.detach().clone())
    return taken


def noisy(x: Tensor, strength: float) -> Tensor:
    return (x + strength * torch.randn_like(x)).clamp(0, 1)


def blurred(x: Tensor, factor: float) -> Tensor:
    small = F.interpolate(x, scale_factor=1 / factor, mode="area")
    return F.interpolate(small, size=x.shape[2:], mode="bilinear")


def cost(size_px: int) -> str:
    """The default objective's forward and backward on a batch of 4, the networks taking turns, to relu4_1.

    What the convolutions hold does not change what they cost, so VGG-19's are random here: no file reaches that far.
    """
    x = torch.rand(4, 3, size_px, size_px)
    layers = ["relu1_1", "relu2_1", "relu3_1", "relu4_1"]
    networks = {"VGG-19": VGG(VGG19_DEPTHS, VGG_WIDTHS), "compact": compact()}
    objectives = {name: Objective(network, x[:1], layers[-1:], layers, WEIGHTS) for name, network in networks.items()}
    seconds: dict[str, list[float]] = {name: [] for name in networks}
    for turn in range(8):
        for name, objective in objectives.items():
            stylized = (0.5 * x).requires_grad_(True)
            start = time.perf_counter()
            objective.total(objective(stylized, x)).backward()
            if turn:  # the first warms up
                seconds[name].append(time.perf_counter() - start)
    ratios = [a / b for a, b in zip(seconds["VGG-19"], seconds["compact"], strict=True)]
    return (
        f"\nloss forward + backward, batch 4, {size_px} px, to relu4_1, {torch.get_num_threads()} threads: VGG-19 "
        f"costs {statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f}) times compact"
    )


if __name__ == "__main__":
    with clear_errors():
        main()
