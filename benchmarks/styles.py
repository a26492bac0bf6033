"""A model of many styles: against one model for each, and by strength and size of strokes.

    uv run train.py norm=conditional style=all trainer.max_steps=2400 hydra.run.dir=outputs/styles/all
    uv run stylization sweep sweeps/styles.yaml --output outputs/styles/single
    uv run benchmarks/styles.py outputs/styles/all --singles outputs/styles/single

On the held-out photographs of the run, by its own objective. Of the strengths and sizes each style's terms are those of
the whole style, whatever was asked for: they say how far the picture went.
"""

import argparse
from itertools import pairwise
from pathlib import Path
from statistics import mean

import torch
from torch import Tensor

from stylization import rebuild, runs
from stylization.conditions import LARGEST_STROKE, Condition
from stylization.errors import clear_errors
from stylization.images import to_float
from stylization.objective import Objective
from stylization.stylizer import Stylizer, load

STRENGTHS = [k / 10 for k in range(11)]
SCALES = [LARGEST_STROKE ** (k / 2) for k in range(-2, 3)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--singles", type=Path, help="the folder below which runs of a single style are")
    parser.add_argument("--strength", action="store_true", help="measure strengths and sizes")
    parser.add_argument("--size-px", type=int, default=128, help="of the photographs, for strengths and sizes")
    options = parser.parse_args()
    if options.singles:
        against_singles(options.run, options.singles)
    if options.strength:
        by_strength(options.run, options.size_px)


def against_singles(run: Path, folder: Path) -> None:
    """Held-out totals and sizes of a run of many styles and of runs of one."""
    together = runs.read_summary(run)
    singles = {(facts := runs.read_summary(path.parent))["style"]: (facts, path) for path in folder.rglob(runs.SUMMARY)}
    print(
        f"{together['steps']} steps for {len(together['styles'])} styles\n\n"
        "| style | steps | its own model | one model for all | ratio |\n| --- | ---: | ---: | ---: | ---: |"
    )
    ratios = []
    for style in together["styles"]:
        alone, total = singles[style][0], together["val_by_style"][style]["total"]
        ratios.append(total / alone["val"]["total"])
        print(f"| {style} | {alone['steps']} | {alone['val']['total']:.3f} | {total:.3f} | {ratios[-1]:.2f} |")
    print(f"| mean | | | | {sum(ratios) / len(ratios):.2f} |\n")
    sizes = [path.with_name(runs.MODEL).stat().st_size for _, path in singles.values()]
    own = sum(facts["parameters"] for facts, _ in singles.values())
    print(f"parameters: {together['parameters']:,} against {own:,}; files: ", end="")
    print(f"{(run / runs.MODEL).stat().st_size / 1e6:.2f} MB against {sum(sizes) / 1e6:.2f} MB\n")


def by_strength(run: Path, size_px: int) -> None:
    """Mean terms over all styles and held-out photographs as strength and size go up."""
    settings, where = runs.settings_of_finished(run), str(run / runs.SETTINGS)
    settings["data"]["held_out_size_px"] = size_px
    stylizer, objective = load(run), rebuild.objective(settings, where)
    content, styles = to_float(rebuild.content(settings, where).held_out), stylizer.styles
    print(f"{len(content)} photographs, {size_px} px, {len(styles)} styles\n")
    print("| strength | content | style term | off the photograph, of 255 |\n| ---: | ---: | ---: | ---: |")
    curves: dict[str, list[dict[str, float]]] = {style: [] for style in styles}
    for strength in STRENGTHS:
        for style in styles:
            curves[style].append(terms(stylizer, objective, content, style, strength, 1.0, 1.0))
        means = {key: sum(curves[style][-1][key] for style in styles) / len(styles) for key in curves[styles[0]][-1]}
        print(
            f"| {strength:.1f} | {means['content']:.3f} | {means['style']:.4f} | {255 * means['off']:.1f} |", flush=True
        )
    falls = [style for style in styles if all(a["style"] > b["style"] for a, b in pairwise(curves[style]))]
    rises = [style for style in styles if all(a["content"] < b["content"] for a, b in pairwise(curves[style]))]
    print(
        f"\nstyle term falls at every step for {len(falls)} of {len(styles)} styles, content rises for {len(rises)}\n"
    )
    print("| scale | distance from the small style picture | from the large |\n| ---: | ---: | ---: |")
    for scale in SCALES:
        ends = [
            mean([terms(stylizer, objective, content, style, 1.0, scale, end)["style"] for style in styles])
            for end in (SCALES[0], SCALES[-1])
        ]
        print(f"| {scale:.2f} | {ends[0]:.4f} | {ends[1]:.4f} |", flush=True)


@torch.no_grad()
def terms(
    stylizer: Stylizer,
    objective: Objective,
    content: Tensor,
    style: str,
    strength: float,
    scale: float,
    held_to: float,
) -> dict[str, float]:
    """Of pictures asked for at this strength and scale, held to the whole style at the scale `held_to`."""
    stylized = torch.cat(
        [stylizer(part, style=style, strength=strength, scale=scale, strokes="native") for part in content.split(4)]
    )
    found = objective(stylized, content, Condition.of(stylizer.mixed(style), 1.0, held_to))
    return {key: value.item() for key, value in found.items()} | {"off": float((stylized - content).abs().mean())}


if __name__ == "__main__":
    with clear_errors():
        main()
