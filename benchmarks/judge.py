"""Held-out terms of finished runs as another loss network sees them.

    uv run benchmarks/judge.py RUN [RUN ...] --weights vgg19.safetensors --style-layers relu1_1 relu2_1 relu3_1

A generator is judged by VGG-19 whatever network it was trained with, on the held-out samples or, with --photos, on
the last 100 pictures of a folder instead.
"""

import argparse
from pathlib import Path

import torch

from stylization import images, styles
from stylization.content import folder, held_out_samples, last_images
from stylization.content.stream import held_out
from stylization.errors import clear_errors
from stylization.evaluation import mean_terms
from stylization.loss_networks import vgg19
from stylization.memory import keep_memory
from stylization.objective import TERMS, Objective
from stylization.stylizer import load


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--weights", type=Path, required=True, help="VGG-19's")
    parser.add_argument("--photos", type=Path, help="a folder: its last 100 pictures instead of the held-out samples")
    parser.add_argument("--style", default="mosaic")
    parser.add_argument("--style-px", type=int, default=384)
    parser.add_argument("--size-px", type=int, default=256)
    parser.add_argument("--style-layers", nargs="+", default=["relu1_1", "relu2_1", "relu3_1"])
    parser.add_argument("--content-layers", nargs="+", default=["relu3_4"])
    options = parser.parse_args()
    keep_memory()
    source = last_images(folder(options.photos), 100) if options.photos else held_out_samples()
    photographs = images.to_float(held_out(source, options.size_px))
    objective = Objective(
        vgg19(options.weights),
        styles.read(options.style, options.style_px),
        options.content_layers,
        options.style_layers,
        {"content": 1.0, "style": 30.0, "tv": 0.1},  # conf/objective/relative.yaml
    )
    print("| run | loss network | " + " | ".join((*TERMS, "total")) + " |\n| --- | --- |" + " ---: |" * 4)
    for run in options.runs:
        stylizer = load(run)
        stylized = torch.cat([stylizer(photograph) for photograph in photographs.split(1)])
        terms = mean_terms(objective, stylized, photographs)
        print(f"| {run} | {stylizer.facts['loss_network']} | " + " | ".join(f"{v:.4f}" for v in terms.values()) + " |")


if __name__ == "__main__":
    with clear_errors():
        main()
