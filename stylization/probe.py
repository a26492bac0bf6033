"""Which size and weight suit a style: a contact sheet over both, by the iterative method at small size."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from tqdm import tqdm

from stylization import images
from stylization.errors import InputError, written_whole
from stylization.iterative import optimize
from stylization.objective import Objective


def sheet(
    content: Tensor,
    objective: Callable[[int, float], Objective],
    sizes_px: Sequence[int],
    weights: Sequence[float],
    num_steps: int,
    heading_px: int = 26,
) -> Image.Image:
    """One photograph (1, 3, h, w), a column for each size of the style picture and a row for each style weight.

    `objective(size_px, weight)` gives what is minimised. Each picture takes `num_steps` steps, enough to tell.
    """
    rows = []
    with tqdm(total=len(sizes_px) * len(weights) * num_steps, unit="step", desc="probe") as bar:
        for weight in weights:
            made = [
                optimize(content, [objective(size_px, weight)], num_steps, watch=lambda step, terms: bar.update())
                for size_px in sizes_px
            ]
            rows.append(torch.cat(made))
    grid = images.sheet([torch.cat([row[column][None] for row in rows]) for column in range(len(sizes_px))])
    margin_px = 4 * heading_px
    canvas = Image.new("RGB", (grid.width + margin_px, grid.height + heading_px), "white")
    canvas.paste(grid, (margin_px, heading_px))
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=0.6 * heading_px)
    for column, size_px in enumerate(sizes_px):
        x = margin_px + (column + 0.5) * grid.width / len(sizes_px)
        draw.text((x, heading_px / 2), f"size_px {size_px}", "black", font, anchor="mm")
    for row, weight in enumerate(weights):
        y = heading_px + (row + 0.5) * grid.height / len(weights)
        draw.text((margin_px / 2, y), f"weight {weight:g}", "black", font, anchor="mm")
    return canvas


def write_option(folder: Path, picture: str, size_px: int, weight: float) -> Path:
    """Write a style as an option of train.py, `style=<the picture's name>`: its size, and its weight."""
    name = Path(picture).stem
    if not name.replace("_", "").replace("-", "").isalnum():
        raise InputError(f"'{name}' cannot be an option's name: rename the picture to letters, digits, _ and -")
    path = folder / f"{name}.yaml"
    if path.exists():
        raise InputError(f"{path} is there already: remove it, or rename the picture")
    lines = (
        "# @package _global_",
        "# Chosen by `stylization probe`.",
        "style:",
        "  name: ${stem:${style.image}}",
        f"  image: '{Path(picture).expanduser().resolve()}'",
        f"  size_px: {size_px}",
        "objective:",
        "  weights:",
        f"    style: {float(weight)}",
    )
    with written_whole(path) as file:
        file.write(("\n".join(lines) + "\n").encode())
    return path
