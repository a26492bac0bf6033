"""What a person sees of a run while it goes, and what it leaves behind."""

import json
import math
import signal
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor
from tqdm import tqdm

from stylization import images, model_file
from stylization.content import Content
from stylization.content.stream import as_csv
from stylization.errors import InputError, written_whole
from stylization.launch import check_agreement, rank
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


class Skipped(pl.Callback):
    """`skipped.csv`: the damaged images that the stream met, each with its reason. The first is told at once."""

    def __init__(self, folder: str) -> None:
        self.path = Path(folder) / "skipped.csv"
        self.num_written = 0

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._write(trainer)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
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

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        if isinstance(exception, SIGTERMException):  # the machine is wanted back: lose no step
            exception.code = 128 + signal.SIGTERM
            trainer.save_checkpoint(self.last)
        stopped = isinstance(exception, (KeyboardInterrupt, SIGTERMException, InputError))
        if stopped and self.last.exists() and trainer.is_global_zero:
            print(f"stopped after step {trainer.global_step}; go on with resume={self.last}", file=sys.stderr)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.started, self.first_step = time.perf_counter(), trainer.global_step

    @torch.no_grad()
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
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

    def _norm_batch_size(self, batch_size: int, num_ranks: int) -> int | None:
        """Over how many images a norm takes its statistics in training; None if there is none."""
        norm = self.config["norm"]
        if "train_statistics" not in norm:
            return None
        if norm["train_statistics"] == "instance":
            return 1
        return batch_size if norm["synchronized"] else batch_size // num_ranks


@torch.no_grad()
def in_eval_mode(module: pl.LightningModule, content: Tensor) -> Tensor:
    """The module's output in eval mode; the mode it was in is restored."""
    training = module.training
    module.eval()
    stylized: Tensor = module(content)
    module.train(training)
    return stylized


def numbers(terms: Mapping[str, Tensor]) -> dict[str, float]:
    return {name: value.item() for name, value in terms.items()}


def _content(trainer: pl.Trainer) -> Content:
    data = trainer.datamodule  # type: ignore[attr-defined]
    assert isinstance(data, Content)
    return data
