"""Run folders are data: what is wrong with one is told in one line, and nothing in it is run."""

import csv
import json
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ARCHITECTURE
from hydra import compose, initialize_config_dir

from stylization import cli, model_file, rebuild, report, runs
from stylization.configuration import CONF, plain, register_resolvers
from stylization.errors import InputError
from stylization.evaluation import record

TERMS = {"content": 0.5, "style": 0.1, "tv": 0.01, "total": 1.5}
SUMMARY: dict[str, Any] = {
    "style": "mosaic",
    "norm": "instance",
    "generator": "johnson",
    "loss_network": "compact",
    "objective": "relative",
    "val": TERMS,
    "val_initial": {**TERMS, "total": 9.0},
    "steps": 4,
    "images": 16,
    "seconds": 1.5,
    "parameters": 1000,
    "seed": 0,
    "photographs": {"num": 7, "size_px": 32},
    "held_out": ["a.png", "b.png"],
    "git": None,
}
EVALUATION = {"compact": {"statistics": {"own": TERMS}}}
METRICS = "step,train/total,val/total\n0,2.5,\n3,1.5,1.5\n"
HOSTILE = ["=1+1", "a|b\nc", "\x1b[31mred", "../../escaped", "\u202egnp", "a\0b", "\ud800"]


def composed(*overrides: str) -> dict[str, Any]:
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return plain(compose("config", ["folder=run", *overrides]))


@pytest.fixture(scope="module")
def settings() -> dict[str, Any]:
    return composed("generator.width=4", "generator.num_blocks=1", "style.size_px=64", "data.held_out_size_px=32")


def write_run(folder: Path, settings: dict[str, Any], seed: int = 0) -> Path:
    folder.mkdir(parents=True)
    summary = SUMMARY | {"seed": seed}
    for name, value in ((runs.SUMMARY, summary), (runs.SETTINGS, settings), (runs.EVALUATION, EVALUATION)):
        (folder / name).write_text(json.dumps(value))
    (folder / runs.METRICS).write_text(METRICS)
    model_file.write(folder / runs.MODEL, model_file.build(ARCHITECTURE), ARCHITECTURE, summary)
    return folder


@pytest.fixture
def run(tmp_path: Path, settings: dict[str, Any]) -> Path:
    return write_run(tmp_path / "runs" / "first", settings)


def paths_of(value: Any, path: tuple = ()) -> Iterator[tuple]:
    yield path
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from paths_of(item, (*path, key))


def spoilt(value: Any, path: tuple, new: Any) -> Any:
    copy = json.loads(json.dumps(value))
    at = copy
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = new
    return copy


def one_line(error: InputError) -> None:
    text = str(error)
    assert len(text) < 2000 and text.isprintable(), text


@pytest.mark.parametrize(
    ("file", "path", "value", "told"),
    [
        (runs.SUMMARY, "steps", "many", "steps='many'"),
        (runs.SUMMARY, "steps", True, "steps=True"),
        (runs.SUMMARY, "steps", -1, "steps=-1"),
        (runs.SUMMARY, "val/total", "low", "val.total='low'"),
        (runs.SUMMARY, "val", {"content": 1.0}, "the term style is missing"),
        (runs.SUMMARY, "style", "a\nb", "must not hold control characters"),
        (runs.SUMMARY, "style", "x" * 501, "at most 500 characters"),
        (runs.SUMMARY, "held_out", 3, "held_out=3"),
        (runs.SUMMARY, "seed", None, "seed=None"),
        (runs.EVALUATION, "../../escaped", {}, "a judge's name has letters"),
        (runs.EVALUATION, "compact/statistics/own", {"=1": "x"}, "must be a valid number"),
        (runs.SETTINGS, "style", "mosaic", "style='mosaic'"),
    ],
)
def test_wrong_field_is_named(file: str, path: str, value: Any, told: str, run: Path) -> None:
    keys = [path] if path.startswith("..") else path.split("/")
    (run / file).write_text(json.dumps(spoilt(json.loads((run / file).read_text()), tuple(keys), value)))
    with pytest.raises(InputError) as error:
        report.finished([run])
    assert told in str(error.value) and file in str(error.value)
    one_line(error.value)


@pytest.mark.parametrize(
    "content",
    [
        *(
            b"",
            b"[]",
            b"{",
            b"\xff\xfe",
            b'{"seed": NaN}',
            b'{"seed": 1e999}',
            b"[" * 100_000,
            b'{"a":' * 60 + b"1" + b"}" * 60,
        ),
        *(b'{"seed": ' + b"9" * 5000 + b"}", b"null"),
    ],
)
def test_what_is_no_json_of_a_run_is_told_in_one_line(content: bytes, run: Path) -> None:
    for name in (runs.SUMMARY, runs.SETTINGS, runs.EVALUATION):
        before = (run / name).read_bytes()
        (run / name).write_bytes(content)
        with pytest.raises(InputError) as error:
            report.finished([run])
        one_line(error.value)
        (run / name).write_bytes(before)


def test_files_of_other_kinds_are_not_opened(run: Path) -> None:
    for name, reader in ((runs.SUMMARY, runs.read_summary), (runs.METRICS, runs.read_metrics)):
        (run / name).unlink()
        os.mkfifo(run / name)  # opened, it would wait for ever
        with pytest.raises(InputError, match="not a regular file"):
            reader(run)


def test_unknown_fields_are_passed_over(run: Path) -> None:
    for name in (runs.SUMMARY, runs.SETTINGS):
        (run / name).write_text(json.dumps(json.loads((run / name).read_text()) | {"from_the_future": [1, {"a": "b"}]}))
    assert len(report.finished([run])) == 1


def test_report_names_damaged_runs_and_reports_the_others(
    tmp_path: Path, settings: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "runs"
    for seed in range(2):
        write_run(root / f"sound-{seed}", settings, seed)
    for number, value in enumerate(HOSTILE):
        folder = write_run(root / f"hostile-{number}", settings, 10 + number)
        (folder / runs.SUMMARY).write_text(json.dumps(SUMMARY | {"seed": value}))
    model = write_run(root / "a-model", settings, 7) / runs.MODEL
    model.write_bytes(model.read_bytes()[:500])
    with pytest.raises(SystemExit) as stopped:
        cli.main(["report", str(root)])
    told = capsys.readouterr()
    assert stopped.value.code == 1
    assert told.err.count("skipped: ") == len(HOSTILE) + 1 == told.err.count("\n")
    assert "| instance | 0.5000 ± 0.0000 |" in told.out and (root / "report.html").exists()


def test_cells_are_escaped_and_a_judge_writes_nowhere_else(
    tmp_path: Path, settings: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "runs"
    for seed, norm in enumerate(("=1+1", "+a", "@a", "-a", "a|b<script>")):
        folder = write_run(root / str(seed), settings, seed)
        (folder / runs.SUMMARY).write_text(json.dumps(SUMMARY | {"norm": norm, "seed": seed}))
        record(folder, "a.judge-1", {"own": {"total": -1.0, "=x": 2.0}}, None)
    cli.main(["report", str(root), "--output", str(tmp_path / "out"), "--allow"])
    assert "a\\|b\\<script>" in (tmp_path / "out" / "report.md").read_text()
    assert "<script>" not in (tmp_path / "out" / "report.html").read_text().split("<main>")[1].split("</main>")[0]
    for path in (tmp_path / "out").glob("*.csv"):
        for arm, column, seed, value in list(csv.reader(path.open()))[1:]:
            assert not arm.startswith(tuple("=+-@")) and not column.startswith(tuple("=+-@"))
            assert float(value) and int(seed) >= 0
    assert {path.name for path in tmp_path.iterdir()} == {"runs", "out"}


def rebuilt(settings: dict[str, Any]) -> None:
    rebuild.objective(settings, "settings.json")  # type: ignore[arg-type]
    rebuild.content(settings, "settings.json")  # type: ignore[arg-type]
    model_file.build(settings)


@pytest.mark.parametrize(
    "target",
    [
        "sympy.sympify",
        "torch.load",
        "numpy.load",
        "torch.hub.load",
        "os.system",
        "stylization.report.page",
        "",
        None,
        3,
        ["os"],
    ],
)
@pytest.mark.parametrize("section", ["objective", "loss_network", "data", "data.source", "data.held_out_source"])
def test_settings_name_only_our_own_parts(section: str, target: Any, settings: dict[str, Any], tmp_path: Path) -> None:
    path = (*section.split("."), "_target_")
    with pytest.raises(InputError, match=f"settings.json: {section} names the unsupported"):
        rebuilt(spoilt(settings, path, target))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("objective.units", {"_target_": "os.system", "command": "true"}),
        ("objective.extra", {"_target_": "os.system"}),
        ("objective.weights.style", "${oc.env:HOME}"),
        ("loss_network.weights", {"_target_": "torch.load"}),
        ("data.source.a", "x"),
        ("data.batch_size", "${oc.env:HOME}"),
        ("data.size_px", 10**9),
        ("style.image", {"_target_": "x"}),
        ("style.size_px", 1e9),
        ("generator.width", 0),
        ("norm.eps", -1),
    ],
)
def test_settings_hold_values_not_calls(path: str, value: Any, settings: dict[str, Any]) -> None:
    with pytest.raises(InputError) as error:
        rebuilt(spoilt(settings, tuple(path.split(".")), value))
    one_line(error.value)
    assert os.environ["HOME"] not in str(error.value)


def test_interpolations_are_plain_text(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"style\.image=\$\{oc\.env:HOME\}: no such file"):
        rebuilt(spoilt(settings, ("style", "image"), "${oc.env:HOME}"))


def test_evaluation_of_a_hostile_run_runs_nothing(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "Popen", None)
    evil = {"_target_": "pathlib.Path.touch", "self": {"_target_": "pathlib.Path", "_args_": [str(tmp_path / "ran")]}}
    written = json.loads((run / runs.SETTINGS).read_text())
    (run / runs.SETTINGS).write_text(json.dumps(written | {"loss_network": evil}))
    for command in (["evaluate", str(run)], ["models", str(run), "--iterative", "1"]):
        with pytest.raises(SystemExit) as stopped:
            cli.main(command)
        errors = capsys.readouterr().err
        assert stopped.value.code == 2 and errors.count("\n") == 1 and "pathlib.Path.touch" in errors
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "overrides",
    [(), ("norm=batch", "generator=pyramid"), ("norm=none",), ("style=[ink,mosaic]",), ("objective=johnson",)],
)
def test_what_is_composed_can_be_rebuilt(overrides: tuple[str, ...]) -> None:
    several = "norm=conditional" if any("[" in word for word in overrides) else "seed=1"
    from stylization.configuration import with_several_styles

    rebuilt(composed(several, *with_several_styles(overrides), "data.held_out_size_px=32"))


MUTANTS = [
    *(
        None,
        True,
        -1,
        0,
        1e300,
        10**30,
        2**31,
        "",
        "x",
        "${oc.env:HOME}",
        "\x1b[0m",
        "\ud800",
        "a" * 10_000,
        "../x",
        "\0",
    ),
    *(
        [],
        {},
        [[]],
        {"_target_": "os.system"},
        [None],
        {"a": None},
        "null",
        0.5,
        -0.0,
        [1, 2],
        "stylization.objective.Objective",
    ),
]


def mutated(value: Any, draw: random.Random) -> Any:
    """A value with one to three of its parts replaced or removed."""
    for _ in range(draw.randint(1, 3)):
        path = draw.choice([path for path in paths_of(value) if path] or [()])
        if not path:
            return draw.choice(MUTANTS)
        value = spoilt(value, path, draw.choice(MUTANTS))
        if draw.random() < 0.2 and isinstance(path[-1], str):
            at = value
            for key in path[:-1]:
                at = at[key]
            del at[path[-1]]
    return value


def flipped(content: bytes, draw: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.randint(1, 6)):
        changed[draw.randrange(len(changed))] = draw.randrange(256)
    return bytes(changed[: draw.choice([len(changed), draw.randrange(1, len(changed))])])


def fuzz(run: Path, settings: dict[str, Any], num_mutants: int, seed: int) -> int:
    """Read mutants of a run's files; how many were rejected."""
    draw, rejected = random.Random(seed), 0
    whole = {
        runs.SUMMARY: SUMMARY,
        runs.SETTINGS: settings,
        runs.EVALUATION: {
            "compact": {
                **EVALUATION["compact"],
                "iterative": {"terms": TERMS, "num_steps": 3, "seconds_per_image": 1.0, "pictures": "x"},
            }
        },
    }
    for number in range(num_mutants):
        name = list(whole)[number % 3]
        text = json.dumps(mutated(whole[name], draw)).encode()
        (run / name).write_bytes(flipped(text, draw) if number % 10 == 0 else text)
        (run / runs.METRICS).write_bytes(flipped(METRICS.encode(), draw) if number % 7 == 0 else METRICS.encode())
        try:
            arms = report.by(report.finished([run]), "norm", None)
            for _, _, table in report.tables(arms):
                table.csv(), table.markdown()
            report.page(arms, "norm", "?", [("photograph", torch.zeros(1, 3, 16, 16))])
            if name == runs.SETTINGS and number % 2:
                rebuilt(runs.settings_of_finished(run))  # type: ignore[arg-type]
        except InputError as error:
            one_line(error)
            rejected += 1
        for name in whole:
            (run / name).write_text(json.dumps(whole[name]))
    return rejected


def test_mutants_of_a_run_raise_nothing_but_input_errors(run: Path, settings: dict[str, Any]) -> None:
    assert fuzz(run, settings, 90, 0) > 20


@pytest.mark.slow
def test_many_mutants_of_a_run_raise_nothing_but_input_errors(run: Path, settings: dict[str, Any]) -> None:
    assert fuzz(run, settings, 2000, 1) > 500
