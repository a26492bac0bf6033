"""Follow the gradient: the LightningModule, which wires the parts together and has no mathematics of its own."""

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.nn import Module
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from stylization.checkpoints import first_not_finite
from stylization.conditions import Condition, condition, conditional, mixed
from stylization.errors import InputError
from stylization.objective import Objective
from stylization.runs import SUMMARY

NEVER = 2**62
ADVICE = "stopped, the last checkpoint is kept. Lower optimizer.lr or trainer.gradient_clip_val"


class Training(pl.LightningModule):
    """A generator learning to repaint content photographs so that an objective falls.

    Logs the unweighted terms and their weighted total as `train/...` at every logged step and `val/...` on the
    held-out photographs. A conditional generator learns `styles`, the objective's, beside `styles_before` that it knows
    and that are in the first rows of its tables. Only the generator is in its state dict: the loss network is a ruler,
    not a result.
    """

    strict_loading = False

    def __init__(
        self,
        generator: Module,
        objective: Objective,
        optimizer: Callable[[Any], Optimizer],
        schedule: Callable[[Optimizer], LRScheduler],
        seed: int = 0,
        styles: Sequence[str] = (),
        styles_before: Sequence[str] = (),
    ) -> None:
        super().__init__()
        # Where the channels of a pixel lie together, convolutions and norms are faster, on processors and GPUs alike.
        self.generator = generator.to(memory_format=torch.channels_last)
        self.objective = objective.to(memory_format=torch.channels_last)
        self.make_optimizer = optimizer
        self.make_schedule = schedule
        self.seed = seed
        self.not_finite: dict[tuple[str, ...], Tensor] = {}
        self.asks = conditional(generator)
        self.styles = list(styles) if self.asks else []
        self.styles_before = list(styles_before)
        self.settings: Mapping[str, Any] = {}  # of the run, recorded in its checkpoints
        self.follows_settings = False  # on resume: rates and schedule of the settings, not of the checkpoint

    def forward(self, images: Tensor, wanted: Condition | None = None) -> Tensor:
        """Photographs (b, 3, h, w) in [0, 1] to their stylizations, of the same shape and range."""
        if wanted is not None:
            condition(self.generator, replace(wanted, mix=F.pad(wanted.mix, (len(self.styles_before), 0))))
        stylized: Tensor = self.generator(images.contiguous(memory_format=torch.channels_last))
        return stylized

    def training_step(self, content: Tensor, batch_idx: int) -> Tensor:
        terms = self.evaluate(content, wanted=self._drawn(len(content)))
        values = torch.stack([value.detach() for value in terms.values()])
        self._note(tuple(terms), values)
        if self._is_logged:  # of the whole batch, all ranks'
            values = self.trainer.strategy.reduce(values)
        self.log_dict({f"train/{name}": value for name, value in zip(terms, values, strict=True)})
        return terms["total"]

    @property
    def _is_logged(self) -> bool:
        """Whether this step is one of those that are logged: at others nothing waits for the device, or for ranks."""
        return (self.global_step + 1) % self.trainer.log_every_n_steps == 0  # type: ignore[attr-defined,no-any-return]

    def validation_step(self, content: Tensor, batch_idx: int) -> None:
        mean, by_style = self.held_out_terms(content)
        self.log_dict({f"val/{name}": value for name, value in mean.items()}, sync_dist=True)
        for style, terms in by_style.items():
            self.log_dict({f"val/{style}/{name}": value for name, value in terms.items()}, sync_dist=True)

    def evaluate(
        self, content: Tensor, stylized: Tensor | None = None, wanted: Condition | None = None
    ) -> dict[str, Tensor]:
        """The terms and their total for photographs and their stylizations (the generator's, unless given).

        Photographs that come in pairs carry the other's colours as channels 3, 4, 5: the generator does not see them.
        """
        stylized = self(content[:, :3], wanted) if stylized is None else stylized
        terms: dict[str, Tensor] = self.objective(stylized, content, wanted)
        return terms | {"total": self.objective.total(terms)}

    def held_out_terms(
        self, content: Tensor, untouched: bool = False
    ) -> tuple[dict[str, Tensor], dict[str, dict[str, Tensor]]]:
        """The terms of photographs, or of leaving them `untouched`: their mean over the styles, and those of each, by
        its name; of a generator of one style the terms and nothing else."""
        stylized = content if untouched else None
        if not self.styles:
            return self.evaluate(content, stylized), {}
        by_style = {name: self.evaluate(content, stylized, wanted) for name, wanted in self.conditions().items()}
        for terms in by_style.values():
            del terms["photograph"]  # at full strength there is none
        first = next(iter(by_style.values()))
        return {name: torch.stack([terms[name] for terms in by_style.values()]).mean() for name in first}, by_style

    def conditions(self) -> dict[str, Condition]:
        """Each style of a conditional generator, by its name."""
        return {name: Condition.of(mixed(name, self.styles)).to(self.device) for name in self.styles}

    def _drawn(self, num_images: int) -> Condition | None:
        """What each image of a step is to become: each style as often as any other."""
        if not self.styles:
            return None
        first = (self.global_step * self.trainer.world_size + self.global_rank) * num_images
        drawn = Condition.drawn(first, num_images, len(self.styles), self.asks[0].strength, self.asks[0].size)
        return drawn.to(self.device)

    def check(self, num_steps: int) -> None:
        """Raise `InputError` for an optimizer or schedule that cannot be built."""
        if num_steps < 1:
            raise InputError(f"trainer.max_steps={num_steps}: a run needs one step at least")
        try:
            self.configure_optimizers()
        except (TypeError, ValueError, ZeroDivisionError) as error:
            raise InputError(f"optimizer does not go with trainer.max_steps={num_steps}: {error}") from error

    def check_checkpoint(self, path: Path, saved: Mapping[str, Any], num_steps: int) -> None:
        """Raise `InputError` for the checkpoint of another network, or of a run that has no steps left to do."""
        shapes = {key: getattr(value, "shape", None) for key, value in saved["state_dict"].items()}
        if shapes != {key: value.shape for key, value in self.state_dict().items()}:
            raise InputError(f"resume={path}: the checkpoint of another generator or norm; give its run's settings")
        stopped_at_its_end = saved["global_step"] == num_steps and not (path.parent.parent / SUMMARY).exists()
        if saved["global_step"] >= num_steps and not stopped_at_its_end:
            raise InputError(f"resume={path}: that run has done {saved['global_step']} of {num_steps} steps already")

    def on_train_batch_start(self, batch: Tensor, batch_idx: int) -> None:
        # The pyramid's noise is a function of seed, step and rank, as the content is: a resumed run draws the same.
        torch.manual_seed((self.seed * 2**32 + self.global_step) * self.trainer.world_size + self.global_rank)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        norm = torch.nn.utils.get_total_norm(p.grad for p in self.generator.parameters() if p.grad is not None)
        if getattr(self.trainer.precision_plugin, "scaler", None) is None:  # it skips the steps that overflow
            self._note(("gradient",), norm[None])
        self.log("train/gradient_norm", norm)  # before it is clipped
        if self._is_logged:
            self._stop_if_not_finite()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._stop_if_not_finite()
        if name := first_not_finite(checkpoint):
            raise InputError(f"step {self.global_step}: {name} holds numbers that are not finite; {ADVICE}")
        checkpoint["settings"] = dict(self.settings)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if not self.follows_settings:
            return
        built = self.configure_optimizers()
        optimizer, schedule = built["optimizer"], built["lr_scheduler"]["scheduler"]
        optimizer.step()  # without gradients: changes nothing, and tells the schedule that there was a step
        for _ in range(checkpoint["global_step"]):
            schedule.step()
        checkpoint["optimizer_states"][0]["param_groups"] = optimizer.state_dict()["param_groups"]
        checkpoint["lr_schedulers"][0] = schedule.state_dict()

    def compile_parts(self) -> None:
        """Have torch.compile make kernels for generator and objective, in place: names and weights stay."""
        self.generator.compile()
        self.objective.compile()

    def configure_optimizers(self) -> Any:
        optimizer = self.make_optimizer(p for p in self.generator.parameters() if p.requires_grad)
        schedule = {"scheduler": self.make_schedule(optimizer), "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        state = super().state_dict(*args, **kwargs)
        return {key: value for key, value in state.items() if not key.startswith("objective.")}

    def _note(self, names: tuple[str, ...], values: Tensor) -> None:
        """Remember, on the device, the first step at which one of these was not finite: to look would be to wait."""
        steps = torch.where(torch.isfinite(values), NEVER, self.global_step)
        self.not_finite[names] = torch.minimum(self.not_finite.get(names, steps), steps)

    def _stop_if_not_finite(self) -> None:
        steps: dict[str, int] = {}
        for names, first in self.not_finite.items():
            steps |= zip(names, first.tolist(), strict=True)
        name = min(steps, key=steps.__getitem__, default=None)
        if name is not None and steps[name] < NEVER:
            what = "the gradient" if name == "gradient" else f"the {name} term"
            raise InputError(f"step {steps[name]}: {what} is not a finite number; {ADVICE}")


def parameter_count(module: Module) -> int:
    """The number of trainable scalars."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def quiet() -> None:
    """Keep Lightning from announcing itself: what this project has to say, its progress bar and last lines say."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")  # the samples need none
    warnings.filterwarnings("ignore", message=".*module.s. in eval mode at the start of training.*")  # the loss network
    warnings.filterwarnings(
        "ignore", message="Experiment logs directory .* exists and is not empty.*"
    )  # .hydra is there
    warnings.filterwarnings("ignore", message="The dirpath has changed from.*")  # a resumed run has a folder of its own
    warnings.filterwarnings("ignore", message=".*`isinstance.treespec, LeafSpec.` is deprecated.*")
