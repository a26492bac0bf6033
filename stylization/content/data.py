"""The content stream as Lightning loads it."""

from typing import Any, Literal

import lightning.pytorch as pl
import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from stylization import images
from stylization.content.sources import Part, Source, by_hash, first
from stylization.content.stream import (
    LEAST_PX,
    Batch,
    Endless,
    Sample,
    Skip,
    Squares,
    Stream,
    center_square,
    collated,
    counted,
    held_out,
    opened,
    stem,
)
from stylization.errors import Damaged, InputError


class Content(pl.LightningDataModule):
    """An endless stream of crops to train on, and a fixed batch of held-out photographs.

    Held out is `held_out_source`, or, with `num_held_out`, that many images of the source itself, which training then
    never sees. `num_images` trains on so many of the others. With `targets`, pictures of the same names, each crop
    comes with the same crop of its target, as three more channels. `cache` keeps the decoded centre squares,
    `cache_px` on a side, in this machine's memory ("ram") or in the training device's ("device").

    Batches leave the loader as uint8 and reach the model as float in [0, 1], converted on its device. `batch_size`
    counts the images of a step over all ranks. What is saved in a checkpoint is one integer, the number of samples
    the run has seen; it may be resumed with another number of ranks or workers.

    Damaged images are skipped and gathered in `skips`; a run in which they are more than `max_damaged_share` of the
    images tried, once `ENOUGH_TRIED` were, is stopped by an `InputError`.
    """

    ENOUGH_TRIED = 100

    def __init__(
        self,
        source: Source,
        held_out_source: Source,
        size_px: int,
        held_out_size_px: int,
        batch_size: int,
        seed: int,
        crop_area: tuple[float, float] = (0.1, 1.0),
        num_images: int | None = None,
        num_held_out: int = 0,
        targets: Source | None = None,
        cache: Literal["ram", "device"] | None = None,
        cache_px: int = 288,
        num_workers: int = 0,
        max_damaged_share: float = 0.1,
    ) -> None:
        super().__init__()
        for name, size in (("size_px", size_px), ("held_out_size_px", held_out_size_px)):
            if size < 16:
                raise InputError(f"data.{name}={size}: loss networks need 16 px at least")
        if batch_size < 1:
            raise InputError(f"data.batch_size={batch_size}: a step needs one image at least")
        if cache not in (None, "ram", "device"):
            raise InputError(f"data.cache={cache}: choose ram, device or null")
        if cache is not None and cache_px < size_px:
            raise InputError(f"data.cache_px={cache_px} is less than data.size_px={size_px}: crops would be enlarged")
        if targets is not None and cache is not None:
            raise InputError(f"data.cache={cache}: pairs are not kept, take data.cache=null")
        if num_held_out:
            source, held_out_source = divided(source, num_held_out)
        if targets is not None:
            source = paired(source, targets)
        self.stream = Stream(first(source, num_images, seed), size_px, seed, crop_area, targets=targets)
        self.held_out = held_out(held_out_source, held_out_size_px)
        self.held_out_names = [held_out_source.name(i) for i in range(len(held_out_source))]
        self.batch_size = batch_size
        self.cache, self.cache_px = cache, cache_px
        self.num_workers = num_workers
        self.max_damaged_share = max_damaged_share
        self.skips: list[Skip] = []
        self.num_samples = 0  # that this process has been handed
        self.samples_before = 0  # seen by the run before `steps_before`, the step this process starts from
        self.steps_before = 0

    @staticmethod
    def of(trainer: pl.Trainer) -> "Content":
        """The content stream that a trainer trains on."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(data, Content)
        return data

    def train_dataloader(self) -> DataLoader[Sample]:
        assert self.trainer is not None
        self.steps_before = self.trainer.global_step  # of the checkpoint, if the run was resumed
        rank, num_ranks = self.trainer.global_rank, self.trainer.world_size
        if self.batch_size % num_ranks:
            raise InputError(f"data.batch_size={self.batch_size} does not divide by {num_ranks} ranks")
        device = self.trainer.strategy.root_device
        if self.cache is not None:
            where = device if self.cache == "device" else None
            self.stream.squares = Squares(len(self.stream.source), self.cache_px, where)
        return DataLoader(
            self.stream,
            batch_size=self.batch_size // num_ranks,
            sampler=Endless(self.samples_before, rank, num_ranks),
            collate_fn=collated,
            num_workers=self.num_workers,
            pin_memory=device.type == "cuda",
            persistent_workers=self.num_workers > 0,
            prefetch_factor=4 if self.num_workers > 0 else None,
        )

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(TensorDataset(self.held_out), batch_size=len(self.held_out))

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Tensor:
        if not isinstance(batch, Batch):  # the held-out photographs
            return images.to_float(batch[0])
        self.num_samples += len(batch.images)
        self.skips += batch.skips
        self._stop_if_damaged()
        squares = self.stream.squares
        pixels = batch.pixels if squares is None or squares.on_host else squares.crops(batch, self.stream.size_px)
        return images.to_float(pixels.contiguous())  # planes, as the networks take them

    def _stop_if_damaged(self) -> None:
        num_tried = self.num_samples + len(self.skips)
        if num_tried >= self.ENOUGH_TRIED and len(self.skips) > self.max_damaged_share * num_tried:
            reasons = counted(skip.reason for skip in self.skips)
            raise InputError(
                f"{len(self.skips)} of {num_tried} images could not be used ({reasons}), more than "
                f"data.max_damaged_share={self.max_damaged_share:g}; skipped.csv names them"
            )

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


def paired(source: Source, targets: Source) -> Part:
    """Those images of the source that have a target of their name. Raises `InputError` if none has."""
    names = {stem(targets, i) for i in range(len(targets))}
    found = [i for i in range(len(source)) if stem(source, i) in names]
    if not found:
        raise InputError("data.targets: none has the name of a photograph of data.source (suffixes aside)")
    return Part(source, np.array(found))


def divided(source: Source, num_held_out: int) -> tuple[Source, Source]:
    """The source in two: what may be trained on, and for validation the first `num_held_out` sound ones `by_hash`."""
    if not 1 <= num_held_out < len(source):
        raise InputError(f"data.num_held_out={num_held_out}: of {len(source)} images some must be left to train on")
    order, chosen = by_hash(source), []
    for position, index in enumerate(order.tolist()):
        try:
            center_square(opened(source, index), LEAST_PX)
        except Damaged:
            continue
        chosen.append(position)
        if len(chosen) == num_held_out:
            return Part(source, np.delete(order, chosen)), Part(source, order[chosen])
    raise InputError(f"data.num_held_out={num_held_out}: only {len(chosen)} images of the source are sound")
