"""A W&B sweep file run on this machine: the commands that an agent would be given, without an account."""

import contextlib
import fcntl
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

from stylization.errors import InputError, on_interruption, written_whole
from stylization.launch import TRAIN, num_cores

KEYS = {"program", "method", "metric", "parameters", "command", "name", "description", "project", "entity", "run_cap"}
BEGUN = "sweep.json"  # what a sweep's folder was begun with


@dataclass(frozen=True)
class Sweep:
    """A question to a grid of runs: `fixed` overrides that all share, and those that `vary`, each with its values."""

    name: str
    description: str
    fixed: Mapping[str, Any]
    vary: Mapping[str, list[Any]]
    words: tuple[str, ...] = ()  # of the command, after train.py and beside the parameters

    def runs(self) -> dict[str, list[str]]:
        """The overrides of each run, by its name ("norm=batch,seed=0"), the last parameter varying fastest."""
        found = {}
        for values in itertools.product(*self.vary.values()):
            varied = [f"{key}={value}" for key, value in zip(self.vary, values, strict=True)]
            name = ",".join(part.replace("/", "-") for part in varied) or "run"
            found[name] = [*self.words, *(f"{key}={value}" for key, value in self.fixed.items()), *varied]
        return found


def read(path: Path) -> Sweep:
    """The sweep in a W&B file. Raises `InputError` for what W&B would refuse, and for methods that need its server."""
    try:
        written = yaml.safe_load(path.read_text())
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no YAML file: {' '.join(str(error).split())}") from None
    if not isinstance(written, dict):
        raise InputError(f"{path} is no sweep: it must have method and parameters")
    if unknown := sorted(map(str, written.keys() - KEYS)):
        raise InputError(f"{path}: unknown key '{unknown[0]}'; a sweep has {', '.join(sorted(KEYS))}")
    if written.get("method") != "grid":
        raise InputError(f"{path}: method '{written.get('method')}' needs W&B's server; here a grid can be run")
    if Path(str(written.get("program", TRAIN.name))).name != TRAIN.name:
        raise InputError(f"{path}: program '{written['program']}'; it must be {TRAIN.name}")
    parameters = written.get("parameters")
    if not isinstance(parameters, dict) or not parameters:
        raise InputError(f"{path}: 'parameters' must name overrides of train.py, each with its values")
    fixed, vary = {}, {}
    for key, parameter in parameters.items():
        given = parameter if isinstance(parameter, dict) else {}
        if given.keys() == {"value"}:
            fixed[str(key)] = given["value"]
        elif given.keys() == {"values"} and isinstance(given["values"], list) and given["values"]:
            vary[str(key)] = given["values"]
        else:
            raise InputError(f"{path}: parameter '{key}' must have value: <one> or values: [<some>], for a grid")
    words = tuple(str(word) for word in written.get("command", []) if "=" in str(word))
    return Sweep(path.stem, str(written.get("description", "")), fixed, vary, words)


@dataclass
class Local:
    """The runs of a sweep, each in a folder of its own below `folder`, several at once.

    What has finished is left alone, what was interrupted goes on from its checkpoint: a sweep that was stopped is
    started again by the same line. A run that fails leaves its output in `<name>.log`; the others go on.
    """

    sweep: Sweep
    folder: Path
    num_jobs: int
    processes: set[subprocess.Popen[bytes]] = field(default_factory=set)
    stopped: bool = False

    def run(self) -> list[str]:
        """Run what has not finished; the names of the runs that failed."""
        runs = self.sweep.runs()
        with self._alone():
            self._check_begun()
            left = [name for name in runs if not self.finished(name)]
            with (
                tqdm(total=len(runs), initial=len(runs) - len(left), unit="run", desc=self.sweep.name) as bar,
                ThreadPoolExecutor(self.num_jobs) as pool,
                self._stopping(),
            ):
                waiting = {pool.submit(self._one, name, runs[name]): name for name in left}
                failed = []
                for future, name in waiting.items():
                    if not future.result() and not self.stopped:
                        failed.append(name)
                        tqdm.write(f"failed: {name}, see {self.log(name)}", file=sys.stderr)
                    bar.update()
        if self.stopped:
            print("stopped; the same line goes on", file=sys.stderr)
            raise SystemExit(130)
        return failed

    def command(self, name: str, overrides: list[str]) -> list[str]:
        """What is executed for a run: with the table instead of W&B, in the run's folder, from its checkpoint."""
        checkpoint = self.folder / name / "checkpoints" / "last.ckpt"
        resume = [f"resume='{checkpoint}'"] if checkpoint.exists() else []
        local = [word for word in overrides if not word.startswith("logger=")]
        return [sys.executable, str(TRAIN), *local, "logger=csv", f"hydra.run.dir='{self.folder / name}'", *resume]

    def finished(self, name: str) -> bool:
        return (self.folder / name / "summary.json").exists()

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def _one(self, name: str, overrides: list[str]) -> bool:
        if self.stopped:
            return False
        threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, num_cores() // self.num_jobs))
        with self.log(name).open("ab") as log:
            process = subprocess.Popen(
                self.command(name, overrides),
                stdout=log,
                stderr=log,
                env={**os.environ, "OMP_NUM_THREADS": threads},
                start_new_session=True,  # Ctrl-C is for us, who then let the runs save a checkpoint
            )
            self.processes.add(process)
            if self.stopped:  # in the meantime
                process.send_signal(signal.SIGTERM)
            process.wait()
            self.processes.discard(process)
        return self.finished(name)

    @contextlib.contextmanager
    def _stopping(self) -> Iterator[None]:
        """Have Ctrl-C and SIGTERM let the running runs save a checkpoint and end, and start no more."""

        def stop(number: int, frame: Any) -> None:
            self.stopped = True
            for process in list(self.processes):
                process.send_signal(signal.SIGTERM)

        with on_interruption(stop):
            yield

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the folder, that no other sweep runs the same runs."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(f"another sweep is running in {self.folder}: wait for it, or give --output") from None
            yield

    def _check_begun(self) -> None:
        """A folder belongs to one set of fixed overrides: its runs are to be compared."""
        path, ours = self.folder / BEGUN, {"fixed": self.sweep.fixed, "words": list(self.sweep.words)}
        if path.exists():
            begun = json.loads(path.read_text())
            for key in sorted(begun["fixed"].keys() | ours["fixed"].keys()):  # type: ignore[attr-defined]
                before, now = begun["fixed"].get(key), self.sweep.fixed.get(key)
                if before != now:
                    raise InputError(f"{self.folder} was begun with {key}={before}, now it is {now}: give --output")
        with written_whole(path) as file:
            about = {"description": self.sweep.description, "vary": self.sweep.vary}
            file.write(json.dumps(about | ours, indent=2).encode() + b"\n")
