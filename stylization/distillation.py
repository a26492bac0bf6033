"""How the compact loss network is made: VGG-19's geometry, distilled into a sixteenth of its weights.

What an objective reads off a loss network are distances between features and between Gram matrices, and what
training follows are their gradients. So the student is fitted to all of it at once, per layer and in relative units:

    features   |A f - F|^2 / |F|^2                      f, F: the student's and the teacher's features, A linear
    Gram       |A G A' - H|^2 / |H|^2
    distances  (log d(x, y) - log D(x, y))^2            over the pairs of a batch, for features and Gram matrices

on photographs, damaged photographs, and pictures that the student itself is being led to by descending its own
style distance: there a generator would find whatever the student sees and the teacher does not.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from stylization.content.sources import Part, folder
from stylization.content.stream import Stream
from stylization.errors import InputError, written_whole
from stylization.lessons import Lessons
from stylization.loss_networks.compact import COMPACT_WIDTHS, Compact
from stylization.loss_networks.vgg import VGG, VGG19_DEPTHS, VGG_WIDTHS, load_weights, read_weights
from stylization.memory import keep_memory
from stylization.objective import relative

TEACHER_WIDTH = dict(zip(COMPACT_WIDTHS, VGG_WIDTHS, strict=False))


class NarrowTeacher(nn.Module):
    """The 16x compressed VGG-19 encoder of Wang et al. 2020 (Collaborative Distillation), seen through its heads.

    Knows relu1_1, relu2_1, relu3_1 and relu4_1, each mapped by its 1x1 head to VGG-19's number of channels.
    """

    COLUMN = ("11", "12", "P", "21", "22", "P", "31", "32", "33", "34", "P", "41")

    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__()
        self.weight = state
        self.available = [f"relu{n[0]}_{n[1]}" for n in self.COLUMN if f"conv{n}_aux.weight" in state]

    def forward(self, x: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        features = {}
        x = self._convolution(x, "conv0")
        for name in self.COLUMN:
            if name == "P":
                x = F.max_pool2d(x, 2)
                continue
            x = F.relu(self._convolution(F.pad(x, (1, 1, 1, 1), mode="reflect"), f"conv{name}"))
            layer = f"relu{name[0]}_{name[1]}"
            if layer in layers:
                features[layer] = self._convolution(x, f"conv{name}_aux")
        return features

    def _convolution(self, x: Tensor, name: str) -> Tensor:
        return F.conv2d(x, self.weight[f"{name}.weight"].to(x), self.weight[f"{name}.bias"].to(x))


def read_teacher(path: Path) -> VGG | NarrowTeacher:
    """A teacher from its weight file: VGG-19 under torchvision's names (whole or cut), or the narrow encoder."""
    state = read_weights(path)
    if "conv11_aux.weight" in state:
        return NarrowTeacher(state)
    teacher = VGG(VGG19_DEPTHS, VGG_WIDTHS)
    load_weights(teacher, state, str(path))
    return teacher


class Teachers:
    """Several teachers as one: each layer comes from the first that has it. Run in bfloat16 on processors that know
    it, four times the speed of float32 there, at a rounding error (0.4%) far below the student's own."""

    def __init__(self, paths: Sequence[Path], layers: Sequence[str]) -> None:
        self.parts: list[tuple[nn.Module, list[str]]] = []
        wanted = list(layers)
        for path in paths:
            teacher = read_teacher(path)
            known = [layer for layer in wanted if layer in teacher.available]
            wanted = [layer for layer in wanted if layer not in known]
            if known:
                self.parts.append((teacher.to(memory_format=torch.channels_last), known))
        if wanted:
            raise InputError(f"no teacher shows {', '.join(wanted)}: give a weight file that reaches deeper")

    def column(self, layer: str) -> VGG | None:
        """The VGG-19 that shows the layer, if it is one."""
        return next((part for part, layers in self.parts if layer in layers and isinstance(part, VGG)), None)

    @torch.no_grad()
    def __call__(self, x: Tensor) -> dict[str, Tensor]:
        features: dict[str, Tensor] = {}
        x = x.contiguous(memory_format=torch.channels_last)
        knows = torch.cpu.get_capabilities()
        fast = bool(knows.get("avx512_bf16") or knows.get("amx_bf16"))
        with torch.autocast(x.device.type, torch.bfloat16, enabled=fast):
            for teacher, layers in self.parts:
                features |= teacher(x, layers)
        return {layer: feature.float() for layer, feature in features.items()}


class Student(nn.Module):
    """The compact network with a linear map A to the teacher's channels for each layer."""

    def __init__(self) -> None:
        super().__init__()
        self.network = Compact().requires_grad_(True)
        self.layers = list(self.network.positions)
        self.maps = nn.ParameterDict()
        for layer, width in self.network.widths.items():
            convolution = self.network.convolution(layer)
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
            nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
            self.network.readouts[layer].requires_grad_(False)  # the identity: training looks through A instead
            self.maps[layer] = nn.Parameter(torch.randn(TEACHER_WIDTH[width], width) / math.sqrt(width))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        features: dict[str, Tensor] = self.network(x, self.layers)
        return features

    def finished(self, scales: dict[str, float]) -> Compact:
        """The network with M = (A'A)^(1/2) as its readouts, on the teacher's scale."""
        for layer in self.layers:
            a = self.maps[layer].detach().double() * scales[layer]
            values, vectors = torch.linalg.eigh(a.T @ a)
            root = vectors @ torch.diag(values.clamp_min(0).sqrt()) @ vectors.T
            self.network.readouts[layer].data = root.float()[:, :, None, None]
        return self.network.requires_grad_(False)


@torch.no_grad()
def transplant(student: Student, teacher: Teachers, x: Tensor) -> dict[str, float]:
    """Start the student from the teacher's own filters, and return the scale of each layer's features.

    At each layer the student takes over those channels from which the others are best predicted (a pivoted Cholesky
    decomposition of the channels' second moments), fed through the linear prediction of the layer before. The scale,
    a layer's root mean square, is divided out on both sides so that every layer starts at unit size.
    """
    features = teacher(x)
    scales = {layer: feature.square().mean().sqrt().item() for layer, feature in features.items()}
    network, previous, previous_scale = student.network, torch.eye(3), 1.0
    for layer in student.layers:
        column = teacher.column(layer)
        if column is None:
            continue
        ours, theirs = network.convolution(layer), column.convolution(layer)
        flat = features[layer].transpose(0, 1).flatten(1) / scales[layer]
        moments = (flat @ flat.T / flat.shape[1]).double()
        kept = pivots(moments, ours.out_channels)
        filters = torch.einsum("oihw,ij->ojhw", theirs.weight[kept], previous)
        ours.weight.copy_(filters * previous_scale / scales[layer])
        assert ours.bias is not None and theirs.bias is not None
        ours.bias.copy_(theirs.bias[kept] / scales[layer])
        ridge = 1e-6 * moments.diagonal().mean() * torch.eye(len(kept), dtype=torch.double)
        previous = torch.linalg.solve(moments[kept][:, kept] + ridge, moments[kept]).T.float()
        previous_scale = scales[layer]
        student.maps[layer].copy_(previous)
    return scales


def pivots(moments: Tensor, num: int) -> Tensor:
    """The `num` rows of a positive semi-definite matrix that leave the least of its trace unexplained, greedily."""
    residual = moments.clone()
    chosen: list[int] = []
    for _ in range(num):
        gain = residual.square().sum(1) / residual.diagonal().clamp_min(1e-12)
        gain[chosen] = -1.0
        best = int(gain.argmax())
        chosen.append(best)
        residual = residual - torch.outer(residual[:, best], residual[best]) / residual[best, best].clamp_min(1e-12)
    return torch.tensor(chosen)


def distill(
    teachers: Sequence[Path],
    photos: Path,
    output: Path,
    *,
    num_steps: int,
    batch_size: int,
    size_px: int,
    num_held_out: int,
    learning_rate: float,
    seed: int,
) -> None:
    """Train the compact network and write its weights to `output` (.safetensors).

    The last `num_held_out` photographs, in the order of their names, are never read: fidelity is measured on them.
    """
    keep_memory()
    torch.manual_seed(seed)
    source = folder(photos)
    if len(source) <= num_held_out:
        raise InputError(f"{photos} holds {len(source)} pictures; {num_held_out} are held out, so more are needed")
    photographs = Part(source, np.arange(len(source) - num_held_out))
    stream = Stream(photographs, size_px, seed, crop_area=(0.15, 1.0))
    student = Student().to(memory_format=torch.channels_last)
    lessons = Lessons(stream, student, batch_size, seed)
    teacher = Teachers(teachers, student.layers)
    optimizer = torch.optim.AdamW(student.parameters(), lr=learning_rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=num_steps, pct_start=0.1)
    scales = transplant(student, teacher, torch.cat(list(lessons.take(8))))
    progress = tqdm(lessons.take(num_steps), total=num_steps, unit="step")
    for x in progress:
        targets = teacher(x)
        for layer, target in targets.items():
            target /= scales[layer]
        terms = mismatch(student(x), targets, student.maps)
        sum(terms.values(), start=torch.zeros(())).backward()
        nn.utils.clip_grad_norm_(student.parameters(), 5.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        progress.set_postfix({name: f"{value.item():.3f}" for name, value in terms.items()})
    with written_whole(output) as file:
        file.write(save({k: v.contiguous() for k, v in student.finished(scales).state_dict().items()}))


def mismatch(features: dict[str, Tensor], targets: dict[str, Tensor], maps: nn.ParameterDict) -> dict[str, Tensor]:
    """The three terms of the module's docstring, each the mean over layers.

    Written in second moments, so that A f, as wide as the teacher, is never formed:
    |A f - F|^2 = tr(A'A ff') - 2 tr(A' Ff') + |F|^2.
    """
    terms = {name: torch.zeros(()) for name in ("features", "gram", "distances")}
    for layer, target in targets.items():
        a = maps[layer]
        f, big_f = (x.permute(0, 2, 3, 1).flatten(1, 2) for x in (features[layer], target))  # (b, p, n), (b, p, 4n)
        num_pixels = f.shape[1]
        g, h = f.mT @ f / num_pixels, big_f.mT @ big_f / num_pixels
        metric = a.T @ a
        energy = h.diagonal(dim1=1, dim2=2).sum(1)
        residual = (metric * g).sum((1, 2)) - 2 * (a * (big_f.mT @ f / num_pixels)).sum((1, 2)) + energy
        gram = a @ g @ a.T
        ours = (f @ metric).flatten(1) @ f.flatten(1).T / num_pixels
        theirs = big_f.flatten(1) @ big_f.flatten(1).T / num_pixels
        terms["features"] += (residual / energy).mean()
        terms["gram"] += relative(gram, h).mean()
        terms["distances"] += 0.5 * (log_distances(ours) - log_distances(theirs)).square().mean()
        terms["distances"] += 0.5 * (log_distances(products(gram)) - log_distances(products(h))).square().mean()
    return {name: term / len(targets) for name, term in terms.items()}


def products(x: Tensor) -> Tensor:
    """Inner products between the members of a batch: (b, ...) -> (b, b)."""
    return x.flatten(1) @ x.flatten(1).T


def log_distances(products: Tensor) -> Tensor:
    """log |x_i - x_j|^2 / |x_j|^2 over the pairs i != j, from the inner products: (b, b) -> (b * (b - 1),)."""
    energy = products.diagonal()
    distances = (energy[:, None] + energy[None, :] - 2 * products) / energy[None, :]
    off_diagonal = ~torch.eye(len(products), dtype=torch.bool, device=products.device)
    return distances[off_diagonal].clamp_min(1e-4).log()  # below 1e-4, cancellation in float32 is all there is
