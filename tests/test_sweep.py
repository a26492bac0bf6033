"""Sweep files: W&B takes them, what it would run composes, and a local sweep goes on where it was killed."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from PIL import Image

from stylization import cli, report, sweep
from stylization.configuration import CONF, register_resolvers
from stylization.errors import InputError

SWEEPS = sorted((CONF.parent / "sweeps").glob("*.yaml"))
QUESTION = """\
method: grid
description: Does it go on?
parameters:
  norm: {values: [instance]}
  seed: {values: [0, 1]}
  trainer.max_steps: {value: 12}
  generator.width: {value: 4}
  generator.num_blocks: {value: 1}
  style.size_px: {value: 64}
  data.size_px: {value: 32}
  data.held_out_size_px: {value: 48}
  trainer.log_every_n_steps: {value: 1}
  trainer.val_check_interval: {value: 6}
  optimizer: {value: adam_constant}
  callbacks.checkpoint.every_n_train_steps: {value: 2}
  callbacks.contact_sheet.every_n_steps: {value: 100}
command: ["${env}", python, "${program}", logger=wandb, "${args_no_hyphens}"]
"""


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_sweep_file_is_what_wandb_takes_and_its_commands_compose(path: Path) -> None:
    sweeps = pytest.importorskip("sweeps")
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    text = path.read_text()
    for word in ("# Question: ", "# Expected: ", "# Cost: "):
        assert word in text
    written = yaml.safe_load(text)
    assert sweeps.schema_violations_from_proposed_config(written) == []
    assert written["metric"]["name"] == "val/total"
    ours = sweep.read(path).runs()
    theirs, run = [], sweeps.next_run(written, [])
    while run is not None:
        theirs.append(run)
        run = sweeps.next_run(written, theirs)
    assert len(ours) == len(theirs) >= 9
    commands = set()
    for run in theirs:
        words = create_sweep_command(list(written["command"]))
        at = words.index("${args_no_hyphens}")
        arguments = create_sweep_command_args({"args": run.config})["args_no_hyphens"]
        commands.add(frozenset([*words[at - 1 : at], *arguments]))
    assert commands == {frozenset(overrides) for overrides in ours.values()}
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for overrides in list(ours.values())[::4]:  # that all are W&B's is told above; composing takes its time
            config = compose("config", [*overrides, "folder=x"])
            assert config.logger.wandb.project == "stylization" and "wandb" in config.callbacks


def told_offline(folder: Path, overrides: list[str], name: str) -> str:
    """Run train.py as an agent would, but offline; what W&B has then kept, as its own reader tells it."""
    command = [sys.executable, str(CONF.parent / "train.py"), *overrides, f"hydra.run.dir='{folder}/{name}'"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline", "WANDB_RUN_ID": "given"}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, check=False)
    assert result.returncode == 0, result.stderr
    (record,) = (folder / name / "wandb").glob("offline-run-*/run-given.wandb")
    reader = [str(Path(sys.executable).with_name("wandb")), "leet", "inspect", "--summary", "--json", str(record)]
    return subprocess.run(reader, capture_output=True, text=True, env=environment, check=True).stdout


def test_wandb_is_told_terms_pictures_and_the_model_offline(tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(QUESTION)
    told = told_offline(tmp_path, next(iter(sweep.read(tmp_path / "sweep.yaml").runs().values())), "run")
    for name in ("final/total", "val/style", "train/gradient_norm", "images_per_second", "samples", "train/content"):
        assert name in told, (name, told[:2000])


def started(tmp_path: Path, name: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "stylization.cli", "sweep", str(tmp_path / "sweep.yaml"), "--jobs", "2"]
    return subprocess.Popen(
        [*command, "--output", str(tmp_path / name)],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=CONF.parent,
    )


@pytest.mark.slow
def test_sweep_that_was_stopped_twice_ends_as_one_that_was_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sweep.yaml").write_text(QUESTION)
    for stopped_by in (signal.SIGINT, signal.SIGKILL):
        process = started(tmp_path, "stopped")
        deadline = time.monotonic() + 120
        already = len(list((tmp_path / "stopped").glob("*/checkpoints/*.ckpt")))
        while len(list((tmp_path / "stopped").glob("*/checkpoints/*.ckpt"))) <= already:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(stopped_by)
        process.communicate(timeout=60)
        assert process.returncode == (130 if stopped_by == signal.SIGINT else -stopped_by)
        if stopped_by == signal.SIGKILL:
            subprocess.run(["pkill", "-KILL", "-f", f"{tmp_path}/stopped"], check=False)  # its runs outlive it
    for name in ("stopped", "whole"):
        process = started(tmp_path, name)
        out, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        assert out.strip() == f"stylization report {tmp_path / name}"
    finished = {path: path.stat().st_mtime for path in tmp_path.rglob("summary.json")}
    assert len(finished) == 4
    assert started(tmp_path, "whole").communicate(timeout=60) and finished == {p: p.stat().st_mtime for p in finished}
    pages = []
    for name in ("stopped", "whole"):
        cli.main(["report", str(tmp_path / name)])
        pages.append((tmp_path / name / "report.csv").read_text())
        for row in csv.DictReader((tmp_path / name / "norm=instance,seed=1" / "metrics.csv").open()):
            assert None not in row.values()
    assert pages[0] == pages[1]
    assert "# Does it go on?" in (tmp_path / "whole" / "report.md").read_text()
    assert "| instance |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("method: grid", "method: bayes"), "method 'bayes' needs W&B's server"),
        (("method: grid", "method: grid\nmetod: x"), "unknown key 'metod'"),
        (("seed: {values: [0, 1]}", "seed: {min: 0, max: 3}"), "parameter 'seed' must have value"),
        (("seed: {values: [0, 1]}", "seed: [0, 1"), "is no YAML file"),
        (("method: grid", "method: grid\nprogram: other.py"), "program 'other.py'; it must be train.py"),
    ],
)
def test_wrong_sweep_file_is_told_in_one_line(change: tuple[str, str], told: str, tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(QUESTION.replace(*change))
    with pytest.raises(InputError, match=told) as error:
        sweep.read(tmp_path / "sweep.yaml")
    assert "\n" not in str(error.value)


def test_folder_of_a_sweep_keeps_to_what_it_was_begun_with(tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(QUESTION)
    asked = sweep.read(tmp_path / "sweep.yaml")
    (tmp_path / "runs").mkdir()
    begun = {"fixed": {**asked.fixed, "trainer.max_steps": 7}, "words": [], "vary": {}}
    (tmp_path / "runs" / sweep.BEGUN).write_text(json.dumps(begun))
    with pytest.raises(InputError, match=r"was begun with trainer\.max_steps=7, now it is 12"):
        sweep.Local(asked, tmp_path / "runs", 1).run()


def test_dry_run_prints_what_would_be_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["sweep", str(CONF.parent / "sweeps" / "norms.yaml"), "--dry-run", "--output", str(tmp_path / "none")])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 15 and all("train.py" in line and "logger=csv" in line for line in lines)
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
@pytest.mark.parametrize("path", [path for path in SWEEPS if path.stem != "images"], ids=lambda path: path.stem)
def test_two_commands_of_each_sweep_file_run_offline_and_can_be_read_back(path: Path, tmp_path: Path) -> None:
    for kind in ("train", "held_out"):
        (tmp_path / "outputs" / "prepared" / "plain" / kind).mkdir(parents=True)
        picture = Image.effect_noise((96, 96), 80).convert("RGB")
        picture.save(tmp_path / "outputs" / "prepared" / "plain" / kind / "one.png")
    small = [line.strip() for line in QUESTION.splitlines() if "{value: " in line]
    overrides = [line.replace(": {value: ", "=").rstrip("}") for line in small if "num_blocks" not in line]
    for number, (name, words) in enumerate(sweep.read(path).runs().items()):
        if number == 2:
            return
        record = told_offline(tmp_path, [*words, *overrides], f"{name}-{number}")
        assert "final/total" in record


def sweep_of(tmp_path: Path, parameters: object, command: object = ()) -> sweep.Sweep:
    path = tmp_path / "asked.yaml"
    path.write_text(yaml.safe_dump({"method": "grid", "parameters": parameters, "command": list(command)}))  # type: ignore[call-overload]
    return sweep.read(path)


@pytest.mark.parametrize(
    "parameters",
    [
        {"data.source._target_": {"value": "sympy.sympify"}},
        {"+data.source._args_": {"value": [1]}},
        {"hydra.run.dir": {"value": "x"}},
        {"hydra/launcher": {"values": ["joblib"]}},
        {"style.name": {"value": "${oc.env:HOME}"}},
        {"${oc.env:HOME}": {"value": 1}},
        {"data": {"values": [{"_target_": "os.system"}]}},
        {"data.num_images": {"values": [{"x": {"_target_": "os.system"}}]}},
        {"a\nb": {"value": 1}},
        {"seed": {"value": float("nan")}},
        {"seed=1 trainer": {"value": 1}},
    ],
)
def test_sweep_may_not_set_code_or_hydra(parameters: object, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"asked\.yaml") as error:
        sweep_of(tmp_path, parameters)
    assert str(error.value).isprintable() and os.environ["HOME"] not in str(error.value)


@pytest.mark.parametrize(
    "word", ["hydra.run.dir=x", "data._target_=os.system", "style.name=${oc.env:HOME}", "seed=1,2"]
)
def test_command_of_a_sweep_may_not_either(word: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"asked\.yaml"):
        sweep_of(tmp_path, {"seed": {"value": 1}}, [word])


def nine(anchor: str) -> str:
    return ",".join([f"*{anchor}"] * 9)


@pytest.mark.parametrize(
    "text",
    [
        "[1, 2",
        "- 1",
        "&a [*a]",
        "method: grid\nparameters: &a {x: *a}",
        "method: grid\nparameters: {seed: {values: 3}}",
        "method: grid\nparameters: {1: {values: [2024-01-01]}}",
        "method: grid\nparameters: {seed: {value: 2024-01-01}}",
        "method: grid\nparameters: {seed: {value: !!python/object/apply:os.system [true]}}",
        "method: grid\ncommand: 3\nparameters: {seed: {value: 1}}",
        "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(f"{n}: &{n} [{nine(m)}]\n" for m, n in pairwise("abcdefghi")),
        "method: grid\nparameters: {" + ",".join(f"a{k}: {{values: [1,2,3,4,5,6,7,8,9,0]}}" for k in range(9)) + "}",
        "[" * 5000,
        "\x00",
    ],
)  # fmt: skip
def test_hostile_sweep_files_are_told_in_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(text)
    with pytest.raises(InputError) as error:
        sweep.read(tmp_path / "sweep.yaml")
    assert str(error.value).isprintable() and "sweep.yaml" in str(error.value)


def test_values_of_a_sweep_reach_the_configuration_as_they_are(tmp_path: Path) -> None:
    values = [
        None,
        3,
        "it's #1, really=so",
        'a "quoted" \\ word',
        "null",
        "1e3x",
        "é\u2202",
        "",
        " x ",
        True,
        [1, "a,b"],
    ]
    asked = sweep_of(tmp_path, {"data.num_images": {"values": values}, "optimizer.lr": {"value": "1e-3"}})
    register_resolvers()
    found = []
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for overrides in asked.runs().values():
            config = compose("config", [*overrides, "folder=x"])
            found.append(config.data.num_images)
            assert config.optimizer.lr == 0.001
    assert found == values


def test_folders_of_runs_are_different_and_inside(tmp_path: Path) -> None:
    values = ["../../x", "a/b", "a-b", "a b", "x" * 400, "x" * 401, "..", "~", "a\nb"]
    names = list(sweep_of(tmp_path, {"style.image": {"values": values}}).runs())
    assert len(set(names)) == len(values)
    for name in names:
        assert len(name) < 200 and name.isprintable() and "/" not in name and name not in (".", "..")


def test_folders_with_odd_names_are_handed_on_whole(tmp_path: Path) -> None:
    folder = tmp_path / "it's, a=b #1 (x)"
    local = sweep.Local(sweep_of(tmp_path, {"seed": {"values": [1]}}), folder, 1)
    last = folder / "seed=1" / "checkpoints" / "last.ckpt"
    last.parent.mkdir(parents=True)
    last.touch()
    words = local.command("seed=1", local.sweep.runs()["seed=1"])
    parser = OverridesParser.create()
    values = {
        (o := parser.parse_override(word)).key_or_group: str(getattr(o.value(), "text", o.value()))
        for word in words[2:]
    }
    assert values["hydra.run.dir"] == str(folder / "seed=1") and values["resume"] == str(last)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"fixed": 3, "vary": {}}', '{"fixed": {}, "vary": {"a": 1}}', "{"])
def test_damaged_record_of_a_sweep_is_told_in_one_line(text: str, tmp_path: Path) -> None:
    asked = sweep_of(tmp_path, {"seed": {"values": [1]}})
    (tmp_path / sweep.BEGUN).write_text(text)
    with pytest.raises(InputError, match=r"sweep\.json"):
        sweep.Local(asked, tmp_path, 1).run()
    with pytest.raises(InputError, match=r"sweep\.json"):
        report.question_of([tmp_path], "")
