"""The finished runs of a report: read from their folders, sorted into arms, and held to be comparable."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stylization.errors import InputError, printable
from stylization.launch import flat
from stylization.runs import (
    METRICS,
    SETTINGS,
    SUMMARY,
    Evaluation,
    RunSummary,
    read_evaluation,
    read_metrics,
    read_settings,
    read_summary,
)

# What arms must share to stand in one table, beside the settings that make them: facts of the summary, and settings.
SHARED_FACTS = {
    "style": "style",
    "norm": "norm",
    "generator": "generator",
    "loss_network": "loss network",
    "objective": "objective",
    "steps": "steps",
    "images": "images seen",
    "held_out": "held-out photographs",
    "val_initial": "held-out terms of the untouched photographs",
}
SHARED_SETTINGS = {
    "data.": "data order",
    "objective.": "loss units, layers and weights",
    "loss_network.": "loss network",
    "style.": "style",
    "generator.": "generator",
    "trainer.precision": "precision",
    "trainer.max_steps": "steps",
}
# Of the rest, these say where and how a run was done, not what was done.
ELSEWHERE = (
    *("folder", "resume", "max_restarts", "callbacks.", "logger.", "trainer.default_root_dir", "data.num_workers"),
    *("seed", "data.seed", "generator.norm."),  # arms share their seeds, and the generator's norm is the norm
)


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, what its summary says, its settings, its table and what was evaluated since."""

    folder: Path
    summary: RunSummary
    settings: dict[str, str] = field(default_factory=dict)
    metrics: tuple[dict[str, str], ...] = ()
    evaluation: Evaluation = field(default_factory=dict)

    def value(self, name: str) -> str | None:
        """Of a fact of the summary ("norm") or of a setting ("data.num_images"); None if it has no such."""
        if name in self.summary:
            return printable(self.summary.get(name))
        return self.settings.get(name)


Arms = Mapping[str, Sequence[Run]]


def finished(folders: Sequence[Path]) -> list[Run]:
    """The finished runs in and below the folders, sorted by path. Raises `InputError` if there are none, or if what one
    has left is damaged."""
    runs, damaged = found(folders)
    if damaged:
        raise damaged[0]
    return runs


def found(folders: Sequence[Path]) -> tuple[list[Run], list[InputError]]:
    """The finished runs in and below the folders, sorted by path, and what is wrong with those that are damaged.

    Raises `InputError` if there are none of either.
    """
    read: dict[Path, Run] = {}
    damaged: list[InputError] = []
    unfinished = 0
    for root in folders:
        if not root.is_dir():
            raise InputError(f"no folder at {root}")
        unfinished += sum(1 for path in root.rglob(METRICS) if not (path.parent / SUMMARY).exists())
        for path in sorted(root.rglob(SUMMARY)):
            try:
                read[path] = _read(path.parent)
            except InputError as error:
                damaged.append(error)
    if not read and not damaged:
        also = f"; {unfinished} there have not finished" if unfinished else ""
        where = ", ".join(map(str, folders))
        raise InputError(f"no finished run (a folder with {SUMMARY}) below {where}{also}")
    return list(read.values()), damaged


def _read(folder: Path) -> Run:
    settings = read_settings(folder) if (folder / SETTINGS).exists() else {}
    plain = {printable(name): printable(value) for name, value in flat(settings).items()}
    return Run(folder, read_summary(folder), plain, read_metrics(folder), read_evaluation(folder))


def by(runs: Sequence[Run], settings: str, names: Sequence[str] | None, allow: bool = False) -> Arms:
    """The runs by the value of a setting, or of several with commas between, in the order of `names` if given.

    Raises `InputError` for runs that cannot be compared: those that differ in data order, held-out photographs, steps,
    precision, initial weights or the objective's units. `allow` lets the differences pass; `differences` names them.
    """
    keys = settings.split(",")
    arms: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        values = {key: run.value(key) for key in keys}
        for key, value in values.items():
            if value is None:
                raise InputError(f"{run.folder} has no '{key}'; its {SUMMARY} has {', '.join(run.summary)}")
        arms[", ".join(str(values[key]) if len(keys) == 1 else f"{key} {values[key]}" for key in keys)].append(run)
    for name, members in arms.items():
        seeds = [run.summary["seed"] for run in members]
        if len(set(seeds)) < len(seeds):
            raise InputError(f"{settings}={name} has several runs of one seed (seeds {seeds}): leave one of each")
    if not allow and (found := differences(runs, keys)):
        what, others = next(iter(found.items()))
        raise InputError(
            f"the runs differ in {what}, not in {settings} alone: {' and '.join(others)}; --allow shows them anyway"
        )
    missing = [name for name in names or [] if name not in arms]
    if missing:
        raise InputError(f"no run with {settings}={', '.join(missing)}; there are {', '.join(arms)}")
    return {name: arms[name] for name in names or sorted(arms)}


def differences(runs: Sequence[Run], keys: Sequence[str]) -> dict[str, list[str]]:
    """What the runs differ in that they must share, beside the settings that make the arms: its values, by its name."""
    found: dict[str, list[str]] = {}
    for fact, what in SHARED_FACTS.items():
        values = sorted({_rounded(run.summary.get(fact)) for run in runs})
        if len(values) > 1 and fact not in keys and not _follows(fact, keys):
            found[what] = values
    for key, values in differing_settings(runs).items():
        named = next((named for prefix, named in SHARED_SETTINGS.items() if key.startswith(prefix)), None)
        if named and named not in found and not _made_by(key, keys):
            found[f"{named} ({key})"] = values
    first: dict[tuple[int, str], str] = {}
    for run in runs:
        digest = run.summary.get("initial_convolutions")
        if digest and not {"generator"} & {key.split(".")[0] for key in keys}:
            place = (run.summary["seed"], run.summary["generator"])
            if first.setdefault(place, digest) != digest:
                found[f"initial convolution weights of seed {place[0]}"] = sorted({first[place], digest})
    return found


def _made_by(key: str, keys: Sequence[str]) -> bool:
    """Whether a setting differs because of those that make the arms."""
    ours = any(key == made or key.startswith(f"{made}.") for made in keys)
    held_out_too = key == "data.held_out_source.path" and "data.source.path" in keys  # data=prepared
    return ours or held_out_too or (key == "trainer.max_steps" and "steps" in keys)


def _follows(fact: str, keys: Sequence[str]) -> bool:
    """Whether a fact follows from the settings that make the arms."""
    causes = {
        "steps": ("trainer.max_steps",),
        "images": ("trainer.max_steps", "steps", "data.batch_size"),
        "val_initial": ("style", "objective", "loss_network", "data.held_out", "data.source"),
        "norm": ("norm.",),
    }
    return any(key.startswith(causes.get(fact, ())) for key in keys)


def differing_settings(runs: Sequence[Run]) -> dict[str, list[str]]:
    """Settings that are not the same in all runs, with their values; where runs were done is none of them."""
    names = sorted({name for run in runs for name in run.settings if not name.startswith(ELSEWHERE)})
    values = {name: sorted({run.settings.get(name, "none") for run in runs}) for name in names}
    return {name: found for name, found in values.items() if len(found) > 1}


def digest_of_the_rest(runs: Sequence[Run]) -> tuple[int, str]:
    """How many settings all runs share, and a digest of them: equal digests, equal settings."""
    differ = differing_settings(runs)
    shared = {
        name: value for name, value in runs[0].settings.items() if name not in differ and not name.startswith(ELSEWHERE)
    }
    return len(shared), hashlib.sha256(json.dumps(shared, sort_keys=True).encode()).hexdigest()[:12]


def _rounded(value: Any) -> str:
    """As JSON, terms to four digits: another number of threads changes the last ones."""
    if isinstance(value, dict):
        value = {term: float(f"{number:.4g}") for term, number in value.items()}
    return json.dumps(value)
