"""The run folder: the names of its files, and what they hold, checked when it is read.

A run folder may come from anywhere. All readers raise `InputError` with one line that names the file and the field.
"""

import csv
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import AfterValidator, ConfigDict, Field
from typing_extensions import TypedDict

from stylization.errors import InputError
from stylization.files import atomic_write
from stylization.schema import Count, Number, Text, check, read_json, read_text

MODEL = "model.safetensors"
SUMMARY = "summary.json"
SETTINGS = "settings.json"
EVALUATION = "evaluation.json"
METRICS = "metrics.csv"
CHECKPOINTS = "checkpoints"
LAST = "last.ckpt"

MAX_METRICS_BYTES = 256 * 2**20
MAX_STYLES = 10_000


def _has_terms(terms: dict[str, float]) -> dict[str, float]:
    for term in ("content", "style", "tv", "total"):
        if term not in terms:
            raise ValueError(f"the term {term} is missing")
    return terms


def _is_judge(name: str) -> str:
    # A name of a loss network becomes a part of a file name.
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", name):
        raise ValueError("a judge's name has letters, digits, '-', '_' and '.' only")
    return name


def _are_different(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise ValueError("the names of styles must differ")
    return names


Terms = dict[Text, Number]
AllTerms = Annotated[Terms, AfterValidator(_has_terms)]
Styles = Annotated[list[Text], Field(min_length=1, max_length=MAX_STYLES), AfterValidator(_are_different)]
Judge = Annotated[str, AfterValidator(_is_judge)]
Section = dict[str, Any]


class Gap(TypedDict):
    """How near a model comes to the iterative method, by style."""

    num_steps: Count
    num_photographs: Count
    size_px: Count
    by_style: Terms


class Artifacts(TypedDict):
    """Artifacts of a model's pictures, by style and meter."""

    num_photographs: Count
    size_px: Count
    by_style: dict[Text, Terms]


class Photographs(TypedDict):
    """What a run was trained on."""

    num: Count
    size_px: Count


class RunSummary(TypedDict, total=False):
    """The facts of a finished run: `summary.json`, and the facts in a model file, which may lack any of them."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    style: Text
    styles: Styles
    norm: Text
    generator: Text
    loss_network: Text
    objective: Text
    statistics: Text
    val: Terms
    val_initial: Terms
    val_by_style: dict[Text, Terms]
    val_initial_by_style: dict[Text, Terms]
    steps: Count
    images: Count
    seconds: Number
    parameters: Count
    seed: int
    initial_convolutions: Text
    photographs: Photographs
    held_out: list[str]
    batch_size: Count
    device: Text
    threads: Count
    git: Text | None
    gap: Gap
    artifacts: Artifacts


class _Complete(TypedDict):
    """Of the facts those that a report cannot do without."""

    style: Text
    norm: Text
    generator: Text
    seed: int
    steps: Count
    val: AllTerms
    val_initial: AllTerms
    held_out: list[str]


class RunSettings(TypedDict, total=False):
    """The resolved configuration of a run, `settings.json`. The sections that are rebuilt are checked by `rebuild`."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    style: Section
    generator: Section
    norm: Section
    loss_network: Section
    objective: Section
    data: Section


_REBUILT = ("style", "generator", "norm", "loss_network", "objective", "data")


class IterativeResult(TypedDict):
    """What the iterative method reached on the held-out photographs, and the file that keeps its pictures."""

    terms: AllTerms
    num_steps: Count
    seconds_per_image: Number
    pictures: str


class Judgement(TypedDict, total=False):
    """What one judge found: quantities by choice of statistics."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    statistics: dict[Text, Terms]
    iterative: IterativeResult


Evaluation = dict[str, Judgement]  # by judge


def read_summary(folder: Path) -> RunSummary:
    """The summary of a finished run."""
    path = folder / SUMMARY
    facts = read_json(path)
    check(_Complete, facts, str(path))
    return checked_facts(facts, str(path))


def checked_facts(facts: Any, where: str) -> RunSummary:
    """The facts that a file tells of a run."""
    check(RunSummary, facts, where)
    return cast(RunSummary, facts)


def read_settings(folder: Path) -> RunSettings:
    """The settings of a run."""
    path = folder / SETTINGS
    if not path.exists():
        raise InputError(f"{folder} has no {SETTINGS}: not the folder of a run")
    settings = read_json(path)
    check(RunSettings, settings, str(path))
    return cast(RunSettings, settings)


def settings_of_finished(folder: Path) -> RunSettings:
    """The settings of a finished run, with every section that a network or an objective is rebuilt from."""
    for name in (SETTINGS, MODEL):
        if not (folder / name).exists():
            raise InputError(f"{folder} has no {name}: not a run, or one that has not finished")
    settings = read_settings(folder)
    for section in _REBUILT:
        if section not in settings:
            raise InputError(f"{folder / SETTINGS} has no section '{section}'")
    return settings


def read_evaluation(folder: Path) -> Evaluation:
    """What `stylization evaluate` found of a run, by judge; nothing if it was not evaluated."""
    path = folder / EVALUATION
    if not path.exists():
        return {}
    found = read_json(path)
    check(dict[Judge, Judgement], found, str(path))
    return found


def write_evaluation(folder: Path, evaluation: Evaluation) -> None:
    """Write what `read_evaluation` reads."""
    with atomic_write(folder / EVALUATION) as file:
        file.write(json.dumps(evaluation, indent=2).encode() + b"\n")


def read_metrics(folder: Path) -> tuple[dict[str, str], ...]:
    """The rows of a run's table of logged quantities; none if it has no table."""
    path = folder / METRICS
    if not path.exists():
        return ()
    text = read_text(path, MAX_METRICS_BYTES)
    try:
        rows = tuple(csv.DictReader(text.splitlines(keepends=True)))
        for row in rows:
            _check_row(row)
    except (ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        raise InputError(f"{path} is damaged: {error}") from None
    return rows


def _check_row(row: Mapping[str, str]) -> None:
    if not 0 <= int(row["step"]) < 2**63:
        raise ValueError(f"step={row['step'][:20]} is out of range")
    for name, value in row.items():
        if name.startswith(("train/", "val/")) and value:
            float(value)
