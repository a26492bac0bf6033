"""Runs that meet what nights are lost to: a damaged folder, kill -9, a server that goes away."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import open_dict
from PIL import Image
from ranges import Server
from safetensors.torch import load_file

from stylization.callbacks import Summary
from stylization.configuration import CONF, register_resolvers
from train import train

SMALL = (
    *("generator.width=4", "generator.num_blocks=1", "style.size_px=64", "callbacks.contact_sheet.every_n_steps=1000"),
    *("data.size_px=32", "data.held_out_size_px=48", "data.batch_size=2", "data.num_workers=1"),
    *("trainer.val_check_interval=1000", "trainer.log_every_n_steps=1"),
    *("callbacks.checkpoint.every_n_train_steps=2", "callbacks.checkpoint.save_top_k=-1"),
)


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("STYLIZATION_CACHE", str(tmp_path / "cache"))
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("interrupted") / "photos"
    root.mkdir()
    rng = np.random.default_rng(0)
    for i in range(30):
        pixels = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((80, 64), Image.Resampling.BICUBIC).save(root / f"{i:02d}.jpg")
    return root


def started(*overrides: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(CONF.parent / "train.py"), *SMALL, *overrides]
    return subprocess.Popen(command, text=True, stderr=subprocess.PIPE, stdout=subprocess.PIPE, cwd=CONF.parent)


def run(folder: Path, *overrides: str) -> Summary:
    """The same in this process."""
    config = compose("config", [*SMALL, *overrides])
    with open_dict(config):
        config.folder = str(folder)
    return train(
        config, {"norm": "instance", "generator": "johnson", "loss_network": "compact", "objective": "relative"}
    )


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[1]
        time.sleep(0.02)


def checkpoints(folder: Path) -> list[Path]:
    return sorted((folder / "checkpoints").glob("step-*.ckpt"))


def test_killed_run_resumes_to_the_same_weights_bit_for_bit(photos: Path, tmp_path: Path) -> None:
    (photos / "damaged.jpg").write_bytes(b"\xff\xd8\xff")  # its substitutes must be the same ones
    common = ("data=folder", f"data.source.path={photos}", "trainer.max_steps=30")
    run(tmp_path / "whole", *common, "data.num_workers=0")
    killed = started(*common, f"hydra.run.dir={tmp_path}/killed")
    wait_for(lambda: len(checkpoints(tmp_path / "killed")) >= 4, killed)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    *_, checkpoint, _ = checkpoints(tmp_path / "killed")  # the newest may be half-written
    assert not (tmp_path / "killed" / "summary.json").exists()
    summary = run(tmp_path / "resumed", *common, f"resume={checkpoint}")
    whole, resumed = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "resumed"))
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    assert summary.facts["images"] == 60
    (row,) = csv.DictReader((tmp_path / "whole" / "skipped.csv").open())
    assert (row["image"], row["reason"]) == ("damaged.jpg", "not a picture")
    facts = json.loads((tmp_path / "whole" / "summary.json").read_text())
    assert facts["skipped"] == {"not a picture": int(row["times"])}


def test_source_that_goes_away_for_good_stops_the_run_in_one_line_and_resume_works(
    photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "served").mkdir()
    with zipfile.ZipFile(tmp_path / "served" / "train.zip", "w") as archive:
        for path in sorted(photos.glob("??.jpg")):
            archive.write(path)
    with Server(tmp_path / "served") as server:
        common = (
            *("data=coco", f"data.source.path={server.url}train.zip", "data.source.cache_gb=1e-6"),
            *("data.source.patience_s=1", "optimizer=adam_constant"),
        )
        process = started(*common, "trainer.max_steps=100000", f"hydra.run.dir={tmp_path}/run")
        wait_for(lambda: len(checkpoints(tmp_path / "run")) >= 3, process)
        server.stop()
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 2
        last = errors.strip().splitlines()[-1]
        assert last.startswith("error: http://") and "is gone: no answer for 1 s" in last
        assert "Traceback" not in errors and "resume=" in errors
        server.start()
        checkpoint = checkpoints(tmp_path / "run")[1]
        steps = int(checkpoint.stem.split("-")[1]) + 4
        summary = run(tmp_path / "again", *common, f"trainer.max_steps={steps}", f"resume={checkpoint}")
        assert summary.facts["images"] == 2 * steps
