"""What a finished run leaves behind."""

import hashlib
import json
import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from stylization import images, model_file
from stylization.callbacks.progress import evaluating
from stylization.content import Content
from stylization.errors import InputError, tell
from stylization.files import atomic_write
from stylization.launch import check_agreement, gathered, rank
from stylization.provenance import git_revision, versions
from stylization.runs import MODEL, SUMMARY
from stylization.training import Training, parameter_count


class Summary(pl.Callback):
    """At the end of a run: the model file, and `summary.json` with the held-out terms before and after.

    Before is the untouched photograph: no content distance, all of the style distance.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.config: Mapping[str, Any] = {}
        self.choices: Mapping[str, str] = {}
        self.before: Mapping[str, Any] = {}
        self.git: str | None = None
        self.started = time.perf_counter()
        self.seconds_before = 0.0
        self.first_step = 0
        self.initial_convolutions = ""
        self.facts: dict[str, Any] = {}

    def describe(
        self, config: Mapping[str, Any], choices: Mapping[str, str], before: Mapping[str, Any] | None = None
    ) -> None:
        """Say which resolved configuration the run has, the options its groups were composed from, and the facts of
        the model that it began with."""
        self.config, self.choices, self.before, self.git = config, choices, before or {}, git_revision()

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
        lines.append(f"model   {self.folder / MODEL}")
        lines += [f"picture {path}" for path in sorted(self.folder.glob("samples/*.png"))[-1:]]
        return "\n".join(lines) + "\n"

    @property
    def last(self) -> Path:
        return self.folder / "checkpoints" / "last.ckpt"

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.started = time.perf_counter()
        check_agreement(self.config)
        weights = (p for p in pl_module.parameters() if p.requires_grad and p.ndim == 4)
        self.initial_convolutions = digest(weights)[:12]  # before a checkpoint is restored

    def state_dict(self) -> dict[str, float]:
        """Seconds of training up to this checkpoint: a resumed run reports the time of all its parts."""
        return {"seconds": self.seconds_before + time.perf_counter() - self.started}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        self.seconds_before = state_dict["seconds"]

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        stopped = isinstance(exception, (KeyboardInterrupt, SystemExit, InputError))
        if stopped and self.last.exists() and trainer.is_global_zero:
            tell(f"stopped after step {trainer.global_step}; go on with resume={self.last}")

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.started, self.first_step = time.perf_counter(), trainer.global_step

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._check_weights(pl_module)
        self.finish(trainer, pl_module)

    @torch.no_grad()
    def finish(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the model and the summary, if the run has done all its steps and this is rank 0."""
        if trainer.global_step < trainer.max_steps or not trainer.is_global_zero:
            return  # interrupted: only a finished run looks finished
        assert isinstance(pl_module, Training)
        seconds = time.perf_counter() - self.started
        data = Content.of(trainer)
        content = images.to_float(data.held_out).to(pl_module.device)
        num_images = (trainer.global_step - self.first_step) * data.samples_per_step
        with evaluating(pl_module):
            val, val_by_style = (numbers(terms) for terms in pl_module.held_out_terms(content))
            untouched = pl_module.held_out_terms(content, untouched=True)
            initial, initial_by_style = (numbers(terms) for terms in untouched)
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
            "val_initial": initial,
            "steps": trainer.global_step,
            "images": data.samples_seen,
            "seconds": round(self.seconds_before + seconds, 1),
            "images_per_second": round(num_images / seconds, 2),
            "parameters": parameter_count(pl_module.generator),
            "seed": self.config["seed"],
            "initial_convolutions": self.initial_convolutions,
            "photographs": {"num": len(data.stream.source), "size_px": data.stream.size_px},
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
        if pl_module.styles:
            self.facts["styles"] = pl_module.styles_before + pl_module.styles
            for name, by_style in (("val_by_style", val_by_style), ("val_initial_by_style", initial_by_style)):
                self.facts[name] = {**self.before.get(name, {}), **by_style}
        architecture = {"generator": self.config["generator"], "norm": self.config["norm"]}
        model_file.write(self.folder / MODEL, pl_module.generator, architecture, self.facts)
        with atomic_write(self.folder / SUMMARY) as file:
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


def numbers(terms: Mapping[str, Any]) -> dict[str, Any]:
    """Terms, or terms by style, as numbers."""
    return {name: value.item() if isinstance(value, Tensor) else numbers(value) for name, value in terms.items()}


def digest(parameters: Iterable[Tensor]) -> str:
    """Of their values: equal weights, equal digests."""
    found = hashlib.sha256()
    for parameter in parameters:
        found.update(parameter.detach().float().cpu().numpy().tobytes())
    return found.hexdigest()
