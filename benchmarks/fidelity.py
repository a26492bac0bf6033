"""Does the compact loss network stand in for VGG-16? Agreement of their gradients, descent through each, and cost.

    uv run benchmarks/fidelity.py --weights vgg16.safetensors --photos photos --style mosaic la_muse.jpg

For each style a width-16 generator is trained through VGG-16 and another through the compact network: 400 steps, batch
4, 128 px, the same data, order and initial weights. On their outputs of held-out photographs after 50, 200 and 400
steps the gradients of the two objectives over the pixels are compared by their cosine: of each style layer, of the
content layer, and of the total (content relu2_2; style relu1_2, relu2_2, relu3_3 and relu4_3 at a weight of 6; relative
units; total variation, the same for both, is left out). Both generators are then judged by VGG-16 at 256 px. The last
`--num-held-out` pictures of the folder, which `stylization distill` does not train on, are those held out. With
--cache, trained generators are kept and used again.
"""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import common
import numpy as np
import torch
from safetensors.torch import load_file, save
from scipy.stats import spearmanr
from torch import Tensor
from torch.optim.lr_scheduler import OneCycleLR
from tqdm import tqdm

from stylization import images, styles
from stylization.content import Source, Stream, folder, last_images
from stylization.content.sources import Part
from stylization.content.stream import held_out
from stylization.distillation.fidelity import CONTENT, CONTENT_LAYER, STYLE_WEIGHT, TOTAL, gradients
from stylization.distillation.matching import cosines
from stylization.distillation.networks import LAYERS
from stylization.errors import clear_errors
from stylization.evaluation import mean_terms
from stylization.files import atomic_write
from stylization.generators import Johnson
from stylization.loss_networks import compact, vgg16
from stylization.loss_networks.vgg import VGG
from stylization.memory import keep_memory
from stylization.muon import Muon
from stylization.normalization import Norm
from stylization.objective import Objective

WEIGHTS = {"content": 1.0, "style": STYLE_WEIGHT, "tv": 0.1}
STEPS = (50, 200, 400)
BATCH, SIZE_PX, STYLE_PX, JUDGED_PX = 4, 128, 384, 256
TEACHER, STUDENT = "VGG-16", "compact"
COLUMNS = (*LAYERS, CONTENT, TOTAL)


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--weights", type=Path, help="VGG-16's (default: torchvision's)")
    parser.add_argument("--compact", type=Path, help="weights to measure (default: those that ship)")
    parser.add_argument("--photos", type=Path, required=True, help="a folder of photographs")
    parser.add_argument("--num-held-out", type=int, default=20)
    parser.add_argument("--style", nargs="+", default=["mosaic"], help="bundled styles or pictures")
    parser.add_argument("--cache", type=Path, help="a folder for the trained generators")
    parser.add_argument("--num-turns", type=int, default=7, help="of the cost measurement")
    options = parser.parse_args()
    keep_memory()
    networks: dict[str, VGG] = {TEACHER: vgg16(options.weights), STUDENT: compact(options.compact)}
    for network in networks.values():
        network.to(memory_format=torch.channels_last)
    source = folder(options.photos)
    last = last_images(source, options.num_held_out)
    content, judged = (images.to_float(held_out(last, size_px)) for size_px in (SIZE_PX, JUDGED_PX))
    train_source = Part(source, np.arange(len(source) - len(last)))
    rows: list[common.Row] = []
    descent: list[common.Row] = []
    totals: list[Tensor] = []
    for style in options.style:
        picture = styles.read(style, STYLE_PX)
        generators = {name: trained(each, picture, train_source, options.cache) for name, each in networks.items()}
        pictures = {"photographs": content} | {
            f"trained through {name}, {step} steps": painted(generator, content)
            for name, by_step in generators.items()
            for step, generator in by_step.items()
        }
        for name, x in pictures.items():
            row, total = agreement(networks, picture, x, content)
            rows.append({"style": Path(style).stem, "pictures": name, **row})
            totals.append(total)
            print(common.markdown(rows[-1:]), flush=True)
        descent.append({"style": Path(style).stem, **judgement(networks[TEACHER], picture, generators, judged)})
        print(common.markdown(descent[-1:]), flush=True)
    rows.append({"style": "mean", "pictures": "all outputs of generators", **means(rows)})
    rank = spearmanr(*torch.cat(totals, 1).numpy()).statistic
    share = cost(networks, options.num_turns)
    note = (
        f"{len(content)} photographs, {SIZE_PX} px. Rank correlation of the totals: {rank:.3f}. Forward and backward "
        f"of the loss, batch {BATCH}, take compact {share} of VGG-16's time."
    )
    common.publish("fidelity", rows, options, note, descent=descent, cost=share._asdict(), rank_correlation=rank)
    print(f"\n{common.markdown(descent)}")


def trained(network: VGG, style: Tensor, source: Source, cache: Path | None) -> dict[int, Johnson]:
    """Generators after `STEPS` steps of one training through the network."""
    path = None if cache is None else cache / f"{_digest(network, style)}.safetensors"
    if path is not None and path.exists():
        state = load_file(path)
    else:
        state = train(network, style, source)
        if path is not None:
            with atomic_write(path) as file:
                file.write(save(state))
    generators = {}
    for step in STEPS:
        generators[step] = Johnson(Norm, width=16)
        own = {k.partition("/")[2]: v for k, v in state.items() if k.startswith(f"{step}/")}
        generators[step].load_state_dict(own)
    return generators


def train(network: VGG, style: Tensor, source: Source) -> dict[str, Tensor]:
    """The weights after each of `STEPS`, as `<step>/<name>`; the settings of conf/, Muon with a one-cycle rate."""
    torch.manual_seed(0)
    generator = Johnson(Norm, width=16).to(memory_format=torch.channels_last)
    held_to = objective(network, style)
    stream = Stream(source, SIZE_PX, seed=0)
    optimizer = Muon(generator.parameters())
    schedule = OneCycleLR(optimizer, 0.008, total_steps=max(STEPS), pct_start=0.1, cycle_momentum=False)
    state: dict[str, Tensor] = {}
    capabilities = torch.cpu.get_capabilities()
    bfloat16 = bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    for step in tqdm(range(max(STEPS)), desc="training"):
        x = images.to_float(torch.stack([stream[BATCH * step + i].pixels for i in range(BATCH)]))
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss = held_to.total(held_to(generator(x), x))
        loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step + 1 in STEPS:
            state |= {f"{step + 1}/{k}": v.detach().clone().contiguous() for k, v in generator.state_dict().items()}
    return state


def _digest(network: VGG, style: Tensor) -> str:
    digest = hashlib.sha256(style.numpy().tobytes())
    for parameter in network.parameters():
        digest.update(parameter.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


@torch.no_grad()
def painted(generator: Johnson, x: Tensor) -> Tensor:
    return torch.cat([generator(part) for part in x.split(5)])


def agreement(networks: Mapping[str, VGG], style: Tensor, x: Tensor, content: Tensor) -> tuple[common.Row, Tensor]:
    """The mean cosine between the networks' gradients of each term, and each network's totals, (2, b)."""
    found: list[dict[str, Tensor]] = []
    totals: list[Tensor] = []
    for part, own in zip(x.split(5), content.split(5), strict=True):
        (theirs, their_total), (ours, our_total) = (gradients(each, style, part, own) for each in networks.values())
        found.append({name: cosines(ours[name], theirs[name]) for name in COLUMNS})
        totals.append(torch.stack([their_total, our_total]))
    row = {name: torch.cat([cosine[name] for cosine in found]).mean().item() for name in COLUMNS}
    if torch.equal(x, content):
        del row[CONTENT]  # a photograph is its own content: there is no gradient
    return row, torch.cat(totals, 1)


@torch.no_grad()
def judgement(
    teacher: VGG, style: Tensor, generators: Mapping[str, Mapping[int, Johnson]], photographs: Tensor
) -> dict[str, float]:
    """VGG-16's terms of the two generators at the end of their training, and the ratio of their totals."""
    judge = objective(teacher, style)
    found: dict[str, float] = {}
    for name, by_step in generators.items():
        terms = mean_terms(judge, painted(by_step[max(STEPS)], photographs), photographs)
        found |= {f"{term}, {name}": terms[term] for term in ("content", "style", "total")}
    return found | {"ratio": found[f"total, {STUDENT}"] / found[f"total, {TEACHER}"]}


def means(rows: list[common.Row]) -> dict[str, float]:
    """The mean of each column over the outputs of generators."""
    outputs = [row for row in rows if row["pictures"] != "photographs"]
    return {column: float(np.mean([row[column] for row in outputs])) for column in COLUMNS}


def cost(networks: Mapping[str, VGG], num_turns: int) -> common.Spread:
    """The compact network's share of VGG-16's time for the loss of a batch, forward and backward, turn by turn."""
    x = torch.rand(BATCH, 3, SIZE_PX, SIZE_PX).contiguous(memory_format=torch.channels_last)
    contenders = {name: _loss(objective(network, x[:1]), x) for name, network in networks.items()}
    seconds = common.turns(contenders, num_turns)
    return common.times_as_fast(seconds[TEACHER], seconds[STUDENT])


def _loss(held_to: Objective, x: Tensor) -> Callable[[], None]:
    def look() -> None:
        stylized = (0.5 * x).requires_grad_()
        held_to.total(held_to(stylized, x)).backward()

    return look


def objective(network: VGG, style: Tensor) -> Objective:
    """What trains and judges the generators."""
    return Objective(network, style, [CONTENT_LAYER], LAYERS, WEIGHTS)


if __name__ == "__main__":
    with clear_errors():
        main()
