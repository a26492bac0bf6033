"""What the arms paint: the columns of a report's picture grid, and the grid as one picture."""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from stylization import images
from stylization.content import folder, held_out_samples
from stylization.content.stream import held_out
from stylization.images import Cell
from stylization.report.runs import Arms
from stylization.stylizer import load


def columns(arms: Arms, photos: Path | None, size_px: int = 256) -> list[tuple[str, Tensor]]:
    """The photographs, and what the first run of each arm makes of them, each a heading and a batch; last, what the
    iterative method made of the same ones, if the runs were evaluated against it."""
    content = images.to_float(held_out(folder(photos) if photos else held_out_samples(), size_px))
    found = [("photograph", content)]
    for name, runs in arms.items():
        stylizer = load(runs[0].folder)
        style = stylizer.styles[0] if stylizer.styles else None  # of several the first
        found.append(
            (name, torch.cat([stylizer(photograph[None], style=style, strokes="native") for photograph in content]))
        )
    for runs in arms.values():
        for entry in runs[0].evaluation.values():
            path = Path(entry.get("iterative", {}).get("pictures", ""))
            if path.is_file() and (stylized := load_file(path)["stylized"]).shape == content.shape and not photos:
                return [*found, ("iterative", stylized)]
    return found


def picture(columns: Sequence[tuple[str, Tensor]], path: Path) -> None:
    """Write a contact sheet: a row for each photograph, a column for each batch below its heading."""
    headings, batches = zip(*columns, strict=True)
    rows = [
        [Cell(heading if number == 0 else "", images.to_picture(x)) for heading, x in zip(headings, row, strict=True)]
        for number, row in enumerate(zip(*batches, strict=True))
    ]
    images.save(images.contact_sheet(rows), path)
