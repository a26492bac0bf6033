"""Several ranks are one run: the same curves, one folder, and an end for all when one of them ends."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from stylization import launch
from stylization.configuration import CONF
from stylization.errors import InputError

SMALL = (
    *("generator.width=4", "generator.num_blocks=1", "style.size_px=64", "callbacks.contact_sheet.every_n_steps=1000"),
    *("data.size_px=32", "data.held_out_size_px=48", "trainer.val_check_interval=1000", "trainer.log_every_n_steps=1"),
    # Adam divides gradients by themselves and so makes much of what rounding left of small ones: at a low rate, little.
    *("optimizer=adam_constant", "optimizer.lr=0.00002", "trainer.max_steps=30"),
)
RANKS = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.precision=32-true")


def started(*overrides: str, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    command = [sys.executable, str(CONF.parent / "train.py"), *SMALL, *overrides]
    return subprocess.Popen(
        command,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=CONF.parent,
        env={**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})},
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, errors = process.communicate(timeout=150)
    return process.returncode, out, errors


def curve(folder: Path) -> list[float]:
    with (folder / "metrics.csv").open() as file:
        return [float(row["train/total"]) for row in csv.DictReader(file) if row["train/total"]]


def curves(root: Path) -> dict[str, list[float]]:
    """The training curves of runs that share everything but their ranks and how these treat batch norm."""
    found = {}
    for name, overrides in {
        "instance, 1": ("norm=instance",),
        "instance, 2": ("norm=instance", *RANKS),
        "instance, 4": ("norm=instance", *RANKS, "trainer.devices=4"),
        "batch, 1": ("norm=batch",),
        "sync_batch, 2": ("norm=sync_batch", *RANKS),
        "batch, 2": ("norm=batch", *RANKS),
    }.items():
        norm, ranks = name.split(", ")
        folder, share = root / f"{norm}-{ranks}", 4 // int(ranks)
        status, _, errors = ended(started(*overrides, f"hydra.run.dir={folder}"))
        assert status == 0, errors
        found[name] = curve(folder)
        summary = json.loads((folder / "summary.json").read_text())
        assert [summary[key] for key in ("ranks", "batch_size", "batch_size_per_rank")] == [int(ranks), 4, share]
        assert summary["norm_batch_size"] == {"instance": 1, "sync_batch": 4, "batch": share}[norm]
        assert summary["images"] == 120
    return found


def test_ranks_train_as_one_process_does_but_for_batch_norm_that_is_not_synchronised(tmp_path: Path) -> None:
    found = curves(tmp_path)
    for several, one in (("instance, 2", "instance, 1"), ("instance, 4", "instance, 1"), ("sync_batch, 2", "batch, 1")):
        assert len(found[several]) == 30
        assert found[several] == pytest.approx(found[one], rel=1e-3), several
    assert found["batch, 2"] != pytest.approx(found["batch, 1"], rel=1e-2)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_for_checkpoints(folder: Path, num: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while len(list((folder / "checkpoints").glob("step=*.ckpt"))) < num:
        assert process.poll() is None and time.monotonic() < deadline, ended(process)
        time.sleep(0.05)


LONG = ("trainer.max_steps=200", "callbacks.checkpoint.every_n_train_steps=5", "callbacks.checkpoint.save_top_k=-1")


def test_killed_rank_takes_the_run_down_or_starts_it_again_from_the_last_checkpoint(tmp_path: Path) -> None:
    status, _, errors = ended(started(*RANKS, *LONG, f"hydra.run.dir={tmp_path}/whole"))
    assert status == 0, errors
    for name, restarts, expected in (("down", 0, 128 + signal.SIGKILL), ("again", 1, 0)):
        process = started(*RANKS, *LONG, f"max_restarts={restarts}", f"hydra.run.dir={tmp_path / name}")
        wait_for_checkpoints(tmp_path / name, 3, process)
        killed, at = children(process.pid)[1], time.monotonic()
        os.kill(killed, signal.SIGKILL)
        status, _, errors = ended(process)
        assert status == expected, errors
        if not restarts:
            assert time.monotonic() - at < 60
            assert "error: rank" in errors and "killed by SIGKILL" in errors and "Traceback" not in errors
            assert not (tmp_path / name / "summary.json").exists()
    whole, again = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "again"))
    assert all(torch.equal(whole[key], again[key]) for key in whole)


def test_sigterm_saves_the_step_and_ends_with_status_143(tmp_path: Path) -> None:
    process = started(
        "trainer.max_steps=100000", "callbacks.checkpoint.every_n_train_steps=7", f"hydra.run.dir={tmp_path}"
    )
    wait_for_checkpoints(tmp_path, 1, process)
    process.send_signal(signal.SIGTERM)
    status, _, errors = ended(process)
    assert status == 143, errors
    checkpoint = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert f"stopped after step {checkpoint['global_step']}" in errors and "Traceback" not in errors
    assert checkpoint["Content"]["samples_seen"] == 4 * checkpoint["global_step"]


@pytest.mark.parametrize(
    ("overrides", "environment", "told"),
    [
        (("trainer.num_nodes=2",), {}, "one process was launched: start the same line on every node"),
        ((), {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}, "and 2 were launched"),
        (("trainer=nodes",), {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}, "add hydra.run.dir="),
        (("trainer.devices=some",), {}, "trainer.devices=some: must be a whole number"),
        ((*RANKS, "trainer.devices=3"), {}, "data.batch_size=4 does not divide by 3 ranks"),
    ],
)
def test_wrong_launches_are_told_in_one_line(
    tmp_path: Path, overrides: tuple[str, ...], environment: dict[str, str], told: str
) -> None:
    status, _, errors = ended(started(*overrides, environment=environment))
    assert status == 2, errors
    lines = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert lines and all(told in line for line in lines) and "Traceback" not in errors


def test_a_rank_with_another_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def gathered(into: list[object], ours: object) -> None:
        into[:] = [ours, {**launch.flat({"norm": {"eps": 1e-3}}), "seed": "0"}]

    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 2)
    monkeypatch.setattr("torch.distributed.all_gather_object", gathered)
    with pytest.raises(InputError, match=r"rank 1 has norm\.eps=0\.001, rank 0 has norm\.eps=1e-05"):
        launch.check_agreement({"norm": {"eps": 1e-5}, "seed": 0})


def test_counts_come_from_torchrun_and_from_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    for environment in (
        {"RANK": "5", "WORLD_SIZE": "32", "LOCAL_WORLD_SIZE": "8", "GROUP_WORLD_SIZE": "4"},
        {"SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "32", "SLURM_STEP_NUM_NODES": "4"},
    ):
        with monkeypatch.context() as patched:
            for key, value in environment.items():
                patched.setenv(key, value)
            counts = (launch.rank(), launch.num_launched(), launch.num_launched_here(), launch.num_nodes_launched())
            assert counts == (5, 32, 8, 4)
