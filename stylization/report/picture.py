"""What the arms paint: the columns of a report's picture grid, and the grid as one picture."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from stylization import images
from stylization.content import folder, held_out_samples
from stylization.content.stream import held_out
from stylization.errors import InputError
from stylization.images import Cell
from stylization.iterative import kept_pictures
from stylization.report.runs import Arms, Run
from stylization.runs import MODEL
from stylization.stylizer import load


def columns(
    arms: Arms,
    photos: Path | None,
    size_px: int = 256,
    skipped: Callable[[InputError], object] | None = None,
) -> list[tuple[str, Tensor]]:
    """The photographs, and what the first run of each arm makes of them, each a heading and a batch; last, what the
    iterative method made of the same ones, if the runs were evaluated against it. A model that cannot be read raises
    `InputError`, or is handed to `skipped`, and the next run of its arm is taken."""
    content = images.to_float(held_out(folder(photos) if photos else held_out_samples(), size_px))
    found = [("photograph", content)]
    for name, runs in arms.items():
        for run in runs:
            try:
                found.append((name, _painted(run, content)))
                break
            except InputError as error:
                if skipped is None:
                    raise
                skipped(error)
    for runs in arms.values():
        for entry in runs[0].evaluation.values():
            reference = entry.get("iterative")
            stylized = kept_pictures(Path(reference["pictures"]), content.shape) if reference and not photos else None
            if stylized is not None:
                return [*found, ("iterative", stylized)]
    return found


def _painted(run: Run, content: Tensor) -> Tensor:
    stylizer = load(run.folder / MODEL)
    style = stylizer.styles[0] if stylizer.styles else None  # of several the first
    return torch.cat([stylizer(photograph[None], style=style, strokes="native") for photograph in content])


def picture(columns: Sequence[tuple[str, Tensor]], path: Path) -> None:
    """Write a contact sheet: a row for each photograph, a column for each batch below its heading."""
    headings, batches = zip(*columns, strict=True)
    rows = [
        [Cell(heading if number == 0 else "", images.to_picture(x)) for heading, x in zip(headings, row, strict=True)]
        for number, row in enumerate(zip(*batches, strict=True))
    ]
    images.save(images.contact_sheet(rows), path)
