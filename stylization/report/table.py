"""What the arms came to: means and spreads over seeds, and which of them is best beyond doubt."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isclose, isfinite
from statistics import mean, stdev

from stylization.metrics import OF_GENERATORS, OF_PICTURES
from stylization.objective import TERMS
from stylization.report.runs import Arms, Run
from stylization.runs import IterativeResult
from stylization.text import csv_cell, markdown_cell

COLUMNS = (*TERMS, "total")
HIGHER_IS_BETTER = {name for name, scale in (OF_PICTURES | OF_GENERATORS).items() if not scale.lower_is_better}
UNTOUCHED = "untouched photograph"
SHOWN = 0.0001  # the last digit of a table


@dataclass(frozen=True)
class Table:
    """Rows of values over seeds: `cells[row][column]` is {seed: value}; `best[column]` the rows that lead it."""

    columns: tuple[str, ...]
    cells: Mapping[str, Mapping[str, Mapping[int, float]]]
    best: Mapping[str, str]

    def markdown(self) -> str:
        lines = [
            "| arm | " + " | ".join(map(markdown_cell, self.columns)) + " | runs |",
            "| --- |" + " ---: |" * (len(self.columns) + 1),
        ]
        for row, cells in self.cells.items():
            shown = [self.shown(row, column) for column in self.columns]
            marked = [f"**{x}**" if self.best.get(c) == row else x for c, x in zip(self.columns, shown, strict=True)]
            num = max((len(values) for values in cells.values()), default=0)
            lines.append(f"| {markdown_cell(row)} | {' | '.join(marked)} | {num if row != UNTOUCHED else ''} |")
        return "\n".join(lines)

    def csv(self) -> str:
        """A line for each value: arm, column, seed, value."""
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(("arm", "column", "seed", "value"))
        for row, cells in self.cells.items():
            for column, values in cells.items():
                writer.writerows((csv_cell(row), csv_cell(column), seed, value) for seed, value in values.items())
        return text.getvalue()

    def only(self, columns: Sequence[str]) -> "Table":
        """Those of the columns that it has."""
        return Table(tuple(c for c in columns if c in self.columns), self.cells, self.best)

    def shown(self, row: str, column: str) -> str:
        values = list(self.cells[row].get(column, {}).values())
        return _spread(values) if values else ""


def terms(arms: Arms) -> Table:
    """Held-out terms of each arm at the end of its runs; those of the untouched photographs, if all have the same."""
    initial = [run.summary["val_initial"] for runs in arms.values() for run in runs]
    same = all(isclose(terms["total"], initial[0]["total"], rel_tol=1e-3) for terms in initial)
    untouched = {UNTOUCHED: {term: {0: initial[0][term]} for term in COLUMNS}} if same else {}
    rows = {
        name: {term: {run.summary["seed"]: run.summary["val"][term] for run in runs} for term in COLUMNS}
        for name, runs in arms.items()
    }
    return Table(COLUMNS, {**untouched, **rows}, _leaders(COLUMNS, rows))


def judges(arms: Arms) -> list[str]:
    """The loss networks that all runs have been evaluated by."""
    found = [set(run.evaluation) for runs in arms.values() for run in runs]
    return sorted(set.intersection(*found)) if found else []


def evaluated(arms: Arms, judge: str) -> Table:
    """What `stylization evaluate` found, a row for each arm and choice of statistics."""
    cells: dict[str, dict[str, dict[int, float]]] = {}
    columns: dict[str, None] = {}
    for name, runs in arms.items():
        for run in runs:
            entry = run.evaluation[judge]
            for statistics, values in entry.get("statistics", {}).items():
                row = cells.setdefault(name if statistics == "own" else f"{name}, {statistics} statistics", {})
                for column, value in values.items():
                    columns[column] = None
                    row.setdefault(column, {})[run.summary["seed"]] = value
    if reference := _reference(arms, judge):
        values = {**reference["terms"], "gap": 1.0, "seconds_per_image": reference["seconds_per_image"]}
        name = f"iterative method, {reference['num_steps']} steps"
        cells[name] = {column: {0: value} for column, value in values.items()}
    ordered = tuple(columns)
    return Table(
        ordered, cells, _leaders(ordered, {row: cell for row, cell in cells.items() if "iterative" not in row})
    )


def _reference(arms: Arms, judge: str) -> IterativeResult | None:
    for runs in arms.values():
        for run in runs:
            if found := run.evaluation[judge].get("iterative"):
                return found
    return None


def _leaders(columns: Sequence[str], rows: Mapping[str, Mapping[str, Mapping[int, float]]]) -> dict[str, str]:
    """The best row of each column, where it is best by more than the spread of its differences to every other row,
    seed by seed. Of one seed nothing is said."""
    leaders = {}
    for column in columns:
        sign = 1 if column in HIGHER_IS_BETTER else -1
        have = {row: cells[column] for row, cells in rows.items() if cells.get(column)}
        if column in ("tv", "seconds_per_image") or len(have) < 2:
            continue
        lead = max(have, key=lambda row: sign * mean(have[row].values()))
        others = [have[row] for row in have if row != lead]
        if all(_beyond_spread([sign * (have[lead][s] - x[s]) for s in have[lead].keys() & x.keys()]) for x in others):
            leaders[column] = lead
    return leaders


def _beyond_spread(differences: Sequence[float]) -> bool:
    return len(differences) > 1 and mean(differences) > max(stdev(differences), SHOWN)


def _spread(values: Sequence[float]) -> str:
    return _number(mean(values)) + (f" ± {_number(stdev(values))}" if len(values) > 1 else "")


def _number(value: float) -> str:
    return f"{value:.4f}"


def curve(runs: Sequence[Run], name: str, over: Callable[[Sequence[float]], float] = mean) -> list[tuple[int, float]]:
    """A logged quantity over steps, for the steps that all runs have."""
    found = [
        {int(row["step"]) + 1: float(row[name]) for row in run.metrics if row.get(name) and isfinite(float(row[name]))}
        for run in runs
    ]
    steps = sorted(set.intersection(*map(set, found))) if found else []
    return [(step, over([values[step] for values in found])) for step in steps]
