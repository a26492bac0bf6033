"""The tables that a run fills in its folder."""

import csv
import io
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only
from tqdm import tqdm

from stylization.content import Content
from stylization.content.stream import as_csv
from stylization.errors import printable
from stylization.files import atomic_write
from stylization.launch import gathered
from stylization.runs import METRICS, SETTINGS


class Metrics(Logger):
    """`metrics.csv`, a row for everything that is logged, on the disk at once; and `settings.json`, all settings.

    A run that goes on in its own folder, from a checkpoint, keeps the rows that were written before it: what it
    writes again takes the place of what was written after it.
    """

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.folder = Path(folder)
        self.path = self.folder / METRICS
        self.columns: list[str] = []
        self.rows: list[dict[str, Any]] = []  # until the first row is logged, those of the run this one goes on from
        if self.path.exists():
            lines = self.path.read_text().splitlines(keepends=True)
            whole = (line for line in lines if line.endswith("\n"))  # the last may be cut
            self.rows = [row for row in csv.DictReader(whole) if None not in row.values()]

    @property
    def name(self) -> str:
        return ""

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        with atomic_write(self.folder / SETTINGS) as file:
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
        with atomic_write(self.path) as whole:
            text = io.TextIOWrapper(whole, newline="", write_through=True)
            writer = csv.DictWriter(text, self.columns)
            writer.writeheader()
            writer.writerows(self.rows)
            text.detach()


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
        data = Content.of(trainer)
        data.skips = sorted(skip for skips in gathered(data.skips) for skip in skips)
        self._write(trainer)

    def _write(self, trainer: pl.Trainer) -> None:
        skips = Content.of(trainer).skips
        if len(skips) == self.num_written or not trainer.is_global_zero:
            return
        if not self.num_written:
            tqdm.write(printable(f"skipped {skips[0].detail} ({self.path} will name all such images)"), file=sys.stderr)
        self.num_written = len(skips)
        with atomic_write(self.path) as file:
            file.write(as_csv(skips))
