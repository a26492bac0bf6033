"""Sweep files: W&B takes them, what it would run composes, and a local sweep goes on where it was killed."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from PIL import Image

from stylization import cli, sweep
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
