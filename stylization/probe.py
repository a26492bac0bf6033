"""Which size and weight suit a style: a contact sheet over both, by the iterative method at small size."""

from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image
from torch import Tensor
from tqdm import tqdm

from stylization import images
from stylization.errors import InputError
from stylization.files import atomic_write
from stylization.images import Cell
from stylization.iterative import optimize
from stylization.objective import Objective


def sheet(
    content: Tensor,
    objective: Callable[[int, float], Objective],
    sizes_px: Sequence[int],
    weights: Sequence[float],
    num_steps: int,
) -> Image.Image:
    """One photograph (1, 3, h, w): a column for each size of the style picture and a row for each style weight.

    `objective(size_px, weight)` is minimized by `num_steps` steps of the iterative method for each picture.
    """
    rows = []
    with tqdm(total=len(sizes_px) * len(weights) * num_steps, unit="step", desc="probe") as bar:
        for weight in weights:
            row = []
            for size_px in sizes_px:
                made = optimize(
                    content, [objective(size_px, weight)], num_steps, watch=lambda step, terms: bar.update()
                )
                row.append(Cell(f"size_px {size_px}, weight {weight:g}", images.to_picture(made[0])))
            rows.append(row)
    return images.contact_sheet(rows)


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
    with atomic_write(path) as file:
        file.write(("\n".join(lines) + "\n").encode())
    return path
