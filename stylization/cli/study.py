"""sweep, evaluate, report: from a question to an answer."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stylization.errors import InputError, printable, tell
from stylization.files import atomic_write

if TYPE_CHECKING:
    from stylization.cli import Commands


def add(commands: Commands) -> None:
    """Add them to the parser."""
    command = commands.add_parser("sweep", help="run a W&B sweep file here, without an account; may be interrupted")
    command.add_argument("file", metavar="FILE", type=Path, help="sweeps/norms.yaml, say")
    command.add_argument("--dry-run", action="store_true", help="print the commands, run nothing")
    command.add_argument("--jobs", type=int, default=1, help="runs at once, which share the cores (1)")
    command.add_argument("--output", type=Path, help="the folder of the runs (outputs/sweeps/<name of FILE>)")
    command.set_defaults(run=_sweep)

    command = commands.add_parser("evaluate", help="judge finished runs: terms, meters, statistics, gap to iterative")
    command.add_argument("runs", metavar="RUN", type=Path, nargs="+", help="run folders, or folders above them")
    command.add_argument("--statistics", help="running,batch,instance,frozen, or some of them (default: the run's own)")
    command.add_argument(
        "--iterative", type=int, default=0, metavar="STEPS", help="of the slow method, to compare with"
    )
    command.add_argument("--cache", type=Path, default=Path("outputs/iterative"), help="where its pictures are kept")
    command.add_argument("--judge", choices=["compact", "vgg16", "vgg19"], help="(default: the run's loss network)")
    command.add_argument("--judge-weights", help="a file, for vgg16 and vgg19")
    command.add_argument("--style-layers", nargs="+", help="that the judge looks at (default: the run's)")
    command.add_argument("--content-layers", nargs="+", help="(default: the run's)")
    command.set_defaults(run=_evaluate)

    command = commands.add_parser("report", help="compare finished runs: a table over seeds, and a picture")
    command.add_argument("runs", metavar="RUN", type=Path, nargs="+", help="run folders, or folders above them")
    command.add_argument(
        "--by", help="the setting that makes the arms, or several with commas (default: what the sweep varies, or norm)"
    )
    command.add_argument("--arms", help="which arms and in which order, with commas between")
    command.add_argument("--output", type=Path, help="the folder of report.html, .md and .csv (default: the first RUN)")
    command.add_argument("--columns", help="of the tables to print, with commas between: total,gap,... (all)")
    command.add_argument("--allow", action="store_true", help="show runs that should not be compared, marked as such")
    command.add_argument("--picture", type=Path, help="write a picture: a row per photograph, a column per arm")
    command.add_argument("--photos", type=Path, help="a folder of photographs (default: the held-out samples)")
    command.set_defaults(run=_report)


def _sweep(options: argparse.Namespace) -> None:
    import shlex

    from stylization import sweep

    if options.jobs < 1:
        raise InputError("--jobs must be 1 at least")
    asked = sweep.read(options.file)
    local = sweep.Local(asked, options.output or Path("outputs/sweeps") / asked.name, options.jobs)
    if options.dry_run:
        for name, overrides in asked.runs().items():
            print(shlex.join(local.command(name, overrides)), " # finished" if local.finished(name) else "")
        return
    if failed := local.run():
        tell(f"error: {len(failed)} of {len(asked.runs())} runs failed")
        raise SystemExit(1)
    print(printable(f"stylization report {local.folder}"))


def _evaluate(options: argparse.Namespace) -> None:
    from stylization import evaluation, report
    from stylization.memory import keep_memory

    keep_memory()
    choices = options.statistics.split(",") if options.statistics else [None]
    rows: list[tuple[str, str, dict[str, float]]] = []
    found, damaged = report.found(options.runs)
    for run in [run.folder for run in found]:
        try:
            rows += [row for row in _evaluated(run, choices, options) if row not in rows]
        except InputError as error:
            damaged.append(error)
    if not rows and damaged:
        raise damaged[0]
    print(evaluation.table(rows))
    for wrong in damaged:
        tell(f"skipped: {wrong}")
    if damaged:
        raise SystemExit(1)


def _evaluated(
    run: Path, choices: Sequence[str | None], options: argparse.Namespace
) -> list[tuple[str, str, dict[str, float]]]:
    """The rows of a run, which are kept in its folder too; none if it has several styles."""
    from stylization import evaluation, images, rebuild, runs
    from stylization.configuration import composed, plain
    from stylization.overrides import assigned

    settings, where = runs.settings_of_finished(run), str(run / runs.SETTINGS)
    if "num_styles" in settings["norm"]:
        told = "it has a table of styles: `stylization models RUN --iterative STEPS` measures each"
        tell(f"{run}: left out, {told}")
        return []
    if options.judge:
        words = [f"loss_network={options.judge}"]
        words += [assigned("loss_network.weights", options.judge_weights)] if options.judge_weights else []
        settings["loss_network"] = plain(composed(words))["loss_network"]
    for layers in ("style_layers", "content_layers"):
        if given := getattr(options, layers):
            settings["objective"][layers] = given
    objective = rebuild.objective(settings, where)
    judge = settings["loss_network"]["_target_"].rsplit(".", 1)[1]
    content = images.to_float(rebuild.content(settings, where).held_out)
    style = rebuild.style_picture(settings, where)
    reference = None
    if options.iterative:
        reference = evaluation.iterative(settings, objective, content, options.iterative, options.cache)
    cells = {}
    for statistics in choices:
        try:
            cells[statistics or "own"] = evaluation.evaluate(run, statistics, objective, content, reference, style)
        except InputError as error:
            tell(f"{run}, {statistics}: left out, {error}")
    evaluation.record(run, judge, cells, reference)
    rows = [(str(run), statistics, cell) for statistics, cell in cells.items()]
    return rows if reference is None else [*rows, reference.row()]


def _report(options: argparse.Namespace) -> None:
    from stylization import report

    question, by = report.question_of(options.runs, options.by)
    runs, skipped = report.found(options.runs)
    if not runs:
        raise skipped[0]
    arms = report.by(runs, by, options.arms.split(",") if options.arms else None, options.allow)
    tables = report.tables(arms)
    printed = [(heading, t.only(options.columns.split(",")) if options.columns else t) for _, heading, t in tables]
    text = "\n\n".join(f"**{heading}**\n\n{table.markdown()}" for _, heading, table in tables)
    columns = report.columns(arms, options.photos, skipped=skipped.append)
    folder = options.output or options.runs[0]
    with atomic_write(folder / "report.html") as file:
        file.write(report.page(arms, by, question, columns).encode())
    with atomic_write(folder / "report.md") as file:
        file.write(f"# {question}\n\n{text}\n".encode())
    for name, _, table in tables:
        with atomic_write(folder / ("report.csv" if name == "terms" else f"report-{name}.csv")) as file:
            file.write(table.csv().encode())
    print("\n\n".join(f"**{heading}**\n\n{table.markdown()}" for heading, table in printed))
    if options.picture:
        report.picture(columns, options.picture)
        print(printable(options.picture))
    print(printable(folder / "report.html"))
    for wrong in skipped:
        tell(f"skipped: {wrong}")
    if skipped:
        raise SystemExit(1)
