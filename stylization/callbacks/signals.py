"""How a run ends when its machine is wanted back."""

import signal
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from stylization.launch import requeue


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
        if received and trainer.global_step < trainer.max_steps:  # the last step's end is near enough
            trainer.save_checkpoint(self.checkpoint)
            if received == signal.SIGUSR1 and trainer.is_global_zero:
                requeue()
            raise SystemExit(128 + received)
