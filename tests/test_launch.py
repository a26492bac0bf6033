"""Several ranks are one run: the same curves, one folder, and an end for all when one of them ends."""

import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from stylization import launch
from stylization.configuration import CONF

SMALL = (
    *("generator.width=4", "generator.num_blocks=1", "style.size_px=64", "callbacks.contact_sheet.every_n_steps=1000"),
    *("data.size_px=32", "data.held_out_size_px=48", "trainer.val_check_interval=1000", "trainer.log_every_n_steps=1"),
    # Adam divides gradients by themselves and so makes much of what rounding left of small ones: at a low rate, little.
    *("optimizer=adam_constant", "optimizer.lr=0.00002", "trainer.max_steps=30"),
)
Curves = Callable[[str], tuple[list[float], Path]]
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


ARMS = {
    "instance, 1": ("norm=instance",),
    "instance, 2": ("norm=instance", *RANKS),
    "instance, 4": ("norm=instance", *RANKS, "trainer.devices=4"),
    "batch, 1": ("norm=batch",),
    "sync_batch, 2": ("norm=sync_batch", *RANKS),
    "sync_batch, 4": ("norm=sync_batch", *RANKS, "trainer.devices=4"),
    "batch, 2": ("norm=batch", *RANKS),
}
SAVING = ("callbacks.checkpoint.every_n_train_steps=10", "callbacks.checkpoint.save_top_k=-1")


@pytest.fixture(scope="module")
def curves(tmp_path_factory: pytest.TempPathFactory) -> Curves:
    """The training curve of an arm, and the folder of its run, which is done when first asked for."""
    root, found = tmp_path_factory.mktemp("curves"), dict[str, tuple[list[float], Path]]()

    def trained(arm: str) -> tuple[list[float], Path]:
        if arm not in found:
            norm, ranks = arm.split(", ")
            folder, share = root / arm.replace(", ", "-"), 4 // int(ranks)
            status, _, errors = ended(started(*ARMS[arm], *SAVING, f"hydra.run.dir={folder}"))
            assert status == 0, errors
            summary = json.loads((folder / "summary.json").read_text())
            assert [summary[key] for key in ("ranks", "batch_size", "batch_size_per_rank")] == [int(ranks), 4, share]
            assert summary["norm_batch_size"] == {"instance": 1, "sync_batch": 4, "batch": share}[norm]
            assert summary["images"] == 120
            found[arm] = (curve(folder), folder)
        return found[arm]

    return trained


def check_same(curves: Curves, several: str) -> None:
    one, _ = curves("instance, 1" if several.startswith("instance") else "batch, 1")
    assert len(one) == 30 and curves(several)[0] == pytest.approx(one, rel=1e-3)


@pytest.mark.xdist_group("curves")
def test_ranks_train_as_one_process_does_but_for_batch_norm_that_is_not_synchronised(curves: Curves) -> None:
    for several in ("instance, 2", "sync_batch, 2"):
        check_same(curves, several)
    assert curves("batch, 2")[0] != pytest.approx(curves("batch, 1")[0], rel=1e-2)


@pytest.mark.slow
@pytest.mark.xdist_group("curves")
def test_so_do_four_ranks(curves: Curves) -> None:
    for several in ("instance, 4", "sync_batch, 4"):
        check_same(curves, several)


@pytest.mark.xdist_group("curves")
@pytest.mark.parametrize(
    ("before", "after"),
    [("instance, 2", "instance, 1"), pytest.param("instance, 1", "instance, 2", marks=pytest.mark.slow)],
)
def test_resuming_with_another_number_of_ranks_sees_the_same_images_on_the_same_curve(
    before: str, after: str, curves: Curves, tmp_path: Path
) -> None:
    whole, folder = curves(before)
    resume = f"resume={folder}/checkpoints/step-000010.ckpt"
    status, _, errors = ended(started(*ARMS[after], resume, f"hydra.run.dir={tmp_path}"))
    assert status == 0, errors
    assert len(curve(tmp_path)) == 20 and curve(tmp_path) == pytest.approx(whole[10:], rel=1e-3)
    assert json.loads((tmp_path / "summary.json").read_text())["images"] == 120


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_for_checkpoints(folder: Path, num: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while len(list((folder / "checkpoints").glob("step-*.ckpt"))) < num:
        assert process.poll() is None and time.monotonic() < deadline, ended(process)
        time.sleep(0.05)


OFTEN = ("callbacks.checkpoint.every_n_train_steps=4", "callbacks.checkpoint.save_top_k=-1")


@pytest.mark.xdist_group("curves")
def test_killed_rank_takes_the_run_down_or_starts_it_again_from_the_last_checkpoint(
    curves: Curves, tmp_path: Path
) -> None:
    _, unkilled = curves("instance, 2")
    for name, restarts, expected in (("down", 0, 128 + signal.SIGKILL), ("again", 1, 0)):
        process = started(*RANKS, *OFTEN, f"max_restarts={restarts}", f"hydra.run.dir={tmp_path / name}")
        wait_for_checkpoints(tmp_path / name, 2, process)
        killed, at = children(process.pid)[1], time.monotonic()
        os.kill(killed, signal.SIGKILL)
        status, _, errors = ended(process)
        assert status == expected, errors
        if not restarts:
            assert time.monotonic() - at < 60
            assert "error: rank" in errors and "killed by SIGKILL" in errors and "Traceback" not in errors
            assert not (tmp_path / name / "summary.json").exists()
    whole, again = (load_file(folder / "model.safetensors") for folder in (unkilled, tmp_path / "again"))
    assert all(torch.equal(whole[key], again[key]) for key in whole)
    rows = (unkilled / "metrics.csv").read_text().splitlines()
    assert set((tmp_path / "again" / "metrics.csv").read_text().splitlines()) <= set(
        rows
    )  # killed in between, one less


@pytest.mark.parametrize(
    ("number", "ranks", "jobs"),
    [(signal.SIGTERM, (), ""), (signal.SIGTERM, RANKS, ""), (signal.SIGUSR1, RANKS, "requeue 4711\n")],
)
def test_signal_ends_all_ranks_after_the_same_step_with_a_checkpoint(
    number: signal.Signals, ranks: tuple[str, ...], jobs: str, tmp_path: Path
) -> None:
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/jobs\n')
    scontrol.chmod(0o755)
    job = {"SLURM_JOB_ID": "4711", "SLURM_NTASKS": "1", "SLURM_JOB_NAME": "painting", "SLURM_STEP_NUM_TASKS": "1"}
    environment = {**job, "PATH": f"{scontrol.parent}:{os.environ['PATH']}"} if jobs else {}
    process = started(
        *("trainer.max_steps=100000", "callbacks.checkpoint.every_n_train_steps=7", f"hydra.run.dir={tmp_path}/run"),
        *ranks,
        environment=environment,
    )
    wait_for_checkpoints(tmp_path / "run", 1, process)
    process.send_signal(number)
    status, _, errors = ended(process)
    assert status == 128 + number, errors
    checkpoint = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert f"stopped after step {checkpoint['global_step']}" in errors and "Traceback" not in errors
    assert checkpoint["Content"]["samples_seen"] == 4 * checkpoint["global_step"]
    assert not jobs or (tmp_path / "jobs").read_text() == jobs


@pytest.mark.slow
def test_skips_of_all_ranks_end_up_in_one_table(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for i in range(6):
        Image.effect_noise((64, 64), 80).convert("RGB").save(tmp_path / "photos" / f"{i}.png")
    (tmp_path / "photos" / "bad.jpg").write_bytes(b"no picture")
    found = []
    for name, ranks in (("one", ()), ("two", RANKS)):
        photos = ("data=folder", f"data.source.path={tmp_path}/photos", "data.num_workers=0")
        few = ("trainer.max_steps=14", "data.max_damaged_share=0.9", f"hydra.run.dir={tmp_path / name}")
        status, _, errors = ended(started(*ranks, *photos, *few))
        assert status == 0, errors
        found.append((tmp_path / name / "skipped.csv").read_text())
    assert found[0] == found[1] and found[0].count("bad.jpg,not a picture") == 1


def by_hand(rank: int, port: int, *overrides: str) -> subprocess.Popen[str]:
    """One of two ranks, started as a person without torchrun would."""
    place = {"RANK": f"{rank}", "LOCAL_RANK": f"{rank}", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": f"{port}", "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "none"}
    return started("trainer=nodes", *RANKS[1:], *overrides, environment=place | meeting)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_ranks_launched_with_other_settings_all_stop_and_name_the_key(tmp_path: Path) -> None:
    port, folder = free_port(), f"hydra.run.dir={tmp_path}/run"
    ranks = [by_hand(0, port, folder), by_hand(1, port, folder, "norm.eps=0.5")]
    for status, _, errors in map(ended, ranks):
        assert status == 2 and "Traceback" not in errors
        assert "error: rank 1 has norm.eps=0.5, rank 0 has norm.eps=1e-05: give all the same line\n" in errors


def test_taken_port_is_told_in_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        status, _, errors = ended(by_hand(0, port, f"hydra.run.dir={tmp_path}/run"))
    assert status == 2 and "Traceback" not in errors, errors
    assert f"127.0.0.1:{port}, where the ranks meet, is taken: choose another MASTER_PORT" in errors


HOSTS = ("stylization-a", "stylization-b")


@pytest.fixture
def hosts() -> Iterator[tuple[str, str]]:
    """Two network namespaces joined by a cable: two hosts, as far as the network can tell."""

    def ip(words: str) -> bool:
        found = shutil.which("ip") is not None
        return found and subprocess.run(["ip", *words.split()], capture_output=True, check=False).returncode == 0

    first, second = HOSTS
    for host in HOSTS:
        ip(f"netns del {host}")
    steps = [f"netns add {first}", f"netns add {second}"]
    steps += [f"link add cable0 netns {first} type veth peer cable0 netns {second}"]
    for number, host in enumerate(HOSTS, start=1):
        steps += [f"-n {host} addr add 10.77.0.{number}/24 dev cable0"]
        steps += [f"-n {host} link set cable0 up", f"-n {host} link set lo up"]
    try:
        if not all(ip(step) for step in steps):
            pytest.skip("network namespaces need root and iproute2")
        yield HOSTS
    finally:
        for host in HOSTS:
            ip(f"netns del {host}")


@pytest.mark.slow
def test_two_hosts_train_one_run(hosts: tuple[str, str], tmp_path: Path) -> None:
    settings = (*SMALL, "trainer=nodes", *RANKS[1:], "trainer.max_steps=10")
    launched = [
        subprocess.Popen(
            [
                *("ip", "netns", "exec", host, sys.executable, "-m", "torch.distributed.run", "--nnodes=2"),
                *("--nproc-per-node=1", f"--node-rank={number}", "--master-addr=10.77.0.1", "--master-port=29533"),
                *(str(CONF.parent / "train.py"), *settings, f"hydra.run.dir={tmp_path}/run"),
            ],
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=CONF.parent,
            env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "cable0"},
        )
        for number, host in enumerate(hosts)
    ]
    for status, _, errors in map(ended, launched):
        assert status == 0, errors  # a run whose ranks end with different weights raises
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["ranks"], summary["batch_size_per_rank"], summary["images"]) == (2, 2, 40)
    assert [path.name for path in tmp_path.iterdir()] == ["run"] and len(curve(tmp_path / "run")) == 10


def test_sweep_goes_to_a_cluster_as_one_job_for_each_run(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    status, _, errors = ended(
        started(
            *("hydra/launcher=submitit_local", "norm=instance,batch", "trainer.max_steps=2"),
            *(f"hydra.sweep.dir={tmp_path}", "hydra.launcher.timeout_min=5", "-m"),
        )
    )
    assert status == 0, errors
    norms = {json.loads(path.read_text())["norm"] for path in tmp_path.rglob("summary.json")}
    assert norms == {"instance", "batch"}


@pytest.mark.parametrize(
    ("overrides", "environment", "told"),
    [
        (("trainer.num_nodes=2",), {}, "one process was launched: start the same line on every node"),
        ((), {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}, "and 2 were launched"),
        (("trainer=nodes",), {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}, "add hydra.run.dir="),
        (("trainer.devices=some",), {}, "trainer.devices=some: must be a whole number"),
        (("trainer=gpu", "trainer.devices=999"), {}, "trainer.devices=999 asks for 999 GPUs of this machine, it has"),
        pytest.param(
            *((*RANKS, "trainer.devices=3"), {}, "data.batch_size=4 does not divide by 3 ranks"), marks=pytest.mark.slow
        ),
    ],
)
def test_wrong_launches_are_told_in_one_line(
    tmp_path: Path, overrides: tuple[str, ...], environment: dict[str, str], told: str
) -> None:
    status, _, errors = ended(started(*overrides, environment=environment))
    assert status == 2, errors
    lines = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert lines and all(told in line for line in lines) and "Traceback" not in errors


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
