"""How long until a generator is good: the common recipe against this project's runs, as the real VGG-19 sees them.

    uv run benchmarks/quality.py --weights vgg19.safetensors --photos photos

Both minimise what they are judged by: the relative distances of conf/objective/relative.yaml between VGG-19's relu2_2
(content), relu1_2, relu2_2 and relu3_3 (style). The common recipe has batches of 4 at 256 px, Adam at 1e-3 and the
whole loss network on the photographs too, and is judged again and again; of this project's one-cycle runs each length
is a run of its own, `train.py experiment=fast` with those layers, and its seconds are those of the whole command, from
the interpreter's start to the last file. They take turns. So that what else a machine does meanwhile counts less, the
recipe's seconds are its steps times the median of all its steps' seconds. Without --photos it is the bundled samples.
"""

import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import common
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from stylization import images, styles
from stylization.content import Endless, Source, Stream, folder, held_out_samples, train_samples
from stylization.content.data import divided
from stylization.content.stream import collated, held_out
from stylization.errors import clear_errors
from stylization.evaluation import mean_terms
from stylization.loss_networks import vgg19
from stylization.loss_networks.vgg import read_weights
from stylization.memory import keep_memory
from stylization.objective import Objective, mean_variation, relative
from stylization.stylizer import load

STYLE, STYLE_PX = "mosaic", 384
STYLE_LAYERS, CONTENT_LAYER = ("relu1_2", "relu2_2", "relu3_3"), "relu2_2"
WEIGHTS = {"content": 1.0, "style": 30.0, "tv": 0.1}
NUM_HELD_OUT, SIZE_PX, BATCH = 20, 256, 4
LAYERS = [f"objective.style_layers=[{','.join(STYLE_LAYERS)}]", f"objective.content_layers=[{CONTENT_LAYER}]"]
OURS = "experiment=fast"
NOW_AND_THEN = 20  # steps of the recipe between two judgements


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--weights", type=Path, required=True, help="VGG-19's, down to relu3_3")
    parser.add_argument("--photos", type=Path, help="a folder; 20 of its pictures are held out")
    parser.add_argument("--minutes", type=float, default=60, help="of the common recipe")
    parser.add_argument("--lengths", type=int, nargs="+", default=[50, 100, 200, 400], help="steps of our runs")
    parser.add_argument("--chart", type=Path, help="draw the curves into this .svg")
    options = parser.parse_args()
    keep_memory()
    samples: tuple[Source, Source] = train_samples(), held_out_samples()
    photos = options.photos
    source, held_out_source = samples if photos is None else divided(folder(photos), NUM_HELD_OUT)
    photographs = images.to_float(held_out(held_out_source, SIZE_PX))
    judge = Objective(vgg19(options.weights), styles.read(STYLE, STYLE_PX), [CONTENT_LAYER], STYLE_LAYERS, WEIGHTS).to(
        memory_format=torch.channels_last
    )
    rival = Recipe(options.weights, source, judge)
    curves: dict[str, list[Point]] = {common.RIVAL: [], OURS: []}
    seconds: list[float] = []
    with tempfile.TemporaryDirectory() as scratch:
        for turn, length in enumerate(options.lengths, start=1):
            while sum(seconds) < options.minutes * 60 * turn / len(options.lengths):
                seconds += [rival.step() for _ in range(NOW_AND_THEN)]
                curves[common.RIVAL].append(judged(rival.generator, judge, photographs, len(seconds), 0.0))
                told(common.RIVAL, curves[common.RIVAL][-1])
            taken = trained(Path(scratch) / str(length), length, options.weights, options.photos)
            curves[OURS].append(judged(load(Path(scratch) / str(length)), judge, photographs, length, taken))
            told(OURS, curves[OURS][-1])
    median = statistics.median(seconds)
    curves[common.RIVAL] = [p._replace(seconds=median * p.steps) for p in curves[common.RIVAL]]
    rows: list[common.Row] = [
        {"way": name, **point.row()} for name, points in curves.items() for point in thinned(points)
    ]
    best = min(curves[common.RIVAL], key=lambda point: point.total)
    soonest = how_soon(curves[OURS], best)
    common.publish("quality", rows, options, note(soonest, best, seconds), soonest=soonest)
    if options.chart is not None:
        options.chart.write_text(chart(curves))


class Recipe:
    """The common recipe, stepping. Raises if what it minimises is not what it is judged by."""

    def __init__(self, weights: Path, source: Source, judge: Objective) -> None:
        torch.manual_seed(0)
        self.generator = common.Generator()
        self.loss_network = common.LossNetwork((2, 2, 4, 4), STYLE_LAYERS)
        self.loss_network.load_state_dict(read_weights(weights), strict=False)
        self.optimizer = torch.optim.Adam(self.generator.parameters(), 1e-3)
        stream = Stream(source, SIZE_PX, seed=0, crop_area=(1.0, 1.0))  # Resize and CenterCrop
        loader = DataLoader(stream, batch_size=BATCH, sampler=Endless(), collate_fn=collated)
        self.batches = iter(loader)
        targets = self.loss_network(styles.read(STYLE, STYLE_PX))
        self.targets = {name: gram(x) for name, x in targets.items()}
        two = torch.rand(2, 3, 64, 64).unbind()
        ours = judge(two[0][None], two[1][None])
        torch.testing.assert_close(self.loss(two[0][None], two[1][None]), judge.total(ours), rtol=1e-4, atol=1e-4)

    def loss(self, stylized: Tensor, photographs: Tensor) -> Tensor:
        ours, theirs = self.loss_network(stylized), self.loss_network(photographs)
        content = relative(ours[CONTENT_LAYER], theirs[CONTENT_LAYER]).mean()
        distances = [relative(gram(x), self.targets[k].expand(len(x), -1, -1)).mean() for k, x in ours.items()]
        style = torch.stack(distances).mean()
        variation = mean_variation(stylized)
        return WEIGHTS["content"] * content + WEIGHTS["style"] * style + WEIGHTS["tv"] * variation

    def step(self) -> float:
        """Its seconds."""
        start = time.perf_counter()
        photographs = images.to_float(next(self.batches).pixels)
        self.optimizer.zero_grad()
        self.loss(self.generator(photographs), photographs).backward()
        self.optimizer.step()
        return time.perf_counter() - start


def gram(x: Tensor) -> Tensor:
    flat = x.flatten(2)
    return flat @ flat.mT / flat.shape[2]


class Point(NamedTuple):
    """Of a curve."""

    steps: int
    seconds: float
    content: float
    style: float
    total: float

    def row(self) -> dict[str, float]:
        terms = {"content": self.content, "style": self.style, "total": self.total}
        return {"steps": self.steps, "s": round(self.seconds), **terms}


@torch.inference_mode()
def judged(generator: Callable[[Tensor], Tensor], judge: Objective, photographs: Tensor, steps: int, s: float) -> Point:
    stylized = torch.cat([generator(photograph).clamp(0, 1) for photograph in photographs.split(1)])
    terms = mean_terms(judge, stylized, photographs)
    return Point(steps, s, terms["content"], terms["style"], terms["total"])


def trained(run: Path, num_steps: int, weights: Path, photos: Path | None) -> float:
    """The seconds of a train.py of its own."""
    overrides = [OURS, "loss_network=vgg19", f"loss_network.weights={weights.resolve()}", *LAYERS]
    content = [] if photos is None else ["data=folder", f"data.source.path={photos.resolve()}"]
    held = [] if photos is None else [f"data.num_held_out={NUM_HELD_OUT}", "data.num_workers=0"]
    once = [f"trainer.max_steps={num_steps}", f"trainer.val_check_interval={num_steps}"]
    words = [*overrides, *content, *held, *once, f"hydra.run.dir={run}"]
    start = time.perf_counter()
    ended = subprocess.run([sys.executable, "train.py", *words], capture_output=True, text=True, cwd=common.ROOT)
    if ended.returncode:
        raise SystemExit(ended.stderr)
    return time.perf_counter() - start


def told(name: str, point: Point) -> None:
    print(f"{name}: {point.steps} steps, {point.seconds:.0f} s, total {point.total:.3f}", file=sys.stderr, flush=True)


def how_soon(points: Sequence[Point], best: Point) -> dict[str, float] | None:
    """Of the run of fewest steps that arrives at the recipe's best: its seconds, and how many times as long that took
    the recipe; None where none arrives."""
    arrived = [point for point in points if point.total <= best.total]
    if not arrived:
        return None
    first = min(arrived, key=lambda point: point.steps)
    return {"steps": first.steps, "seconds": first.seconds, "times_as_fast": best.seconds / first.seconds}


def note(soonest: Mapping[str, float] | None, best: Point, seconds: Sequence[float]) -> str:
    recipe = (
        f"The recipe's steps took {common.spread(seconds)} s; its best was {best.total:.3f} after {best.seconds:.0f} s"
    )
    if soonest is None:
        return f"{recipe}; no run of ours arrived there."
    return (
        f"{recipe}; a run of {soonest['steps']} steps was there after {soonest['seconds']:.0f} s, "
        f"{soonest['times_as_fast']:.1f} times as fast."
    )


def thinned(points: Sequence[Point], num: int = 8) -> list[Point]:
    """Some of them, the last included."""
    stride = -(-len(points) // num)
    return list(points[::-1][::stride][::-1])


def chart(curves: Mapping[str, Sequence[Point]]) -> str:
    """Total over minutes, both logarithmic, as SVG."""
    width, height, left, top, bottom = 720, 360, 56, 36, 44
    points = [point for curve in curves.values() for point in curve]
    x0, x1 = (math.log(f(p.seconds for p in points)) for f in (min, max))
    y0, y1 = (math.log(f(p.total for p in points)) for f in (min, max))

    def place(seconds: float, total: float) -> tuple[float, float]:
        x = left + (math.log(seconds) - x0) / (x1 - x0) * (width - left - 16)
        y = height - bottom - (math.log(total) - y0) / (y1 - y0) * (height - top - bottom)
        return round(x, 1), round(y, 1)

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        f'font-size="13">\n<rect width="{width}" height="{height}" fill="white"/>'
    ]
    for seconds in (15, 30, 60, 120, 300, 600, 1200, 3600):
        if x0 <= math.log(seconds) <= x1:
            x, _ = place(seconds, points[0].total)
            lines.append(f'<path d="M{x} {top}V{height - bottom}" stroke="#ddd"/>')
            label = f"{seconds} s" if seconds < 60 else f"{seconds // 60} min"
            lines.append(f'<text x="{x}" y="{height - bottom + 18}" text-anchor="middle" fill="#555">{label}</text>')
    for total in (1, 2, 3, 4, 5, 6, 8, 10, 15, 20):
        if y0 <= math.log(total) <= y1:
            _, y = place(points[0].seconds, total)
            lines.append(f'<path d="M{left} {y}H{width - 16}" stroke="#ddd"/>')
            lines.append(f'<text x="{left - 8}" y="{y + 4}" text-anchor="end" fill="#555">{total}</text>')
    for number, ((name, curve), colour) in enumerate(zip(curves.items(), ("#555", "#c0392b"), strict=True)):
        placed = [place(p.seconds, p.total) for p in curve]
        dots = "".join(f'<circle cx="{x}" cy="{y}" r="3"/>' for x, y in placed)
        path = " ".join(f"{x},{y}" for x, y in placed)
        lines.append(f'<g fill="{colour}"><polyline points="{path}" fill="none" stroke="{colour}"/>{dots}')
        lines.append(f'<text x="{left + 8 + number * 220}" y="20">{name}</text></g>')
    lines.append(f'<text x="{width - 16}" y="{height - 6}" text-anchor="end" fill="#555">time of training</text>')
    lines.append(f'<text x="4" y="{top - 18}" fill="#555">total</text></svg>')
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    with clear_errors():
        main()
