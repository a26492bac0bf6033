"""Distillation of the compact loss network: training with checkpoints, and the file that it writes."""

import hashlib
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn
from tqdm import tqdm

from stylization import images, styles
from stylization.content.sources import Part, Source, folder, last_images
from stylization.content.stream import Stream, held_out
from stylization.distillation import matching
from stylization.distillation.fidelity import fidelity
from stylization.distillation.initialization import fit_maps, other_layers, transplant
from stylization.distillation.networks import LAYERS, Features, Student, Teacher
from stylization.distillation.pictures import Batch, Pictures
from stylization.errors import InputError
from stylization.files import atomic_write
from stylization.memory import keep_memory
from stylization.muon import Muon

NUM_INITIAL = 48  # photographs for the least squares
CHECKPOINT_STEPS = 50
WARMUP_STEPS = 20
MAX_GRADIENT_NORM = 5.0
NUM_JUDGED, JUDGED_STYLE = 8, "mosaic"  # of the fidelity that is printed at the end


def distill(
    weights: Path | None,
    photos: Path,
    output: Path,
    *,
    num_steps: int,
    size_px: int,
    num_held_out: int,
    learning_rate: float,
    widths: Sequence[int],
    seed: int,
) -> None:
    """Train the compact network and write its weights to `output` (.safetensors, half precision).

    `weights` is the teacher's file; without one it is torchvision's VGG-16. The last `num_held_out` photographs, in
    the order of their names, are never trained on. A checkpoint beside `output` lets a killed distillation go on.
    """
    keep_memory()
    source = folder(photos)
    if len(source) <= num_held_out:
        raise InputError(
            f"--photos={photos}: {len(source)} pictures, of which {num_held_out} would be held out; "
            "give more pictures or a smaller --num-held-out"
        )
    settings = {
        "teacher": _described(weights),
        "photographs": _described_source(source, num_held_out),
        "num_steps": num_steps,
        "size_px": size_px,
        "learning_rate": learning_rate,
        "widths": list(widths),
        "seed": seed,
    }
    torch.manual_seed(seed)
    stream = Stream(Part(source, np.arange(len(source) - num_held_out)), size_px, seed, crop_area=(0.15, 1.0))
    run = Distillation(Teacher(weights), Student(widths), Pictures(stream, seed), learning_rate, num_steps)
    checkpoint = output.with_name(output.name + ".checkpoint")
    if checkpoint.exists():
        run.load_state_dict(_read_checkpoint(checkpoint, settings))
    else:
        run.initialize()
    with tqdm(total=num_steps, initial=run.step, unit="step") as progress:
        while run.step < num_steps:
            progress.set_postfix({name: f"{value:.3f}" for name, value in run.advance().items()})
            progress.update()
            if run.step % CHECKPOINT_STEPS == 0 or run.step == num_steps:
                _write_checkpoint(checkpoint, settings, run)
    _write(output, settings, run, source, num_held_out)
    checkpoint.unlink()


class Distillation:
    """The student, its teacher and the pictures between them, step by step."""

    def __init__(
        self, teacher: Teacher, student: Student, pictures: Pictures, learning_rate: float, num_steps: int
    ) -> None:
        self.teacher, self.student, self.pictures = teacher, student, pictures
        self.parameters = [p for p in student.parameters() if p.requires_grad]
        self.optimizer = Muon(self.parameters, learning_rate)
        self.learning_rate, self.num_steps = learning_rate, num_steps
        self.step = 0

    def initialize(self) -> None:
        """Take the student's first weights from the teacher."""
        transplant(self.student, self.teacher, self.initial_pictures())

    def initial_pictures(self) -> Tensor:
        """Pictures for least squares: photographs, a third of them with artifacts."""
        photographs = [self.pictures.photograph() for _ in range(NUM_INITIAL)]
        return torch.stack([self.pictures.damage(x) if i % 3 == 0 else x for i, x in enumerate(photographs)])

    def advance(self) -> dict[str, float]:
        """One step of training; returns the three terms of the loss."""
        batch = self.pictures.batch()
        theirs, their_gradient = self._teacher_s(batch)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.teacher.bfloat16):
            targets, x = self.student(batch.targets), batch.x.clone().requires_grad_()
            features = self.student(x)
        maps: Features = dict(self.student.maps.items())
        metrics = {layer: maps[layer].T @ maps[layer] for layer in LAYERS}
        our_gradient, matrices = _pixel_gradient(x, features, targets, batch, metrics)
        ours = {layer: torch.cat([features[layer], targets[layer]]) for layer in LAYERS}
        terms = {
            "gradients": matching.gradient_mismatch(our_gradient, their_gradient),
            "features": matching.feature_mismatch(ours, matrices, theirs, maps),
            "Gram": matching.gram_mismatch(matrices, matching.grams(theirs), maps),
        }
        torch.stack(list(terms.values())).sum().backward()
        self._update()
        self.pictures.follow(our_gradient.detach(), their_gradient)
        return {name: term.item() for name, term in terms.items()}

    def _teacher_s(self, batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
        """The teacher's features of all pictures, in units of the layers' scales, and its gradients."""
        with torch.no_grad():
            targets = self.teacher(batch.targets)
        x = batch.x.clone().requires_grad_()
        features = self.teacher(x)
        gradient, _ = _pixel_gradient(x, features, targets, batch)
        scales = self.student.scales
        return {k: torch.cat([features[k].detach(), targets[k]]) / scales[k] for k in LAYERS}, gradient

    def _update(self) -> None:
        nn.utils.clip_grad_norm_(self.parameters, MAX_GRADIENT_NORM)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate * schedule(self.step, self.num_steps)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1

    def state_dict(self) -> dict[str, Any]:
        """All that the next steps depend on."""
        return {
            "step": self.step,
            "student": self.student.state_dict(),
            "scales": self.student.scales,
            "optimizer": self.optimizer.state_dict(),
            "pictures": self.pictures.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step = state["step"]
        self.student.load_state_dict(state["student"])
        self.student.scales = state["scales"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.pictures.load_state_dict(state["pictures"])


def _pixel_gradient(
    x: Tensor, features: Features, targets: Features, batch: Batch, metrics: matching.Metrics | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """The gradient of the objective over x, and the Gram matrices of x and the targets together.

    With `metrics`, the student's, the gradient can itself be differentiated.
    """
    matrices, target_matrices = matching.grams(features), matching.grams(targets)
    distances = matching.objective(
        features,
        matrices,
        matching.index(targets, batch.scene),
        matching.index(target_matrices, batch.style),
        batch.weights,
        metrics,
    )
    (gradient,) = torch.autograd.grad(distances.sum(), x, create_graph=metrics is not None)
    return gradient, {layer: torch.cat([matrices[layer], target_matrices[layer]]) for layer in matrices}


def schedule(step: int, num_steps: int) -> float:
    """The share of the learning rate: a linear warm-up, then half a cosine down to zero."""
    return min(1.0, (step + 1) / WARMUP_STEPS) * 0.5 * (1 + math.cos(math.pi * step / num_steps))


def _write(output: Path, settings: dict[str, Any], run: Distillation, source: Source, num_held_out: int) -> None:
    fit_maps(run.student, run.teacher, run.initial_pictures(), other_layers(run.student))
    network = run.student.finished()
    metadata = {"settings": json.dumps(settings), "command": _command(output, settings, num_held_out)}
    if num_held_out:
        photographs = images.to_float(held_out(last_images(source, min(NUM_JUDGED, num_held_out)), settings["size_px"]))
        style = styles.read(JUDGED_STYLE, 256)
        found = fidelity(network, run.teacher.network, photographs, style)
        metadata["fidelity"] = json.dumps({name: round(value, 4) for name, value in found.items()})
        print(f"gradient cosine with VGG-16 on {len(photographs)} held-out photographs, style {JUDGED_STYLE}:")
        print("\n".join(f"  {name}: {value:.3f}" for name, value in found.items()))
    state = {key: value.half().contiguous() for key, value in network.state_dict().items()}
    with atomic_write(output) as file:
        file.write(save(state, metadata))


def _command(output: Path, settings: dict[str, Any], num_held_out: int) -> str:
    """The command that makes the file again, without folders' names."""
    teacher = settings["teacher"].partition(" ")[0]
    widths = ",".join(map(str, settings["widths"]))
    return (
        f"stylization distill {f'--teacher {teacher} ' if teacher != TORCHVISION else ''}--photos PHOTOS "
        f"--output {output.name} --num-steps {settings['num_steps']} --size-px {settings['size_px']} "
        f"--num-held-out {num_held_out} --learning-rate {settings['learning_rate']:g} --widths {widths} "
        f"--seed {settings['seed']}"
    )


TORCHVISION = "torchvision"


def _described(weights: Path | None) -> str:
    """The teacher's weights by file name and digest."""
    if weights is None:
        return TORCHVISION
    if not weights.expanduser().is_file():
        raise InputError(f"--teacher={weights}: no such file; give VGG-16 weights, or none for torchvision's")
    return f"{weights.name} sha256:{hashlib.sha256(weights.expanduser().read_bytes()).hexdigest()}"


def _described_source(source: Source, num_held_out: int) -> str:
    names = "\n".join(source.name(i) for i in range(len(source) - num_held_out))
    return f"{len(source) - num_held_out} pictures, names sha256:{hashlib.sha256(names.encode()).hexdigest()}"


def _write_checkpoint(path: Path, settings: dict[str, Any], run: Distillation) -> None:
    buffer = io.BytesIO()
    torch.save({"settings": settings} | run.state_dict(), buffer)
    with atomic_write(path) as file:
        file.write(buffer.getvalue())


def _read_checkpoint(path: Path, settings: dict[str, Any]) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        found = state.pop("settings")
    except (OSError, RuntimeError, EOFError, KeyError, UnpicklingError) as error:
        raise InputError(f"{path}: corrupt checkpoint; delete it to restart") from error
    if found != settings:
        changed = ", ".join(name for name in settings if found.get(name) != settings[name])
        raise InputError(f"{path}: checkpoint of a distillation with other settings ({changed}); delete it to restart")
    return state
