"""Terms of finished runs on held-out photographs, as the real VGG-16 sees them.

    uv run benchmarks/judge.py RUN [RUN ...] --weights vgg16.safetensors

Judges each generator by VGG-16 whatever network it was trained with, on the held-out samples or, with --photos, on the
last pictures of a folder, which `stylization distill` does not train on.
"""

from pathlib import Path

import common
import torch

from stylization import images, styles
from stylization.content import folder, held_out_samples, last_images
from stylization.content.stream import held_out
from stylization.distillation.fidelity import CONTENT_LAYER
from stylization.distillation.networks import LAYERS
from stylization.errors import clear_errors
from stylization.evaluation import mean_terms
from stylization.loss_networks import vgg16
from stylization.memory import keep_memory
from stylization.objective import Objective
from stylization.stylizer import load


@torch.inference_mode()
def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--weights", type=Path, help="VGG-16's (default: torchvision's)")
    parser.add_argument("--photos", type=Path, help="a folder of photographs (default: the held-out samples)")
    parser.add_argument("--num-held-out", type=int, default=20, help="of the folder's pictures, the last")
    parser.add_argument("--style", default="mosaic", help="a bundled style or a picture")
    parser.add_argument("--style-px", type=int, default=384)
    parser.add_argument("--size-px", type=int, default=256)
    parser.add_argument("--style-layers", nargs="+", default=list(LAYERS))
    parser.add_argument("--content-layers", nargs="+", default=[CONTENT_LAYER])
    parser.add_argument("--style-weight", type=float, default=6.0)
    options = parser.parse_args()
    keep_memory()
    source = last_images(folder(options.photos), options.num_held_out) if options.photos else held_out_samples()
    photographs = images.to_float(held_out(source, options.size_px))
    objective = Objective(
        vgg16(options.weights),
        styles.read(options.style, options.style_px),
        options.content_layers,
        options.style_layers,
        {"content": 1.0, "style": options.style_weight, "tv": 0.1},
    )
    rows: list[common.Row] = []
    for run in options.runs:
        stylizer = load(run)
        stylized = torch.cat([stylizer(photograph, strokes="native") for photograph in photographs.split(1)])
        terms = mean_terms(objective, stylized, photographs)
        rows.append({"run": str(run), "loss network": str(stylizer.facts["loss_network"]), **terms})
    print(common.markdown(rows))


if __name__ == "__main__":
    with clear_errors():
        main()
