"""What a person sees of a run while it goes, and what it leaves behind."""

import csv
import hashlib
import io
import json
import math
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.loggers import Logger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor
from tqdm import tqdm

from stylization import images, model_file
from stylization.content import Content
from stylization.content.stream import as_csv
from stylization.errors import InputError, written_whole
from stylization.launch import check_agreement, gathered, rank, requeue
from stylization.provenance import git_revision, versions
from stylization.training import Training, parameter_count


class Progress(ProgressBar):
    """One bar for the run, counting images: its rate is images/s, its estimate the whole run's."""

    def __init__(self) -> None:
        super().__init__()
        self.bar: tqdm[Any] | None = None

    def disable(self) -> None:
        self._enabled = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            per_step = _content(trainer).samples_per_step
            self.bar = tqdm(
                total=trainer.max_steps * per_step,
                initial=trainer.global_step * per_step,
                unit="img",
                desc="training",
                dynamic_ncols=True,
                mininterval=0.5,
            )

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.bar is not None:
            logged = trainer.callback_metrics
            terms = [f"{k} {logged[f'train/{k}']:.3g}" for k in ("content", "style") if f"train/{k}" in logged]
            self.bar.set_postfix_str(", ".join([f"step {trainer.global_step}", *terms]), refresh=False)
            self.bar.update(_content(trainer).batch_size)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._close()  # before the reason is told, on a line of its own

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._close()

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


class Metrics(Logger):
    """`metrics.csv`, a row for everything that is logged, on the disk at once; and `settings.json`, all settings.

    A run that goes on in its own folder, from a checkpoint, keeps the rows that were written before it: what it
    writes again takes the place of what was written after it.
    """

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.folder = Path(folder)
        self.path = self.folder / "metrics.csv"
        self.columns: list[str] = []
        self.rows: list[dict[str, Any]] = []  # until the first row is logged, those of the run this one goes on from
        if self.path.exists():
            with self.path.open(newline="") as file:
                self.rows = [row for row in csv.DictReader(file) if None not in row.values()]  # the last may be cut

    @property
    def name(self) -> str:
        return ""

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        with written_whole(self.folder / "settings.json") as file:
            file.write(json.dumps(params, indent=2).encode() + b"\n")

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        row = {"step": step, **metrics}
        if not self.columns:
            self.rows = [earlier for earlier in self.rows if int(earlier["step"]) < (step or 0)]
        self.rows.append(row)
        if set(row) <= set(self.columns):
            with self.path.open("a", newline="") as file:
                csv.DictWriter(file, self.columns).writerow(row)
            return
        self.columns = sorted({column for row in self.rows for column in row})
        with written_whole(self.path) as whole:
            text = io.TextIOWrapper(whole, newline="", write_through=True)
            writer = csv.DictWriter(text, self.columns)
            writer.writeheader()
            writer.writerows(self.rows)
            text.detach()


class ContactSheet(pl.Callback):
    """`samples/step_000200.png`: each held-out photograph beside its stylization, every so many steps."""

    def __init__(self, folder: str, every_n_steps: int) -> None:
        self.folder = Path(folder)
        self.every_n_steps = every_n_steps

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if trainer.is_global_zero and (step % self.every_n_steps == 0 or step == trainer.max_steps):
            content = images.to_float(_content(trainer).held_out).to(pl_module.device)
            path = self.folder / f"step_{step:06d}.png"
            images.save(images.sheet([content, in_eval_mode(pl_module, content)]), path)


class Signals(pl.Callback):
    """SIGTERM and SIGUSR1 end a run after the step they come in, the same one on all ranks, with a checkpoint of it.

    The exit status is 128 + the signal's number. SIGUSR1, which `sbatch --signal=SIGUSR1@120` sends two minutes before
    a job's time is over, also has SLURM queue it again. Takes the place of Lightning's handlers, which save and
    communicate inside the signal, wherever each rank happens to be, and save into the current folder.
    """

    def __init__(self, folder: str) -> None:
        self.checkpoint = Path(folder) / "checkpoints" / "last.ckpt"
        self.received = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, self._note)

    def _note(self, number: int, frame: Any) -> None:
        self.received = number

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        received = self.received
        if trainer.world_size > 1:  # any rank's
            latest = torch.tensor(received, device=pl_module.device)
            received = int(trainer.strategy.reduce(latest, reduce_op="max"))
        if received:
            trainer.save_checkpoint(self.checkpoint)
            if received == signal.SIGUSR1 and trainer.is_global_zero:
                requeue()
            raise SystemExit(128 + received)


class Skipped(pl.Callback):
    """`skipped.csv`: the damaged images that the stream met, each with its reason. The first is told at once.

    While a run goes they are those that rank 0 met, at its end those of all ranks.
    """

    def __init__(self, folder: str) -> None:
        self.path = Path(folder) / "skipped.csv"
        self.num_written = 0

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._write(trainer)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._write(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        data = _content(trainer)
        data.skips = sorted(skip for skips in gathered(data.skips) for skip in skips)
        self._write(trainer)

    def _write(self, trainer: pl.Trainer) -> None:
        skips = _content(trainer).skips
        if len(skips) == self.num_written or not trainer.is_global_zero:
            return
        if not self.num_written:
            tqdm.write(f"skipped {skips[0].detail} ({self.path} will name all such images)", file=sys.stderr)
        self.num_written = len(skips)
        with written_whole(self.path) as file:
            file.write(as_csv(skips))


class Summary(pl.Callback):
    """At the end of a run: the model file, and `summary.json` with the held-out terms before and after.

    Before is the untouched photograph: no content distance, all of the style distance.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.config: Mapping[str, Any] = {}
        self.choices: Mapping[str, str] = {}
        self.git: str | None = None
        self.started = 0.0
        self.first_step = 0
        self.initial_convolutions = ""
        self.facts: dict[str, Any] = {}

    def describe(self, config: Mapping[str, Any], choices: Mapping[str, str]) -> None:
        """Say which resolved configuration the run has, and the options its groups were composed from."""
        self.config, self.choices, self.git = config, choices, git_revision()

    def told(self) -> str:
        """The last lines of a run: the held-out terms before and after, and the picture to look at. None on the
        other ranks, and only where to go on if another limit than its steps ended the run."""
        if not self.facts:
            early = rank() == 0 and self.last.exists()
            return f"stopped before the last step; go on with resume={self.last}\n" if early else ""
        lines = [
            f"held out, {when:6s} " + "  ".join(f"{name} {value:.4f}" for name, value in self.facts[key].items())
            for when, key in (("before", "val_initial"), ("after", "val"))
        ]
        lines.append(f"model   {self.folder / model_file.FILE_NAME}")
        lines += [f"picture {path}" for path in sorted(self.folder.glob("samples/*.png"))[-1:]]
        return "\n".join(lines) + "\n"

    @property
    def last(self) -> Path:
        return self.folder / "checkpoints" / "last.ckpt"

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        check_agreement(self.config)
        weights = (p for p in pl_module.parameters() if p.requires_grad and p.ndim == 4)
        self.initial_convolutions = digest(weights)[:12]  # before a checkpoint is restored

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        stopped = isinstance(exception, (KeyboardInterrupt, SystemExit, InputError))
        if stopped and self.last.exists() and trainer.is_global_zero:
            print(f"stopped after step {trainer.global_step}; go on with resume={self.last}", file=sys.stderr)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.started, self.first_step = time.perf_counter(), trainer.global_step

    @torch.no_grad()
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._check_weights(pl_module)
        if trainer.global_step < trainer.max_steps or not trainer.is_global_zero:
            return  # interrupted: only a finished run looks finished
        assert isinstance(pl_module, Training)
        seconds = time.perf_counter() - self.started
        data = _content(trainer)
        content = images.to_float(data.held_out).to(pl_module.device)
        num_images = (trainer.global_step - self.first_step) * data.samples_per_step
        val = numbers(pl_module.evaluate(content, in_eval_mode(pl_module, content)))
        for name, value in val.items():
            if not math.isfinite(value):
                raise InputError(f"after the last step the held-out {name} is {value}: no model written")
        self.facts = {
            "style": self.config["style"]["name"],
            "norm": self.choices["norm"],
            "statistics": self.config["norm"].get("statistics", "none"),
            "generator": self.choices["generator"],
            "loss_network": self.choices["loss_network"],
            "objective": self.choices["objective"],
            "val": val,
            "val_initial": numbers(pl_module.evaluate(content, content)),
            "steps": trainer.global_step,
            "images": data.samples_seen,
            "seconds": round(seconds, 1),
            "images_per_second": round(num_images / seconds, 2),
            "parameters": parameter_count(pl_module.generator),
            "seed": self.config["seed"],
            "initial_convolutions": self.initial_convolutions,
            "held_out": data.held_out_names,
            "skipped": dict(Counter(skip.reason for skip in data.skips)),
            "ranks": trainer.world_size,
            "batch_size": data.batch_size,
            "batch_size_per_rank": data.batch_size // trainer.world_size,
            "norm_batch_size": self._norm_batch_size(data.batch_size, trainer.world_size),
            "device": str(pl_module.device),
            "threads": torch.get_num_threads(),
            "versions": versions(),
            "git": self.git,
        }
        architecture = {"generator": self.config["generator"], "norm": self.config["norm"]}
        model_file.write(self.folder / model_file.FILE_NAME, pl_module.generator, architecture, self.facts)
        with written_whole(self.folder / "summary.json") as file:
            file.write(json.dumps(self.facts, indent=2).encode() + b"\n")

    def _check_weights(self, module: pl.LightningModule) -> None:
        """Raise if the ranks have not all arrived at the same weights: then they did not train together."""
        if len(digests := set(gathered(digest(module.parameters())))) > 1:
            raise RuntimeError(f"the ranks have arrived at {len(digests)} different sets of weights")

    def _norm_batch_size(self, batch_size: int, num_ranks: int) -> int | None:
        """Over how many images a norm takes its statistics in training; None if there is none."""
        norm = self.config["norm"]
        if "train_statistics" not in norm:
            return None
        if norm["train_statistics"] == "instance":
            return 1
        return batch_size if norm["synchronized"] else batch_size // num_ranks


class Wandb(pl.Callback):
    """What W&B is told beside the terms: images/s, the contact sheets, and at the end the model file as an artifact
    and the final terms in the run's summary, by which a sweep can be sorted."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.shown: set[Path] = set()
        self.since = (0.0, 0)  # when, and at which step, images/s were last told

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.since = (time.perf_counter(), trainer.global_step)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step, logger = trainer.global_step, self._logger(trainer)
        if logger is None:
            return
        if step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            now, (before, first) = time.perf_counter(), self.since
            rate = (step - first) * _content(trainer).samples_per_step / (now - before)
            logger.log_metrics({"images_per_second": rate}, step - 1)
            self.since = (now, step)
        for path in sorted(set(self.folder.glob("samples/*.png")) - self.shown):
            logger.log_image("samples", [str(path)], step - 1)
            self.shown.add(path)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        logger, path = self._logger(trainer), self.folder / "summary.json"
        if logger is None or not path.exists():
            return
        import wandb

        summary = json.loads(path.read_text())
        terms = {f"final/{name}": value for name, value in summary["val"].items()}
        logger.experiment.summary.update({**terms, "parameters": summary["parameters"], "seconds": summary["seconds"]})
        artifact = wandb.Artifact(f"{summary['style']}-{summary['norm']}", "model", metadata=summary)
        artifact.add_file(str(self.folder / model_file.FILE_NAME))
        logger.experiment.log_artifact(artifact)

    def _logger(self, trainer: pl.Trainer) -> WandbLogger | None:
        found = (logger for logger in trainer.loggers if isinstance(logger, WandbLogger))
        return next(found, None) if trainer.is_global_zero else None


@torch.no_grad()
def in_eval_mode(module: pl.LightningModule, content: Tensor) -> Tensor:
    """The module's output in eval mode; the mode it was in is restored."""
    training = module.training
    module.eval()
    stylized: Tensor = module(content)
    module.train(training)
    return stylized


def digest(parameters: Iterable[Tensor]) -> str:
    """Of their values: equal weights, equal digests."""
    found = hashlib.sha256()
    for parameter in parameters:
        found.update(parameter.detach().float().cpu().numpy().tobytes())
    return found.hexdigest()


def numbers(terms: Mapping[str, Tensor]) -> dict[str, float]:
    return {name: value.item() for name, value in terms.items()}


def _content(trainer: pl.Trainer) -> Content:
    data = trainer.datamodule  # type: ignore[attr-defined]
    assert isinstance(data, Content)
    return data
