"""Generators of pytorch/examples' fast_neural_style beside ours, on the same held-out photographs and style picture.

    uv run benchmarks/peers.py --weights vgg16.safetensors --photos photos --style mosaic.jpg --peer mosaic.pth

The judge is VGG-16: content at relu2_2, style at relu1_2, relu2_2, relu3_3 and relu4_3, in relative units, the mean
over layers. "total" is content + WEIGHT style + 0.1 tv; "their total" is 1e5 content + 1e10 style in the units of
pytorch/examples (mean squared differences of features and of Gram matrices over c h w). These presume features on the
scale of torchvision's weights: for weights on Caffe's scale give --feature-scale 58, the deviation of pixels in 0..255.
"L-BFGS steps" is the smallest number of steps after which the iterative method, from noise, has a total as low as the
generator's: the median over --iterative-photos photographs. "> N" means that N steps were not enough.
"""

import argparse
import hashlib
import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

import common
import torch
from torch import Tensor

from stylization import images, pytorch_examples, styles
from stylization.configuration import built_content, composed, plain
from stylization.errors import InputError, clear_errors
from stylization.evaluation import mean_terms
from stylization.files import atomic_write
from stylization.iterative import optimize
from stylization.loss_networks import vgg16
from stylization.loss_networks.vgg import VGG
from stylization.memory import keep_memory
from stylization.metrics import OF_PICTURES, meters, readings
from stylization.objective import Objective
from stylization.stylizer import load
from stylization.training import parameter_count

METERS = ("grid", "texture", "halo", "ssim")
Paint = Callable[[Tensor], Tensor]


def main() -> None:
    options = _parser().parse_args()
    keep_memory()
    generators = contenders(options.peer, options.model, Path(options.style).stem)
    content = held_out(options.photos, options.num_photos, options.size_px)
    style = styles.read(options.style, options.style_size_px)
    network = vgg16(options.weights)
    ours, theirs = objectives(network, style, options.style_weight, options.feature_scale)
    rows: list[common.Row] = []
    curves = [
        curve(photograph[None], ours, options.iterative_steps, options.cache)
        for photograph in content[: options.iterative_photos]
    ]
    for name, (paint, size) in generators.items():
        with torch.inference_mode():
            stylized = torch.cat([paint(photograph) for photograph in content.split(1)])
            row: dict[str, str | float | common.Spread] = {"generator": name, "parameters": size}
            row |= judged(stylized, content, style, ours, theirs)
            if curves:
                row["L-BFGS steps"] = equivalent_steps(curves, stylized, content, ours)
        rows.append(row)
    note = (
        f"{len(content)} photographs, {options.size_px} px; style picture {Path(options.style).name} at "
        f"{options.style_size_px} px; total = content + {options.style_weight:g} style + 0.1 tv; their total = 1e5 "
        f"content + 1e10 style in pytorch/examples' units."
    )
    common.publish("peers", rows, options, note, curves=curves)


def _parser() -> argparse.ArgumentParser:
    parser = common.parser(__doc__)
    parser.add_argument("--peer", type=Path, nargs="+", default=[], metavar="FILE", help="state dicts, .pth or .model")
    parser.add_argument("--model", type=Path, nargs="+", default=[], metavar="RUN", help="our run folders, model files")
    parser.add_argument("--weights", type=Path, help="VGG-16 weight file (default: torchvision's)")
    parser.add_argument("--style", default="mosaic", metavar="PICTURE", help="a bundled style or a picture")
    parser.add_argument("--style-size-px", type=int, default=384, help="short side of the style picture (default: 384)")
    parser.add_argument("--style-weight", type=float, default=10.0, help="weight of the style term (default: 10)")
    parser.add_argument("--feature-scale", type=float, default=1.0, help="divisor of features in their total, e.g. 58")
    parser.add_argument("--photos", type=Path, help="folder of photographs (default: the samples)")
    parser.add_argument("--num-photos", type=int, default=20, help="held-out photographs of the folder (default: 20)")
    parser.add_argument("--size-px", type=int, default=256, help="side of the photographs (default: 256)")
    parser.add_argument("--iterative-photos", type=int, default=2, help="photographs of the iterative method; 0: none")
    parser.add_argument("--iterative-steps", type=int, default=100, help="its steps (default: 100)")
    parser.add_argument("--cache", type=Path, default=Path("outputs/peers"), help="folder of its curves")
    return parser


def contenders(peers: Sequence[Path], models: Sequence[Path], style: str) -> dict[str, tuple[Paint, int]]:
    """Each generator and its number of parameters, by name. Raises `InputError`."""
    found: dict[str, tuple[Paint, int]] = {}
    for path in peers:
        peer = pytorch_examples.read(path)
        found[f"{path.name} (pytorch/examples)"] = (peer, parameter_count(peer))
    for path in models:
        stylizer = load(path)
        if stylizer.styles and style not in stylizer.styles:
            raise InputError(f"--model={path}: no style '{style}'; it has {', '.join(stylizer.styles)}")
        found[str(path)] = (_painting(stylizer, style), parameter_count(stylizer.generator))
    if not found:
        raise InputError("--peer, --model: nothing to compare; give a generator")
    return found


def _painting(stylizer: Callable[..., Tensor], style: str) -> Paint:
    named = {"style": style} if getattr(stylizer, "styles", None) else {}
    return lambda photographs: stylizer(photographs, strokes="native", **named)


def held_out(photos: Path | None, num_photos: int, size_px: int) -> Tensor:
    """The photographs that a run with data=folder holds out: (b, 3, size_px, size_px)."""
    words = [f"data.held_out_size_px={size_px}"]
    if photos is not None:
        words += ["data=folder", f"data.source.path='{photos}'", f"data.num_held_out={num_photos}"]
    return images.to_float(built_content(plain(composed(words))).held_out)


def objectives(
    network: VGG, style: Tensor, style_weight: float, feature_scale: float = 1.0
) -> tuple[Objective, Objective]:
    """Ours and theirs, at the same layers. Theirs measures features divided by `feature_scale`."""
    weights = {"content": 1.0, "style": style_weight, "tv": 0.1}
    layers = ([common.CONTENT_LAYER], common.STYLE_LAYERS)
    ours = Objective(network, style, *layers, weights)
    theirs = {"content": 1e5 / feature_scale**2, "style": 1e10 / feature_scale**4, "tv": 0.0}
    return ours, Objective(network, style, *layers, theirs, "pytorch_examples")


def judged(
    stylized: Tensor, content: Tensor, style: Tensor, ours: Objective, theirs: Objective
) -> dict[str, str | float | common.Spread]:
    """Terms, totals and meters, in the mean over photographs."""
    found: dict[str, str | float | common.Spread] = {**mean_terms(ours, stylized, content)}
    found["their total"] = mean_terms(theirs, stylized, content)["total"]
    collection = meters({name: OF_PICTURES[name] for name in METERS}, style)
    collection.update(stylized, content)
    return {**found, **readings(collection)}


def curve(photograph: Tensor, objective: Objective, num_steps: int, cache: Path) -> list[float]:
    """Totals of the iterative method from noise, after each step; kept in `cache`."""
    digest = hashlib.sha256(f"{num_steps} {objective.weights}".encode())
    digest.update(photograph.numpy().tobytes())
    for layer in objective.style_layers:
        digest.update(objective.get_buffer(f"target_{layer}").numpy().tobytes())
    path = cache / f"{digest.hexdigest()[:16]}.json"
    if path.exists():
        known: list[float] = json.loads(path.read_text())
        return known
    totals: list[float] = []
    optimize(photograph, [objective], num_steps, start="noise", watch=lambda step, terms: totals.append(terms["total"]))
    with atomic_write(path) as file:
        file.write(json.dumps(totals).encode())
    return totals


def equivalent_steps(curves: Sequence[Sequence[float]], stylized: Tensor, content: Tensor, objective: Objective) -> str:
    """The median over the photographs with a curve; "> N" where half of them need more than their N steps."""
    found = []
    for totals, x, photograph in zip(curves, stylized.split(1), content.split(1), strict=False):
        target = mean_terms(objective, x, photograph)["total"]
        found.append(next((step for step, total in enumerate(totals, 1) if total <= target), float("inf")))
    median = statistics.median(found)
    return f"> {min(map(len, curves))}" if median == float("inf") else f"{median:g}"


if __name__ == "__main__":
    with clear_errors():
        main()
