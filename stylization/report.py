"""What a set of finished runs says, computed from their folders: a table over seeds, and a picture."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from PIL import Image, ImageDraw, ImageFont

from stylization import images
from stylization.content import folder, held_out_samples
from stylization.content.stream import held_out
from stylization.errors import InputError, written_whole
from stylization.objective import TERMS
from stylization.stylizer import load

# What arms must share to stand in one table, beside the setting that makes them.
SHARED = ("style", "norm", "generator", "loss_network", "objective", "steps", "images", "held_out", "val_initial")
COLUMNS = (*TERMS, "total")


@dataclass(frozen=True)
class Run:
    """A finished run: its folder and what its summary says."""

    folder: Path
    summary: dict[str, Any]


Arms = Mapping[str, Sequence[Run]]


def finished(folders: Sequence[Path]) -> list[Run]:
    """The finished runs in and below the folders, sorted by path. Raises `InputError` if there are none."""
    found: dict[Path, Run] = {}
    for root in folders:
        if not root.is_dir():
            raise InputError(f"no folder at {root}")
        for path in sorted(root.rglob("summary.json")):
            try:
                found[path] = Run(path.parent, json.loads(path.read_text()))
            except (OSError, ValueError) as error:
                raise InputError(f"{path} is damaged: {error}") from error
    if not found:
        raise InputError(f"no finished run (a folder with summary.json) below {', '.join(map(str, folders))}")
    return list(found.values())


def by(runs: Sequence[Run], setting: str, names: Sequence[str] | None) -> Arms:
    """The runs by the value of a setting, in the order of `names` if given."""
    arms: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        if setting not in run.summary:
            raise InputError(f"{run.folder}/summary.json has no '{setting}'; it has {', '.join(run.summary)}")
        arms[str(run.summary[setting])].append(run)
    for shared in SHARED:
        values = {_rounded(run.summary.get(shared)) for run in runs} if shared != setting else set()
        if len(values) > 1:
            raise InputError(f"the runs differ in {shared}, not in {setting} alone: {' and '.join(sorted(values))}")
    for name, members in arms.items():
        seeds = [run.summary["seed"] for run in members]
        if len(set(seeds)) < len(seeds):
            raise InputError(f"{setting}={name} has several runs of one seed (seeds {seeds}): leave one of each")
    missing = [name for name in names or [] if name not in arms]
    if missing:
        raise InputError(f"no run with {setting}={', '.join(missing)}; there are {', '.join(arms)}")
    return {name: arms[name] for name in names or sorted(arms)}


def _rounded(value: Any) -> str:
    """As JSON, terms to four digits: another number of threads changes the last ones."""
    if isinstance(value, dict):
        value = {term: float(f"{number:.4g}") for term, number in value.items()}
    return json.dumps(value)


def table(arms: Arms) -> str:
    """Held-out terms of each arm as Markdown, mean and standard deviation over its runs."""
    first = next(iter(arms.values()))[0].summary
    untouched = " | ".join(_number(first["val_initial"][term]) for term in COLUMNS)
    lines = [
        "| arm | " + " | ".join(COLUMNS) + " | runs |",
        "| --- |" + " ---: |" * (len(COLUMNS) + 1),
        f"| untouched photograph | {untouched} | |",
    ]
    for name, runs in arms.items():
        cells = [_spread([run.summary["val"][term] for run in runs]) for term in COLUMNS]
        lines.append(f"| {name} | {' | '.join(cells)} | {len(runs)} |")
    return "\n".join(lines)


def _spread(values: Sequence[float]) -> str:
    return _number(mean(values)) + (f" ± {_number(stdev(values))}" if len(values) > 1 else "")


def _number(value: float) -> str:
    return f"{value:.4f}"


def write_text(text: str, path: Path) -> None:
    """Write a text file, whole or not at all."""
    with written_whole(path) as file:
        file.write(text.encode() + b"\n")


def picture(arms: Arms, photos: Path | None, path: Path, size_px: int = 256, heading_px: int = 28) -> None:
    """A row for each photograph, a column for it and for its stylization by the first run of each arm."""
    content = images.to_float(held_out(folder(photos) if photos else held_out_samples(), size_px))
    columns = [content]
    for runs in arms.values():
        stylizer = load(runs[0].folder)
        columns.append(torch.cat([stylizer(photograph[None]) for photograph in content]))
    grid = images.sheet(columns)
    canvas = Image.new("RGB", (grid.width, grid.height + heading_px), "white")
    canvas.paste(grid, (0, heading_px))
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=0.6 * heading_px)
    pitch = (grid.width + (grid.width - len(columns) * size_px) / max(len(columns) - 1, 1)) / len(columns)
    for column, name in enumerate(["photograph", *arms]):
        center = column * pitch + size_px / 2
        draw.text((center, heading_px / 2), name, "black", font, anchor="mm")
    images.save(canvas, path)
