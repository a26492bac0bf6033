"""What Weights & Biases is told."""

import json
import re
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.loggers import WandbLogger

from stylization.content import Content
from stylization.runs import MODEL, SUMMARY


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
            rate = (step - first) * Content.of(trainer).samples_per_step / (now - before)
            logger.log_metrics({"images_per_second": rate}, step - 1)
            self.since = (now, step)
        for path in sorted(set(self.folder.glob("samples/*.png")) - self.shown):
            logger.log_image("samples", [str(path)], step - 1)
            self.shown.add(path)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        logger, path = self._logger(trainer), self.folder / SUMMARY
        if logger is None or not path.exists():
            return
        import wandb

        summary = json.loads(path.read_text())
        terms = {f"final/{name}": value for name, value in summary["val"].items()}
        logger.experiment.summary.update({**terms, "parameters": summary["parameters"], "seconds": summary["seconds"]})
        artifact = wandb.Artifact(artifact_name(summary["style"], summary["norm"]), "model", metadata=summary)
        artifact.add_file(str(self.folder / MODEL))
        logger.experiment.log_artifact(artifact)

    def _logger(self, trainer: pl.Trainer) -> WandbLogger | None:
        found = (logger for logger in trainer.loggers if isinstance(logger, WandbLogger))
        return next(found, None) if trainer.is_global_zero else None


def artifact_name(style: str, norm: str) -> str:
    """A name that W&B accepts: at most 128 letters of ASCII, digits, dots, dashes and underscores."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", f"{style[:100]}-{norm}")
