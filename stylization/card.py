"""A model's card: what it can paint, how it was trained, and how near it comes to the iterative method."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from stylization import model_file, rebuild, runs, styles
from stylization.conditions import Condition, condition, mixed
from stylization.content import held_out_samples
from stylization.content.stream import held_out
from stylization.evaluation import mean_terms
from stylization.images import Cell, contact_sheet, in_rows, to_float, to_picture
from stylization.iterative import optimize
from stylization.metrics import OF_PICTURES, meters, readings
from stylization.stylizer import load
from stylization.text import markdown_cell

ARTIFACTS = ("grid", "texture", "halo")


def card(path: Path) -> str:
    """In Markdown, of what the model's file says. Raises `InputError`."""
    description = model_file.described(path)
    facts, architecture = json.loads(description["facts"]), json.loads(description["architecture"])
    shown = {name: markdown_cell(facts.get(name)) for name in _SHOWN}
    names = facts.get("styles") or [facts.get("style", "unknown")]
    after, before = (
        facts.get(f"{name}_by_style") or {names[0]: facts.get(name, {})} for name in ("val", "val_initial")
    )
    lines = [
        f"**{markdown_cell(path.parent.name if path.name == runs.MODEL else path.stem)}**: "
        f"{markdown_cell(', '.join(names))}",
        "",
        f"- generator {shown['generator']}, width {architecture['generator'].get('width')}, norm "
        f"{shown['norm']}: {facts.get('parameters', 0):,} parameters, {path.stat().st_size / 1e6:.2f} MB",
        f"- trained for {shown['steps']} steps of {shown['batch_size']} photographs{_source(facts)}, "
        f"{facts.get('seconds', 0) / 60:.0f} min on {shown['device']} ({shown['threads']} threads), by the "
        f"objective {shown['objective']} as {shown['loss_network']} sees it, revision {shown['git']}",
        f"- held out: {len(facts.get('held_out', []))} photographs; untouched is the total of leaving them as they "
        f"are; {_about_gap(facts)}",
        f"- {_about_artifacts(facts)}",
        "",
        f"| style | content | style term | total | untouched | gap | {' | '.join(ARTIFACTS)} |",
        "| --- |" + " ---: |" * (5 + len(ARTIFACTS)),
    ]
    for style in names:
        terms = after.get(style, {})
        numbers = [terms.get("content"), terms.get("style"), terms.get("total"), before.get(style, {}).get("total")]
        numbers.append(facts.get("gap", {}).get("by_style", {}).get(style))
        artifacts = facts.get("artifacts", {}).get("by_style", {}).get(style, {})
        cells = [*map(_told, numbers), *(f"{artifacts[name]:.4f}" if name in artifacts else "" for name in ARTIFACTS)]
        lines.append(f"| {markdown_cell(style)} | {' | '.join(cells)} |")
    return "\n".join(lines)


_SHOWN = ("generator", "norm", "steps", "batch_size", "device", "threads", "objective", "loss_network", "git")


def _told(number: float | None) -> str:
    return "" if number is None else f"{number:.3f}" if number < 1 else f"{number:.2f}"


def _source(facts: Mapping[str, Any]) -> str:
    source = facts.get("photographs")
    return f" out of {source['num']}, at {source['size_px']} px" if source else ""


def _about_gap(facts: Mapping[str, Any]) -> str:
    gap = facts.get("gap")
    if not gap:
        return "the gap to the iterative method was not measured (--iterative)"
    return (
        f"gap is the total over that of the iterative method after {gap['num_steps']} steps, on "
        f"{gap['num_photographs']} of them at {gap['size_px']} px"
    )


def _about_artifacts(facts: Mapping[str, Any]) -> str:
    found = facts.get("artifacts")
    if not found:
        return "grid, texture and halo were not measured (--artifacts)"
    return (
        f"grid, texture and halo (`stylization/metrics.py`, lower is better) on {found['num_photographs']} of them at "
        f"{found['size_px']} px, beyond the photograph's and the style picture's own"
    )


def picture(model: Path, num_photographs: int, size_px: int, columns: int = 5) -> Image.Image:
    """A contact sheet of held-out sample photographs, each followed by its stylization in every style."""
    stylizer = load(model)
    names = stylizer.styles or [stylizer.facts.get("style", "unknown")]
    cells: list[Cell] = []
    for photograph in to_float(held_out(held_out_samples(), size_px))[:num_photographs]:
        cells.append(Cell("photograph", to_picture(photograph)))
        cells += [Cell(style.replace("_", " "), to_picture(stylizer(photograph, style=style))) for style in names]
    return contact_sheet(in_rows(cells, columns))


def measure_gap(
    run: Path, num_steps: int, num_photographs: int, size_px: int, watch: Callable[[str], object] = lambda style: None
) -> None:
    """Measure, for each style of a finished run, its objective over the iterative method's on the first held-out
    photographs, and write that into the model's file. Raises `InputError` if the run's settings are not there."""
    folder = run if run.is_dir() else run.parent
    path, where = folder / runs.MODEL, str(folder / runs.SETTINGS)
    settings = runs.settings_of_finished(folder)
    settings["data"]["held_out_size_px"] = size_px
    generator, facts = model_file.read(path)
    content = to_float(rebuild.content(settings, where).held_out)[:num_photographs]
    objective, gaps = rebuild.objective(settings, where), {}
    for style in facts.get("styles") or [facts.get("style", "unknown")]:
        watch(style)
        wanted = Condition.of(mixed(style, facts["styles"])) if "styles" in facts else None
        if wanted is not None:
            condition(generator, wanted)
        held: Any = _Held(objective, wanted)
        with torch.no_grad():
            ours = torch.cat([generator(photograph) for photograph in content.split(1)])
        theirs = torch.cat([optimize(photograph, [held], num_steps) for photograph in content.split(1)])
        with torch.no_grad():
            gaps[style] = mean_terms(held, ours, content)["total"] / mean_terms(held, theirs, content)["total"]
    measured = {"num_steps": num_steps, "num_photographs": len(content), "size_px": size_px, "by_style": gaps}
    _keep(path, gap=measured)


@torch.no_grad()
def measure_artifacts(run: Path, num_photographs: int, size_px: int) -> None:
    """Measure `ARTIFACTS` of each style of a finished run on the first held-out photographs, and write them into the
    model's file. Raises `InputError` if the run's settings are not there."""
    path = model_file.located(run)
    where = str(path.parent / runs.SETTINGS)
    settings = runs.settings_of_finished(path.parent)
    settings["data"]["held_out_size_px"] = size_px
    stylizer = load(path)
    content = to_float(rebuild.content(settings, where).held_out)[:num_photographs]
    rebuild.check_styles(settings, where)
    by_style = {}
    for option in settings["style"].get("pictures", [settings["style"]]):
        asked = {"style": option["name"]} if stylizer.styles else {}
        stylized = torch.cat([stylizer(photograph, strokes="native", **asked) for photograph in content.split(1)])
        found = meters({name: OF_PICTURES[name] for name in ARTIFACTS}, styles.read(option["image"], option["size_px"]))
        found.update(stylized, content)
        by_style[option["name"]] = readings(found)
    measured = {"num_photographs": len(content), "size_px": size_px, "by_style": by_style}
    _keep(path, artifacts=measured)


def _keep(path: Path, **measured: Any) -> None:
    """Write what was measured into the facts of a model file."""
    generator, facts = model_file.read(path)
    model_file.write(path, generator, json.loads(model_file.described(path)["architecture"]), facts | measured)


class _Held:
    """An objective that holds pictures to one of its styles."""

    def __init__(self, objective: Any, wanted: Condition | None) -> None:
        self.objective, self.wanted = objective, wanted
        self.total = objective.total

    def __call__(self, stylized: Tensor, content: Tensor) -> dict[str, Tensor]:
        terms: dict[str, Tensor] = self.objective(stylized, content, self.wanted)
        return terms
