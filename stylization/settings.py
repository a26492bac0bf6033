"""Types and ranges of the settings of a run, checked in one place before PyTorch is loaded.

What an option alone can know (names of layers, of paddings, sizes that divide) its constructor checks.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stylization.errors import InputError
from stylization.launch import leaves

MOST_PIXELS = 2**28  # of the crops of a step


@dataclass(frozen=True, kw_only=True)
class Rule(ABC):
    """What a setting may be; also null if it is `optional`, or one of some `words`."""

    optional: bool = False
    words: tuple[str, ...] = ()

    @abstractmethod
    def accepts(self, value: Any) -> bool: ...


@dataclass(frozen=True)
class Whole(Rule):
    """A whole number in a range."""

    least: int
    most: int

    def accepts(self, value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and self.least <= value <= self.most

    def __str__(self) -> str:
        return f"a whole number from {self.least} to {self.most}"


@dataclass(frozen=True)
class Number(Rule):
    """A finite number from `least` (or above it) to `most`."""

    least: float = 0.0
    most: float = math.inf
    above: bool = False

    def accepts(self, value: Any) -> bool:
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            return False
        return self.least <= value <= self.most and not (self.above and value == self.least)

    def __str__(self) -> str:
        most = f" up to {self.most:g}" if math.isfinite(self.most) else ""
        return f"a finite number {'above' if self.above else 'from'} {self.least:g}{most}"


@dataclass(frozen=True)
class Flag(Rule):
    """true or false."""

    def accepts(self, value: Any) -> bool:
        return isinstance(value, bool)

    def __str__(self) -> str:
        return "true or false"


@dataclass(frozen=True)
class Word(Rule):
    """Text, e.g. a name or a path."""

    def accepts(self, value: Any) -> bool:
        return isinstance(value, str) and value != "" and "\0" not in value

    def __str__(self) -> str:
        return "a word or path"


@dataclass(frozen=True)
class Words(Rule):
    """A list of words."""

    def accepts(self, value: Any) -> bool:
        return isinstance(value, list) and bool(value) and all(Word().accepts(word) for word in value)

    def __str__(self) -> str:
        return "a list of words, e.g. [first,second]"


@dataclass(frozen=True)
class Range(Rule):
    """Two numbers 0 < low <= high <= 1."""

    def accepts(self, value: Any) -> bool:
        share = Number(most=1, above=True)
        return isinstance(value, list) and len(value) == 2 and all(map(share.accepts, value)) and value[0] <= value[1]

    def __str__(self) -> str:
        return "two shares 0 < low <= high <= 1, e.g. [0.1,1.0]"


SEED, SIDE, COUNT, RATE = Whole(0, 2**32 - 1), Whole(16, 8192), Whole(1, 10**9), Number(above=True)

RULES: dict[str, Rule] = {  # "*" is any name
    "seed": SEED,
    "resume": Word(optional=True),
    "resume_anyway": Flag(),
    "model": Word(optional=True),
    "max_restarts": Whole(0, 1000),
    "generator.width": Whole(1, 1024),
    "generator.num_blocks": Whole(1, 100),
    "generator.num_scales": Whole(1, 10),
    "generator.num_noise": Whole(0, 1024),
    "generator.padding": Word(),
    "generator.upsampling": Word(),
    "generator.input_norm": Flag(),
    "norm.channels_per_group": Whole(1, 65536, words=("all",)),
    "norm.train_statistics": Word(),
    "norm.statistics": Word(),
    "norm.affine": Flag(),
    "norm.synchronized": Flag(),
    "norm.strength": Flag(),
    "norm.size": Flag(),
    "norm.num_styles": Whole(1, 10000),
    "norm.eps": Number(most=1, above=True),
    "norm.momentum": Number(most=1),
    "norm.gamma": Word(),
    "data.*.path": Word(),
    "data.*.cache_gb": Number(),
    "data.*.patience_s": Number(),
    "data.num_images": Whole(1, 10**12, optional=True),
    "data.num_held_out": Whole(0, 10**6),
    "data.size_px": SIDE,
    "data.held_out_size_px": SIDE,
    "data.cache_px": SIDE,
    "data.cache": Word(optional=True),
    "data.batch_size": Whole(1, 65536),
    "data.seed": SEED,
    "data.crop_area": Range(),
    "data.num_workers": Whole(0, 512),
    "data.max_damaged_share": Number(most=1),
    "loss_network.weights": Word(optional=True),
    "objective.units": Word(),
    "objective.content_layers": Words(),
    "objective.style_layers": Words(),
    "objective.weights": Number(),  # a number where the weights should be
    "objective.weights.*": Number(),
    "style.name": Word(),
    "style.names": Words(),
    "style.image": Word(),
    "style.size_px": SIDE,
    "optimizer.lr": RATE,
    "optimizer.lr_batch_size": RATE,
    "optimizer.lr_scaling": Word(),
    "optimizer.algorithm.lr": RATE,
    "optimizer.schedule.max_lr": RATE,
    "optimizer.schedule.total_steps": COUNT,
    "optimizer.schedule.pct_start": Number(most=1),
    "optimizer.schedule.cycle_momentum": Flag(),
    "optimizer.schedule.factor": Number(most=1, above=True),
    "optimizer.schedule.step_size": COUNT,
    "optimizer.schedule.gamma": Number(most=1, above=True),
    "trainer.accelerator": Word(),
    "trainer.precision": Word(),
    "trainer.max_steps": COUNT,
    "trainer.gradient_clip_val": Number(optional=True),
    "trainer.val_check_interval": COUNT,
    "trainer.check_val_every_n_epoch": Whole(1, 1, optional=True),
    "trainer.log_every_n_steps": COUNT,
    "trainer.num_sanity_val_steps": Whole(0, 10**6),
    "trainer.accumulate_grad_batches": Whole(1, 10**6),
    "trainer.use_distributed_sampler": Flag(),
    "trainer.enable_model_summary": Flag(),
    "trainer.deterministic": Flag(words=("warn",)),
    "trainer.profile": Flag(),
    "trainer.compile": Flag(),
    "trainer.default_root_dir": Word(),
    "trainer.strategy.timeout_s": Number(most=10**7, above=True),
    "callbacks.contact_sheet.every_n_steps": COUNT,
    "callbacks.checkpoint.every_n_train_steps": COUNT,
    "callbacks.checkpoint.save_top_k": Whole(-1, 10**6),
    "callbacks.checkpoint.save_last": Flag(),
    "callbacks.checkpoint.filename": Word(),
    "callbacks.*.folder": Word(),
    "callbacks.checkpoint.dirpath": Word(),
    "logger.*.project": Word(),
    "logger.*.offline": Flag(),
}


def check(settings: Mapping[str, Any]) -> None:
    """Raise `InputError` for the first setting, the least nested first, of a wrong type or out of its range.

    Interpolations that are not resolved yet are not checked.
    """
    for key, value in sorted(leaves(settings), key=lambda leaf: (leaf[0].count("."), leaf[0])):
        rule = _rule(key)
        if rule is None or (isinstance(value, str) and "${" in value):
            continue
        if rule.accepts(value) or (value is None and rule.optional) or (value in rule.words):
            continue
        words = "".join(f" or {word}" for word in (*rule.words, *(["null"] if rule.optional else [])))
        raise InputError(f"{key}={_shown(value)}: not accepted; give {rule}{words}")


def check_size(batch_size: int, size_px: int) -> None:
    """Raise `InputError` for a step of more pixels than any machine holds."""
    if batch_size * size_px**2 > MOST_PIXELS:
        raise InputError(
            f"data.batch_size={batch_size}: with data.size_px={size_px} a step has more than {MOST_PIXELS} pixels; "
            f"give at most {MOST_PIXELS // size_px**2}"
        )


def _rule(key: str) -> Rule | None:
    """The rule of a setting: that of its name, or of its name with the last or last but one part replaced by "*"."""
    group, _, last = key.rpartition(".")
    names = (key, f"{group}.*", f"{group.rpartition('.')[0]}.*.{last}")
    return next((RULES[name] for name in names if name in RULES), None)


def _shown(value: Any) -> str:
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 100 else text[:100] + "..."
