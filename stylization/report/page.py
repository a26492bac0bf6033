"""The page of a report: one HTML file with its pictures inside, that asks nothing of a network."""

import base64
import io
import math
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from statistics import mean
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape
from torch import Tensor

from stylization import images
from stylization.errors import printable
from stylization.report.runs import Arms, differences, differing_settings, digest_of_the_rest
from stylization.report.table import Table, curve, evaluated, judges, terms
from stylization.sweep import BEGUN, read_begun

CHARTS = ("val/total", "val/style", "val/content", "train/total")
# Okabe & Ito's colours, which the colour-blind can tell apart; for paper, and for the dark.
COLOURS = (
    *(("#0072b2", "#56b4e9"), ("#d55e00", "#ff8c42"), ("#009e73", "#3fd1a5"), ("#a0457a", "#e29bc6")),
    *(("#8a7500", "#f0e442"), ("#555555", "#bbbbbb"), ("#5b3fbf", "#b3a4ff")),
)


def tables(arms: Arms) -> list[tuple[str, str, Table]]:
    """All tables of the arms, each with a name and a heading: the held-out terms, and what every judge found."""
    judged = [(f"judged-by-{judge}", f"Evaluated by {judge}", evaluated(arms, judge)) for judge in judges(arms)]
    return [("terms", "Held out, at the end", terms(arms)), *judged]


def page(arms: Arms, by: str, question: str, columns: Sequence[tuple[str, Tensor]]) -> str:
    """The HTML. `columns` are the picture grid's: a heading and a batch (b, 3, h, w) each, the photographs first."""
    runs = [run for members in arms.values() for run in members]
    summary = runs[0].summary
    template = Environment(
        loader=PackageLoader("stylization.report", "."),
        autoescape=select_autoescape(),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return template.get_template("page.html").render(
        question=question,
        by=by,
        arms=list(arms),
        colours=COLOURS,
        num_runs=len(runs),
        seeds=sorted({run.summary["seed"] for run in runs}),
        steps=" or ".join(sorted({str(run.summary["steps"]) for run in runs})),
        style=" or ".join(sorted({run.summary["style"] for run in runs})),
        num_held_out=len(summary["held_out"]),
        made_at=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M"),
        differ=[f"{what} ({' and '.join(values)})" for what, values in differences(runs, by.split(",")).items()],
        tables=tables(arms),
        charts=[chart for name in CHARTS if (chart := _chart(name, arms))],
        pictures=_pictures(columns),
        settings=differing_settings(runs),
        shared=digest_of_the_rest(runs),
        folders=[printable(run.folder) for run in runs],
        revisions=sorted({str(run.summary.get("git"))[:12] for run in runs}),
    )


def _pictures(columns: Sequence[tuple[str, Tensor]]) -> dict[str, Any]:
    names = [name for name, _ in columns]
    cells = []
    for row in range(len(columns[0][1])):
        for name, batch in columns:
            encoded = io.BytesIO()
            images.to_picture(batch[row]).save(encoded, "JPEG", quality=88)
            source = "data:image/jpeg;base64," + base64.b64encode(encoded.getvalue()).decode()
            cells.append({"label": f"{name}, photograph {row + 1}", "source": source})
    return {"heads": names, "cells": cells}


def _chart(name: str, arms: Arms) -> dict[str, Any] | None:
    """Points of a chart of 480 x 260: for each arm a band and a line, and ticks at powers of ten and their halves."""
    lines = [[curve(runs, name, over) for over in (min, mean, max)] for runs in arms.values()]
    values = [value for bands in lines for band in bands for _, value in band if value > 0]
    steps = [step for bands in lines for step, _ in bands[1]]
    if not values or len(set(steps)) < 2:
        return None
    low, high = math.log10(min(values)), math.log10(max(values))
    high = max(high, low + 0.1)
    last = max(steps)

    def at(step: int, value: float) -> str:
        share = (math.log10(max(value, 1e-30)) - low) / (high - low)
        return f"{52 + 418 * step / last:.1f},{236 - 226 * min(max(share, 0.0), 1.0):.1f}"

    drawn = [
        (" ".join([at(*p) for p in least] + [at(*p) for p in reversed(most)]), " ".join(at(*p) for p in middle))
        for least, middle, most in lines
    ]
    digits = (1, 2, 5) if high - low > 0.6 else range(1, 10)
    marks = [m * 10.0**e for e in range(math.floor(low), math.ceil(high) + 1) for m in digits]
    ticks = [(float(at(0, mark).split(",")[1]), f"{mark:g}") for mark in marks if low <= math.log10(mark) <= high]
    ends = ", ".join(f"{arm} {middle[-1][1]:.3g}" for arm, (_, middle, _) in zip(arms, lines, strict=True) if middle)
    return {
        "name": name,
        "label": f"{name} over {last} steps, at the end: {ends}",
        "lines": drawn,
        "ticks": ticks,
        "steps": [(52 + 418 * share, str(round(last * share))) for share in (0, 0.25, 0.5, 0.75, 1)],
    }


def question_of(folders: Sequence[Path], by: str) -> tuple[str, str]:
    """The question that the sweep in these folders asks, and the settings that make its arms; or a plain heading and
    `by`."""
    for folder in folders:
        if (path := folder / BEGUN).exists():
            begun = read_begun(path)
            varied = [key for key in begun["vary"] if key != "seed"]
            return printable(begun.get("description", "")) or folder.name, by or ",".join(varied) or "norm"
    return f"Runs by {by or 'norm'}", by or "norm"
