"""What a person sees of a run while it goes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ProgressBar
from torch import Tensor
from tqdm import tqdm

from stylization import images
from stylization.content import Content
from stylization.images import Cell
from stylization.training import Training


class Progress(ProgressBar):
    """One bar for the run, counting images: its rate is images/s, its estimate the whole run's."""

    def __init__(self) -> None:
        super().__init__()
        self.bar: tqdm[Any] | None = None

    def disable(self) -> None:
        self._enabled = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            per_step = Content.of(trainer).samples_per_step
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
            if trainer.global_step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
                logged = trainer.callback_metrics  # on the device: to read them is to wait for it
                terms = (f"{k} {logged[f'train/{k}']:.3g}" for k in ("content", "style") if f"train/{k}" in logged)
                self.bar.set_postfix_str(", ".join([f"step {trainer.global_step}", *terms]), refresh=False)
            self.bar.update(Content.of(trainer).batch_size)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._close()  # before the reason is told, on a line of its own

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._close()

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


class ContactSheet(pl.Callback):
    """`samples/step_000200.png`: each held-out photograph beside its stylizations, every so many steps."""

    def __init__(self, folder: str, every_n_steps: int) -> None:
        self.folder = Path(folder)
        self.every_n_steps = every_n_steps

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if trainer.is_global_zero and (step % self.every_n_steps == 0 or step == trainer.max_steps):
            content = images.to_float(Content.of(trainer).held_out).to(pl_module.device)
            path = self.folder / f"step_{step:06d}.png"
            with evaluating(pl_module):
                columns = [content, *stylized(pl_module, content)]
                rows = [[Cell("", images.to_picture(x)) for x in row] for row in zip(*columns, strict=True)]
                images.save(images.contact_sheet(rows), path)


def stylized(module: pl.LightningModule, content: Tensor) -> list[Tensor]:
    """What a generator makes of photographs; one of several styles, in each of them."""
    assert isinstance(module, Training)
    return [module(content, wanted) for wanted in module.conditions().values()] or [module(content)]


@contextmanager
def evaluating(module: pl.LightningModule) -> Iterator[None]:
    """Inside, a module is in eval mode and remembers no gradients; afterwards it is in the mode it was in."""
    training = module.training
    module.eval()
    with torch.no_grad():
        yield
    module.train(training)
