"""The content stream as Lightning loads it."""

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from stylization import images
from stylization.content.sources import Source
from stylization.content.stream import Endless, Stream, held_out
from stylization.errors import InputError


class Content(pl.LightningDataModule):
    """An endless stream of crops to train on, and a fixed batch of held-out photographs.

    Batches leave the loader as uint8 and reach the model as float in [0, 1], converted on its device. `batch_size`
    counts the images of a step over all ranks. What is saved in a checkpoint is one integer, the number of samples
    the run has seen; it may be resumed with another number of ranks or workers.
    """

    def __init__(
        self,
        source: Source,
        held_out_source: Source,
        size_px: int,
        held_out_size_px: int,
        batch_size: int,
        seed: int,
        crop_area: tuple[float, float] = (0.1, 1.0),
        cached: bool = False,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        for name, size in (("size_px", size_px), ("held_out_size_px", held_out_size_px)):
            if size < 16:
                raise InputError(f"data.{name}={size}: loss networks need 16 px at least")
        if batch_size < 1:
            raise InputError(f"data.batch_size={batch_size}: a step needs one image at least")
        self.stream = Stream(source, size_px, seed, crop_area, cached)
        self.held_out = held_out(held_out_source, held_out_size_px)
        self.held_out_names = [held_out_source.name(i) for i in range(len(held_out_source))]
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.samples_before = 0  # seen by the run before `steps_before`, the step this process starts from
        self.steps_before = 0

    def train_dataloader(self) -> DataLoader[Tensor]:
        assert self.trainer is not None
        self.steps_before = self.trainer.global_step  # of the checkpoint, if the run was resumed
        rank, num_ranks = self.trainer.global_rank, self.trainer.world_size
        if self.batch_size % num_ranks:
            raise InputError(f"data.batch_size={self.batch_size} does not divide by {num_ranks} ranks")
        return DataLoader(
            self.stream,
            batch_size=self.batch_size // num_ranks,
            sampler=Endless(self.samples_before, rank, num_ranks),
            num_workers=self.num_workers,
            pin_memory=self.trainer.strategy.root_device.type == "cuda",
            persistent_workers=self.num_workers > 0,
        )

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(TensorDataset(self.held_out), batch_size=len(self.held_out))

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Tensor:
        pixels = batch if isinstance(batch, torch.Tensor) else batch[0]
        return images.to_float(pixels)

    @property
    def samples_per_step(self) -> int:
        """Images per optimizer step: those of a batch, or of several where gradients are accumulated."""
        assert self.trainer is not None
        return self.batch_size * self.trainer.accumulate_grad_batches

    @property
    def samples_seen(self) -> int:
        """Images of this run that have been trained on, before it was resumed too."""
        assert self.trainer is not None
        steps = self.trainer.global_step
        return self.samples_before + (steps - self.steps_before) * self.samples_per_step

    def state_dict(self) -> dict[str, int]:
        return {"samples_seen": self.samples_seen}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self.samples_before = state_dict["samples_seen"]
