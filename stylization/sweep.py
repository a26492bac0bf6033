"""A W&B sweep file run on this machine: the commands that an agent would be given, without an account."""

import contextlib
import fcntl
import hashlib
import itertools
import json
import math
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NotRequired, cast

import yaml
from tqdm import tqdm
from typing_extensions import TypedDict

from stylization.errors import InputError, on_interruption, printable
from stylization.files import atomic_write
from stylization.launch import TRAIN, num_cores
from stylization.overrides import assigned, check_key, check_value, check_word
from stylization.runs import CHECKPOINTS, LAST, SUMMARY
from stylization.schema import check, read_json, read_text

KEYS = {"program", "method", "metric", "parameters", "command", "name", "description", "project", "entity", "run_cap"}
BEGUN = "sweep.json"  # what a sweep's folder was begun with
MAX_BYTES = 2**20  # of a sweep file
MAX_RUNS = 10_000


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
        fixed = [assigned(key, value) for key, value in self.fixed.items()]
        found: dict[str, list[str]] = {}
        for values in itertools.product(*self.vary.values()):
            varied = [assigned(key, value) for key, value in zip(self.vary, values, strict=True)]
            found[_folder_name(varied)] = [*self.words, *fixed, *varied]
        return found


def _folder_name(varied: Sequence[str]) -> str:
    """What a run is called: its overrides, as far as they can be a file's name."""
    name = ",".join(varied) or "run"
    plain = re.sub(r"[^A-Za-z0-9_=,.+@:-]", "-", name)
    if plain == name and len(name) <= 150:
        return name
    return f"{plain[:120]}-{hashlib.sha256(name.encode(errors='surrogatepass')).hexdigest()[:8]}"


def read(path: Path) -> Sweep:
    """The sweep in a W&B file. Raises `InputError` for what W&B would refuse, for methods that need its server, and for
    what no file may set: code to run, Hydra's own settings, interpolations."""
    try:
        written = yaml.safe_load(read_text(path, MAX_BYTES))
        _check_size(written)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} is no YAML file: {reason}") from None
    if not isinstance(written, dict):
        raise InputError(f"{path} is no sweep: it must have method and parameters")
    if unknown := sorted(map(str, written.keys() - KEYS)):
        raise InputError(f"{path}: unknown key '{unknown[0]}'; a sweep has {', '.join(sorted(KEYS))}")
    if written.get("method") != "grid":
        raise InputError(f"{path}: method '{written.get('method')}' needs W&B's server; here a grid can be run")
    if Path(str(written.get("program", TRAIN.name))).name != TRAIN.name:
        raise InputError(f"{path}: program '{written['program']}'; it must be {TRAIN.name}")
    parameters, command = written.get("parameters"), written.get("command", [])
    if not isinstance(parameters, dict) or not parameters:
        raise InputError(f"{path}: 'parameters' must name overrides of train.py, each with its values")
    if not isinstance(command, list):
        raise InputError(f"{path}: 'command' must be a list of words")
    words = tuple(str(word) for word in command if "=" in str(word))
    try:
        fixed, vary = _parameters(parameters)
        for word in words:
            check_word(word)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    if (num_runs := math.prod(map(len, vary.values()))) > MAX_RUNS:
        raise InputError(f"{path}: a grid of {num_runs} runs; at most {MAX_RUNS} are run")
    return Sweep(path.stem, printable(written.get("description", "")), fixed, vary, words)


def _parameters(parameters: Mapping[Any, Any]) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """The parameters that all runs share, and those that vary."""
    fixed, vary = {}, {}
    for name, parameter in parameters.items():
        key = str(name)
        check_key(key)
        given = parameter if isinstance(parameter, dict) else {}
        if given.keys() == {"value"}:
            fixed[key] = _number_or_same(given["value"])
            check_value(key, fixed[key])
        elif given.keys() == {"values"} and isinstance(given["values"], list) and given["values"]:
            vary[key] = [_number_or_same(value) for value in given["values"]]
            for value in vary[key]:
                check_value(key, value)
        else:
            raise InputError(f"parameter '{key}' must have value: <one> or values: [<some>], for a grid")
    return fixed, vary


def _number_or_same(value: Any) -> Any:
    """YAML 1.1 takes 1e-3 for a word; W&B hands it on as it is written, and Hydra takes it for a number."""
    return float(value) if isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value) else value


def _check_size(value: Any, left: int = 100_000, depth: int = 32) -> int:
    """Raise `ValueError` for a value from YAML that holds too much: aliases make a short file a huge one. How many
    more items may come is returned."""
    if left <= 0 or depth <= 0:
        raise ValueError("it holds too much, or is nested too deep")
    items = [*value.keys(), *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []
    for item in items:
        left = _check_size(item, left - 1, depth - 1)
    return left


class Begun(TypedDict):
    """What a sweep's folder was begun with."""

    description: NotRequired[str]
    fixed: dict[str, Any]
    vary: dict[str, list[Any]]


def read_begun(path: Path) -> Begun:
    """What is kept in a sweep's folder. Raises `InputError` if it is damaged."""
    begun = read_json(path)
    check(Begun, begun, str(path))
    return cast(Begun, begun)


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
                        tqdm.write(printable(f"failed: {name}, see {self.log(name)}"), file=sys.stderr)
                    bar.update()
        if self.stopped:
            print("stopped; the same line goes on", file=sys.stderr)
            raise SystemExit(130)
        return failed

    def command(self, name: str, overrides: list[str]) -> list[str]:
        """What is executed for a run: with the table instead of W&B, in the run's folder, from its checkpoint."""
        checkpoint = self.folder / name / CHECKPOINTS / LAST
        resume = [assigned("resume", str(checkpoint))] if checkpoint.exists() else []
        local = [word for word in overrides if not word.startswith("logger=")]
        folder = assigned("hydra.run.dir", str(self.folder / name))
        return [sys.executable, str(TRAIN), *local, "logger=csv", folder, *resume]

    def finished(self, name: str) -> bool:
        return (self.folder / name / SUMMARY).exists()

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
        path = self.folder / BEGUN
        if path.exists():
            begun = read_begun(path)
            for key in sorted(begun["fixed"].keys() | self.sweep.fixed.keys()):
                before, now = begun["fixed"].get(key), self.sweep.fixed.get(key)
                if before != now:
                    raise InputError(f"{self.folder} was begun with {key}={before}, now it is {now}: give --output")
        with atomic_write(path) as file:
            ours = {"fixed": self.sweep.fixed, "words": list(self.sweep.words)}
            about = {"description": self.sweep.description, "vary": self.sweep.vary}
            file.write(json.dumps(about | ours, indent=2).encode() + b"\n")
