"""From runs to an answer: evaluation under each choice of statistics, and a report that refuses what it should."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import open_dict
from PIL import Image

from stylization import cli, prepared, report
from stylization.configuration import CONF, register_resolvers
from stylization.content import folder
from stylization.errors import InputError
from train import train

SMALL = (
    *("generator.width=4", "generator.num_blocks=1", "style.size_px=64", "callbacks.contact_sheet.every_n_steps=100"),
    *("data.size_px=32", "data.held_out_size_px=64", "data.batch_size=2", "trainer.val_check_interval=2"),
    *("trainer.max_steps=4", "trainer.log_every_n_steps=1"),
)
CHOICES = {"generator": "johnson", "loss_network": "compact", "objective": "relative"}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Instance and batch norm with two seeds each."""
    root = tmp_path_factory.mktemp("study")
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for norm in ("instance", "batch"):
            for seed in (0, 1):
                config = compose("config", [*SMALL, f"norm={norm}", f"seed={seed}"])
                with open_dict(config):
                    config.folder = str(root / f"{norm}-{seed}")
                train(config, {**CHOICES, "norm": norm})
    return root


@pytest.fixture
def runs(study: Path, tmp_path: Path) -> Path:
    """A copy of them, to be spoilt."""
    shutil.copytree(study, tmp_path / "runs")
    return tmp_path / "runs"


def spoil(path: Path, key: str, value: object) -> None:
    facts = json.loads(path.read_text())
    *sections, last = key.split("/")
    section = facts
    for name in sections:
        section = section[name]
    section[last] = value
    path.write_text(json.dumps(facts))


def test_evaluation_and_report_hold_together(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = ["--iterative", "3", "--cache", str(tmp_path / "cache")]
    cli.main(["evaluate", str(runs), "--statistics", "running,batch,instance,frozen", *cache])
    table = capsys.readouterr().out
    assert table.count("\n| " + str(runs)) == 16 and "| iterative method, 3 steps |" in table
    evaluation = json.loads((runs / "batch-0" / "evaluation.json").read_text())["compact"]
    summary = json.loads((runs / "batch-0" / "summary.json").read_text())
    assert evaluation["statistics"]["running"]["total"] == pytest.approx(summary["val"]["total"], rel=1e-3)
    assert {"grid", "texture"} & set(evaluation["statistics"]["running"]) and "NaN" not in json.dumps(evaluation)
    cells = [evaluation["statistics"][name]["total"] for name in ("running", "batch", "instance", "frozen")]
    assert len({round(cell, 5) for cell in cells}) == 4
    made = next((tmp_path / "cache").rglob("facts.json")).stat().st_mtime_ns
    cli.main(["evaluate", str(runs / "instance-0"), *cache])
    assert next((tmp_path / "cache").rglob("facts.json")).stat().st_mtime_ns == made

    cli.main(["report", str(runs), "--output", str(tmp_path / "report"), "--picture", str(tmp_path / "grid.png")])
    page = (tmp_path / "report" / "report.html").read_text()
    assert not re.search(r"(src|href)=\"(?!data:|#)", page) and "http" not in page.replace("http-equiv", "")
    for word in ("batch, frozen statistics", "iterative method, 3 steps", "gap", "val/total", "norm.train_statistics"):
        assert word in page, word
    assert page.count("<img src=") == 3 * 3  # photographs x (photograph, batch, instance); its size is not 64 px
    with Image.open(tmp_path / "grid.png") as grid:
        assert grid.width == 3 * 256 + 2 * 6
    rows = list(csv.DictReader((tmp_path / "report" / "report.csv").open()))
    value = next(float(r["value"]) for r in rows if (r["arm"], r["column"], r["seed"]) == ("batch", "total", "0"))
    assert value == summary["val"]["total"]


def test_the_card_of_a_run_has_its_artifacts(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["models", str(runs / "instance-0"), "--artifacts", "--size-px", "128"])
    told = capsys.readouterr().out
    header = next(line for line in told.splitlines() if line.startswith("| style "))
    assert header.endswith("| grid | texture | halo |") and "of them at 128 px" in told
    row = dict(zip(header.split(" | "), told.splitlines()[-1].split(" | "), strict=True))
    assert float(row["texture"]) >= 0


def test_the_direction_of_a_column_is_its_score_s(runs: Path) -> None:
    for name, ssim, grid in (
        ("instance-0", 0.9, 0.2),
        ("instance-1", 0.9, 0.2),
        ("batch-0", 0.5, 0.1),
        ("batch-1", 0.5, 0.1),
    ):
        (runs / name / "evaluation.json").write_text(
            json.dumps({"compact": {"statistics": {"own": {"ssim": ssim, "grid": grid}}}})
        )
    best = report.table.evaluated(report.by(report.finished([runs]), "norm", None), "compact").best
    assert best == {"ssim": "instance", "grid": "batch"}


def test_the_best_is_marked_only_beyond_the_spread(runs: Path) -> None:
    totals = {"instance-0": 1.0, "instance-1": 1.2, "batch-0": 1.1, "batch-1": 1.15}
    for name, total in totals.items():
        spoil(runs / name / "summary.json", "val/total", total)
    arms = report.by(report.finished([runs]), "norm", None)
    assert "total" not in report.terms(arms).best  # ahead by 0.1 with one seed, behind by 0.05 with the other
    spoil(runs / "instance-1" / "summary.json", "val/total", 1.04)
    table = report.terms(report.by(report.finished([runs]), "norm", ["instance", "batch"]))
    assert table.best["total"] == "instance" and "**1.0200 ± 0.0283**" in table.markdown()


@pytest.mark.parametrize(
    ("file", "key", "value", "told"),
    [
        ("summary.json", "steps", 7, "differ in steps"),
        ("summary.json", "held_out", ["other.png"], "differ in held-out photographs"),
        ("summary.json", "initial_convolutions", "0" * 12, "differ in initial convolution weights of seed 0"),
        ("settings.json", "data/crop_area", [0.5, 1.0], r"differ in data order \(data.crop_area\)"),
        ("settings.json", "trainer/precision", "bf16-mixed", r"differ in precision"),
        ("settings.json", "objective/units", "johnson", r"differ in loss units, layers and weights"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused_or_marked(
    file: str, key: str, value: object, told: str, runs: Path, tmp_path: Path
) -> None:
    spoil(runs / "batch-0" / file, key, value)
    with pytest.raises(InputError, match=told):
        report.by(report.finished([runs]), "norm", None)
    cli.main(["report", str(runs), "--allow", "--output", str(tmp_path / "report")])
    assert "should not stand in one table" in (tmp_path / "report" / "report.html").read_text()


def test_what_cannot_be_reported_is_told_in_one_line(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no finished run"):
        report.finished([tmp_path / "runs" / "batch-0" / "samples"])
    with pytest.raises(InputError, match="has no 'weather'"):
        report.by(report.finished([runs]), "weather", None)
    shutil.copytree(runs / "batch-0", runs / "again")
    with pytest.raises(InputError, match="several runs of one seed"):
        report.by(report.finished([runs]), "norm", None)
    (runs / "again" / "summary.json").unlink()
    with pytest.raises(InputError, match="1 there have not finished"):
        report.finished([runs / "again"])
    (runs / "batch-1" / "metrics.csv").write_text("step,val/total\n3,abc\n")
    with pytest.raises(InputError, match=r"metrics\.csv is damaged"):
        report.finished([runs])


def test_prepared_photographs_are_what_they_are_called(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    dull = (rng.integers(100, 140, (6, 8, 3))).astype(np.uint8)
    Image.fromarray(dull).resize((80, 60), Image.Resampling.BICUBIC).save(tmp_path / "photos" / "dull.jpg", quality=95)
    source = folder(tmp_path / "photos")
    spread = {}
    for name, treat in (("plain", prepared.plain), ("equalised", prepared.equalised), ("half", prepared.contrast(0.5))):
        prepared.prepare(source, treat, tmp_path / name, 48)
        with Image.open(tmp_path / name / "dull.png") as picture:
            assert picture.size == (64, 48)
            spread[name] = float(np.asarray(picture.convert("L"), dtype=float).std())
    assert spread["half"] == pytest.approx(spread["plain"] / 2, rel=0.1)
    assert spread["equalised"] == pytest.approx(255 / 12**0.5, rel=0.1)  # of uniformly distributed luminance


def test_probe_draws_a_sheet_and_writes_the_choice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet = tmp_path / "probe.png"
    few = ["--sizes-px", "64", "96", "--weights", "3", "30", "--size-px", "48", "--num-steps", "2"]
    cli.main(["probe", "ink", *few, "--output", str(sheet)])
    with Image.open(sheet) as picture:
        assert picture.size == (2 * 48 + 6, 2 * (26 + 48) + 6)
    shutil.copytree(CONF, tmp_path / "conf")
    monkeypatch.setattr("stylization.configuration.CONF", tmp_path / "conf")
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "dark.png")
    cli.main(["probe", str(tmp_path / "dark.png"), "--pick", "96", "12.5"])
    assert "train it: train.py style=dark" in capsys.readouterr().out
    with initialize_config_dir(str(tmp_path / "conf"), version_base="1.3"):
        config = compose("config", ["style=dark", "folder=x"])
    assert (config.style.name, config.style.size_px, config.objective.weights.style) == ("dark", 96, 12.5)
    with pytest.raises(SystemExit):
        cli.main(["probe", str(tmp_path / "dark.png"), "--pick", "96", "12.5"])
    assert "is there already" in capsys.readouterr().err


def test_pairs_train_and_either_without_the_other_is_told(tmp_path: Path) -> None:
    for name in ("photos", "stylized"):
        (tmp_path / name).mkdir()
        for i in range(2):
            pixels = torch.randint(0, 256, (64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(i))
            Image.fromarray(pixels.numpy()).save(tmp_path / name / f"{i}.png")
    places = (f"data.source.path={tmp_path}/photos", f"data.targets.path={tmp_path}/stylized", "data.num_workers=0")
    register_resolvers()

    def run(*overrides: str) -> dict[str, float]:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = compose("config", [*SMALL, *overrides])
        with open_dict(config):
            config.folder = str(tmp_path / f"run{len(overrides)}")
        return dict(train(config, {**CHOICES, "norm": "instance"}).facts["val"])

    val = run("data=pairs", *places, "objective=paired")
    assert set(val) == {"content", "style", "tv", "total"}
    with pytest.raises(InputError, match="objective=paired trains on pairs"):
        run("objective=paired")
    with pytest.raises(InputError, match="this objective does not look at"):
        run("data=pairs", *places)
