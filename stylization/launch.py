"""How the ranks of a run are started, counted and started again. Imports PyTorch only to start some."""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from stylization.errors import InputError

TRAIN = Path(__file__).resolve().parent.parent / "train.py"


def rank() -> int:
    """Of this process, as torchrun or srun numbered it; 0 where nobody did."""
    return _from_environment(0, "RANK", "SLURM_PROCID")


def num_launched() -> int:
    """How many processes torchrun or srun started together; 1 where neither did."""
    if "RANK" in os.environ:
        return _from_environment(1, "WORLD_SIZE")
    return _from_environment(1, "SLURM_STEP_NUM_TASKS")


def num_launched_here() -> int:
    """How many of them are on this machine."""
    nodes = _from_environment(1, "GROUP_WORLD_SIZE", "SLURM_STEP_NUM_NODES")
    return _from_environment(max(1, num_launched() // nodes), "LOCAL_WORLD_SIZE")


def num_nodes_launched() -> int:
    """On how many machines they are."""
    return max(1, num_launched() // num_launched_here())


def restarted() -> bool:
    """Whether torchrun or SLURM started this run before, and it did not finish."""
    return any(_from_environment(0, name) > 0 for name in ("TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT"))


def _from_environment(default: int, *names: str) -> int:
    value = next((os.environ[name] for name in names if name in os.environ), "")
    return int(value) if value.isdigit() else default


def num_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def num_wanted(trainer: Mapping[str, Any]) -> tuple[int, int]:
    """The nodes, and the devices of each, that a trainer's settings ask for. Raises `InputError` for no numbers."""
    nodes, devices = trainer.get("num_nodes", 1), trainer.get("devices", 1)
    if not isinstance(devices, int | str) and devices is not None:
        devices = len(devices)  # a list of devices
    if devices in ("auto", -1, "-1"):
        import torch

        devices = max(1, torch.cuda.device_count()) if trainer.get("accelerator") in ("gpu", "cuda", "auto") else 1
    for name, value in (("num_nodes", nodes), ("devices", devices)):
        if not str(value).isdigit() or int(value) < 1:
            raise InputError(f"trainer.{name}={value}: must be a whole number from 1")
    return int(nodes), int(devices)


def num_to_start(trainer: Mapping[str, Any], shares_folder: bool) -> int:
    """How many ranks this process must start; 0 if it is the only one, or one of those that were started.

    Raises `InputError` where what was launched, or what GPUs there are, is not what the settings ask for, or where
    ranks could not agree on a run folder.
    """
    nodes, devices = num_wanted(trainer)
    launched = num_launched()
    if launched == 1 and nodes > 1:
        raise InputError(
            f"trainer.num_nodes={nodes}, and one process was launched: start the same line on every node with "
            f"torchrun --nnodes={nodes} --nproc-per-node={devices} ..., or with srun (trainer=slurm)"
        )
    if launched not in (1, nodes * devices):
        raise InputError(
            f"trainer.num_nodes={nodes} x trainer.devices={devices} asks for {nodes * devices} processes, and "
            f"{launched} were launched: take trainer=nodes, which counts them, or launch as many"
        )
    if launched > 1 and not shares_folder:
        raise InputError(
            "ranks that were launched together need one run folder, which a clock cannot give them: "
            "add hydra.run.dir=outputs/<name>"
        )
    _check_gpus(trainer, devices)
    return devices if launched == 1 and devices > 1 else 0


def _check_gpus(trainer: Mapping[str, Any], devices: int) -> None:
    if trainer.get("accelerator") not in ("gpu", "cuda"):
        return
    import torch

    present = torch.cuda.device_count() or int(torch.backends.mps.is_available())
    if devices > present:
        raise InputError(
            f"trainer.devices={devices} asks for {devices} GPU{'s' * (devices > 1)} of this machine, it has {present}; "
            "on the CPU: trainer=cpu, or trainer=ddp trainer.accelerator=cpu trainer.precision=32-true"
        )


def run_ranks(num: int, arguments: Sequence[str], max_restarts: int) -> int:
    """Run train.py with these arguments as `num` ranks of this machine, and return their exit status.

    A rank that dies takes the others with it; with `max_restarts`, all start again from the last checkpoint.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)  # who failed and how, we say in one line
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, num_cores() // num)))
    # Ranks that start again must not find the addresses that the dead ones left in the launcher's store.
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=num,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=max_restarts,
        signals_to_handle="SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1",  # handed on to the ranks
    )
    try:
        elastic_launch(config, sys.executable)("-u", str(TRAIN), *arguments)
    except ChildFailedError as error:
        first, failure = min(error.failures.items(), key=lambda item: item[1].timestamp)
        if failure.exitcode < 0:
            name = signal.Signals(-failure.exitcode).name
            print(f"error: rank {first} was killed by {name}, the others were stopped", file=sys.stderr)
            return 128 - failure.exitcode
        return int(failure.exitcode)
    except SignalException as error:
        return 128 + int(error.sigval)
    return 0


def ddp(timeout_s: float) -> Any:
    """Lightning's strategy for several ranks, in which no rank waits longer than this for another.

    A rank that dies breaks its connections and is noticed at once; one whose machine has lost its power, or that
    hangs, only by this time.
    """
    from lightning.pytorch.strategies import DDPStrategy

    return DDPStrategy(timeout=timedelta(seconds=timeout_s))


def count_as_torchrun() -> None:
    """Have Lightning count the ranks that torchrun or `run_ranks` started, inside a SLURM job too, where it would
    count SLURM's tasks. Its documented way out is a job of this name."""
    if "RANK" in os.environ and "SLURM_JOB_ID" in os.environ:
        os.environ["SLURM_JOB_NAME"] = "interactive"


def requeue() -> None:
    """Have SLURM queue this job again. Does nothing outside SLURM."""
    job = "_".join(os.environ[name] for name in ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID") if name in os.environ)
    job = job or os.environ.get("SLURM_JOB_ID", "")
    if job and subprocess.run(["scontrol", "requeue", job], check=False).returncode:
        print(f"scontrol did not queue job {job} again", file=sys.stderr)


@contextlib.contextmanager
def others_lost_told() -> Iterator[None]:
    """Turn what the connections between ranks raise into an `InputError` of one line: that another rank is gone, or
    that the port where they meet is not free."""
    try:
        yield
    except RuntimeError as error:
        if "EADDRINUSE" in str(error):
            where = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
            raise InputError(f"{where}, where the ranks meet, is taken: choose another MASTER_PORT") from error
        if num_launched() == 1 or not any(sign in str(error) for sign in _LOST):
            raise
        raise InputError(f"rank {rank()} has lost another rank and stops") from error


_LOST = ("closed by peer", "reset by peer", "Broken pipe", "remote process exited", "Timed out", "timed out", "timeout")


def gathered(value: Any) -> list[Any]:
    """What each rank gave, in the order of ranks; every rank must ask."""
    import torch.distributed as dist

    if not dist.is_initialized() or dist.get_world_size() == 1:
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def check_agreement(config: Mapping[str, Any]) -> None:
    """Raise `InputError` on every rank, naming a rank and a setting, unless all ranks have the same settings."""
    first, *others = gathered(flat(config))
    for other, settings in enumerate(others, start=1):
        for key in sorted(first.keys() | settings.keys(), key=lambda key: (key.count("."), key)):
            ours, theirs = first.get(key), settings.get(key)
            if ours != theirs:
                raise InputError(f"rank {other} has {key}={theirs}, rank 0 has {key}={ours}: give all the same line")


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as {"optimizer.algorithm.lr": "0.008"}."""
    return {key: str(value) for key, value in leaves(config, prefix)}


def leaves(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested settings, each with its key ("optimizer.algorithm.lr", 0.008)."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
