"""Where the time of a training step goes."""

from __future__ import annotations

import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.profilers import Profiler
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from stylization.files import atomic_write
from stylization.normalization import norms
from stylization.training import Training

# Lightning tells by such names what it is about to do.
PHASES = {
    "dataloader_next": "waiting for data",
    "training_step": "other terms",
    "backward": "loss network, backward",  # until its gradient arrives at the stylization
    "optimizer_step": "optimizer",
    "run_training_batch": "the trainer itself",
}
OTHER = "logging and callbacks"
FIRST, LAST_TIMED, LAST_TRACED = 5, 25, 28  # steps: the first warm up, the last are slowed down by the trace


class Profile(Profiler):
    """For `trainer.profile=true`: times the phases of steps 5 to 24 and traces the three that follow.

    Leaves `profile.md`, a table of seconds a step, and `trace.json`, for chrome://tracing or Perfetto, in the run's
    folder, and prints the table. A phase's time is its own, without those inside it. On a GPU every phase is waited
    for, so that a profiled step takes longer than another.
    """

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.folder, self.step = Path(folder), -1
        self.seconds: dict[str, float] = defaultdict(float)
        self.num_timed, self.since = 0, 0.0
        self.running: list[str] = []
        self.hooks: list[RemovableHandle] = []
        self.tracer: Any = None
        self.trainer: pl.Trainer | None = None

    def start(self, action_name: str) -> None:
        if action_name == "run_training_batch":
            self._next_step()
        kind = action_name.rsplit(".", 1)[-1].removeprefix("train_")
        self._enter(PHASES.get(kind, OTHER))

    def stop(self, action_name: str) -> None:
        self._leave()

    def attach(self, trainer: pl.Trainer, module: Training) -> Profile:
        """Watch the parts of a module, too."""
        self.trainer, network = trainer, module.objective.loss_network
        inside = {"generator, forward": module.generator, "loss network, forward": network}
        for phase, part in inside.items():
            self.hooks.append(part.register_forward_pre_hook(lambda *_, phase=phase: self._enter(phase)))
            self.hooks.append(part.register_forward_hook(self._leave_forward))
        self.hooks.append(module.generator.register_forward_hook(self._watch_stylized))
        for norm in norms(module.generator):
            self.hooks.append(norm.register_forward_pre_hook(lambda *_: self._enter("norms, forward")))
            self.hooks.append(norm.register_forward_hook(self._watch_norm))
        return self

    def _watch_stylized(self, module: nn.Module, inputs: Any, stylized: Tensor) -> None:
        if stylized.requires_grad:
            stylized.register_hook(lambda _: self._turn_into("generator, backward"))

    def _watch_norm(self, norm: nn.Module, inputs: tuple[Tensor, ...], y: Tensor) -> None:
        self._leave()
        if y.requires_grad and inputs[0].requires_grad:
            y.register_hook(lambda _: self._enter("norms, backward"))
            inputs[0].register_hook(lambda _: self._leave())

    def _leave_forward(self, *_: Any) -> None:
        self._leave()

    def _enter(self, phase: str) -> None:
        self._tick()
        self.running.append(phase)

    def _leave(self) -> None:
        self._tick()
        if self.running:
            self.running.pop()

    def _turn_into(self, phase: str) -> None:
        self._tick()
        self.running[-1] = phase

    def _tick(self) -> None:
        """Give the time since the last change of phase to the phase that ends."""
        if FIRST <= self.step < LAST_TIMED:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            now = time.perf_counter()
            if self.running and self.since:
                self.seconds[self.running[-1]] += now - self.since
            self.since = now

    def _next_step(self) -> None:
        self.num_timed += FIRST <= self.step < LAST_TIMED
        self.step += 1
        if self.step == LAST_TIMED:
            kinds = torch.profiler.ProfilerActivity
            on_gpu = [kinds.CUDA] if torch.cuda.is_available() else []
            self.tracer = torch.profiler.profile(activities=[kinds.CPU, *on_gpu])
            self.tracer.start()
        elif self.step == LAST_TRACED:
            self._end_trace()

    def _end_trace(self) -> None:
        if self.tracer is not None:
            self.tracer.stop()
            if self._is_rank_zero:
                with atomic_write(self.folder / "trace.json") as file:
                    self.tracer.export_chrome_trace(file.name)
            self.tracer = None

    @property
    def _is_rank_zero(self) -> bool:
        return self.trainer is not None and self.trainer.is_global_zero

    def describe(self) -> None:
        """Write and print what was found, once; on rank 0."""
        self._end_trace()
        for hook in self.hooks:
            hook.remove()
        if self._is_rank_zero and self.hooks:
            with atomic_write(self.folder / "profile.md") as file:
                file.write(self.table().encode())
            left = [str(path) for name in ("profile.md", "trace.json") if (path := self.folder / name).exists()]
            print(f"\n{self.table()}\n{', '.join(left)}", flush=True)
        self.hooks = []

    def table(self) -> str:
        """Seconds a step and share of each phase, in Markdown."""
        if not self.num_timed:
            return f"A profile takes {LAST_TRACED} steps, and this run ended before the {FIRST + 2}th.\n"
        total = sum(self.seconds.values())
        lines = [f"| phase | ms a step, of {self.num_timed} | share |", "| --- | ---: | ---: |"]
        for phase, seconds in sorted(self.seconds.items(), key=lambda item: -item[1]):
            lines.append(f"| {phase} | {1000 * seconds / self.num_timed:.1f} | {seconds / total:.0%} |")
        lines.append(f"| all | {1000 * total / self.num_timed:.1f} | |")
        return "\n".join(lines) + "\n"
