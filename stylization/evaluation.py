"""A finished run judged anew: its terms and meters on its held-out photographs, under each choice of statistics, and
the iterative method on the same photographs for comparison."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
from safetensors.torch import save
from torch import Tensor, nn
from tqdm import tqdm

from stylization import images, model_file, runs
from stylization.content import train_samples
from stylization.content.stream import held_out
from stylization.errors import InputError
from stylization.files import atomic_write
from stylization.iterative import kept_pictures, optimize
from stylization.metrics import OF_GENERATORS, OF_PICTURES, meters, readings
from stylization.normalization import freeze_statistics, norms, set_statistics
from stylization.objective import Objective
from stylization.runs import IterativeResult, RunSettings
from stylization.schema import check, read_json
from stylization.text import markdown_cell


class Iterative(NamedTuple):
    """What the iterative method made of the held-out photographs: (b, 3, h, w), mean terms, time of each."""

    stylized: Tensor
    terms: dict[str, float]
    num_steps: int
    seconds_per_image: float
    pictures: str  # the file that keeps them

    def result(self) -> IterativeResult:
        """What is kept of it with a run."""
        return {
            "terms": self.terms,
            "num_steps": self.num_steps,
            "seconds_per_image": self.seconds_per_image,
            "pictures": self.pictures,
        }

    def row(self) -> tuple[str, str, dict[str, float]]:
        """Of the table of evaluations."""
        cell = {**self.terms, "gap": 1.0, "seconds_per_image": self.seconds_per_image}
        return f"iterative method, {self.num_steps} steps", "", cell


def evaluate(
    run: Path,
    statistics: str | None,
    objective: Objective,
    content: Tensor,
    reference: Iterative | None,
    style: Tensor | None = None,
) -> dict[str, float]:
    """Terms and meters of a run's generator under these `statistics` (None: its own), and its seconds for an image;
    with a `reference`, the gap to it, total over its total. Meters subtract the level of the `style` picture.

    `frozen` statistics are those of the bundled training photographs, pooled. Raises `InputError` for statistics that
    the run cannot have.
    """
    generator, _ = model_file.read(run / runs.MODEL)
    if statistics is not None:
        give_statistics(generator, statistics, content.shape[-1])
    with torch.inference_mode():
        stylized = generator(content)
        found = mean_terms(objective, stylized, content)
        if reference is not None:
            found["gap"] = found["total"] / reference.terms["total"]
        for collection, subject in ((meters(OF_PICTURES, style), stylized), (meters(OF_GENERATORS), generator)):
            collection.update(subject, content)
            found |= readings(collection)
        found["seconds_per_image"] = median(_seconds(generator, content[:1]) for _ in range(5))
    return found


def give_statistics(generator: nn.Module, statistics: str, size_px: int) -> None:
    """Give a trained generator other statistics. Raises `InputError` where it has none of that kind."""
    if not any(norms(generator)):
        raise InputError("it has no norm, so no statistics to choose")
    if statistics == "frozen":
        freeze_statistics(generator, images.to_float(held_out(train_samples(), size_px)))
    else:
        set_statistics(generator, statistics)  # type: ignore[arg-type]  # checked there


def mean_terms(objective: Objective, stylized: Tensor, content: Tensor) -> dict[str, float]:
    """The terms and their total, photograph by photograph, in the mean."""
    sums: dict[str, float] = {}
    for x, photograph in zip(stylized.split(1), content.split(1), strict=True):
        terms = objective(x, photograph)
        for name, value in (terms | {"total": objective.total(terms)}).items():
            sums[name] = sums.get(name, 0.0) + value.item() / len(content)
    return sums


def _seconds(stylize: Callable[[Tensor], Tensor], content: Tensor) -> float:
    started = time.perf_counter()
    stylize(content)
    if content.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - started


def iterative(settings: RunSettings, objective: Objective, content: Tensor, num_steps: int, cache: Path) -> Iterative:
    """The iterative method on the same photographs with the same objective, kept in `cache` for the next run of this
    style and objective."""
    told = {"style": settings["style"], "loss_network": settings["loss_network"], "objective": settings["objective"]}
    digest = hashlib.sha256(json.dumps({**told, "num_steps": num_steps}, sort_keys=True).encode())
    digest.update(content.numpy().tobytes())
    folder = cache / digest.hexdigest()[:12]
    pictures, facts = folder / "stylized.safetensors", folder / "facts.json"
    if not facts.exists():
        seconds, made = 0.0, []
        with tqdm(total=num_steps * len(content), unit="step", desc="iterative method") as bar:
            for photograph in content.split(1):
                started = time.perf_counter()
                made.append(optimize(photograph, [objective], num_steps, watch=lambda step, terms: bar.update()))
                seconds += time.perf_counter() - started
        with torch.inference_mode():
            terms = mean_terms(objective, torch.cat(made), content)
        with atomic_write(pictures) as file:
            file.write(save({"stylized": torch.cat(made)}))
        with atomic_write(facts) as file:
            made_of = {"terms": terms, "num_steps": num_steps, "seconds_per_image": seconds / len(content), **told}
            file.write(json.dumps(made_of, indent=2).encode() + b"\n")
    known = read_json(facts) | {"pictures": str(pictures.resolve())}
    check(IterativeResult, known, str(facts))
    stylized = kept_pictures(pictures, content.shape)
    if stylized is None:
        raise InputError(f"{pictures} does not hold the pictures of these photographs: remove {folder}")
    return Iterative(stylized, known["terms"], known["num_steps"], known["seconds_per_image"], known["pictures"])


def record(run: Path, judge: str, cells: Mapping[str, Mapping[str, float]], reference: Iterative | None) -> None:
    """Add to a run's evaluation: under `judge`, a cell for each choice of statistics."""
    known = runs.read_evaluation(run)
    entry = known.setdefault(judge, {})
    entry.setdefault("statistics", {}).update({name: dict(cell) for name, cell in cells.items()})
    if reference is not None:
        entry["iterative"] = reference.result()
    runs.write_evaluation(run, known)


def table(rows: Sequence[tuple[str, str, Mapping[str, float]]]) -> str:
    """Rows of (what, statistics, cell) as Markdown; a column for each quantity that any of them has."""
    known = ("content", "style", "tv", "total", "gap", *OF_PICTURES, *OF_GENERATORS, "seconds_per_image")
    columns = [column for column in known if any(column in cell for _, _, cell in rows)]
    lines = [f"| run | statistics | {' | '.join(columns)} |", "| --- | --- |" + " ---: |" * len(columns)]
    for what, statistics, cell in rows:
        values = [f"{cell[column]:.4f}" if column in cell else "" for column in columns]
        lines.append(f"| {markdown_cell(what)} | {statistics} | {' | '.join(values)} |")
    return "\n".join(lines)
