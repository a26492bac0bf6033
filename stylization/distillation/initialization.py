"""The student's first weights, taken from the teacher layer by layer by least squares."""

import torch
from torch import Tensor
from torch.nn import functional as F

from stylization.distillation.networks import LAYERS, Student, Teacher

RIDGE = 1e-5  # of the mean square of the regressors
ROUNDS = 3  # of fitting what a ReLU hides


@torch.no_grad()
def transplant(student: Student, teacher: Teacher, images: Tensor) -> None:
    """Initialize the student from the teacher's filters.

    At each layer the student takes over the channels from which the others are best predicted (a pivoted Cholesky
    decomposition of the channels' second moments). Its filters reconstruct the teacher's pre-activations of these
    channels from the student's own activations of the layer before (He et al. 2017, https://arxiv.org/abs/1707.06168),
    and its map A predicts all of the teacher's channels. Every layer is brought to unit root mean square.
    """
    student.scales = {}
    for layer in student.network.positions:
        theirs = teacher(images, [layer])[layer]
        scale = theirs.square().mean().sqrt().item()
        flat = rows(theirs) / scale
        convolution = student.network.convolution(layer)
        kept = pivots((flat.T @ flat / len(flat)).double(), convolution.out_channels)
        pre_activations = rows(_pre_activations(teacher, layer, images)[:, kept]) / scale
        patches = _patches(_inputs(student, layer, images))
        solution = rectified_least_squares(patches, pre_activations)
        convolution.weight.copy_(solution[:-1].T.reshape(convolution.weight.shape))
        assert convolution.bias is not None
        convolution.bias.copy_(solution[-1])
        student.scales[layer] = scale
        fit_maps(student, teacher, images, [layer])


@torch.no_grad()
def fit_maps(student: Student, teacher: Teacher, images: Tensor, layers: list[str]) -> None:
    """Fit the maps A of these layers by least squares."""
    ours, theirs = student(images, layers), teacher(images, layers)
    for layer in layers:
        target = rows(theirs[layer]) / student.scales[layer]
        student.maps[layer].copy_(least_squares(rows(ours[layer]), target).T)


def other_layers(student: Student) -> list[str]:
    """The layers that training does not look at."""
    return [layer for layer in student.network.positions if layer not in LAYERS]


def _pre_activations(teacher: Teacher, layer: str, images: Tensor) -> Tensor:
    network = teacher.network
    position = network.positions[layer]
    x = (images - network.mean) / network.std
    with torch.autocast(x.device.type, torch.bfloat16, enabled=teacher.bfloat16):
        for module in network.features[: position - 1]:
            x = module(x)
        pre_activations: Tensor = network.convolution(layer)(x)
    return pre_activations.float()


def _inputs(student: Student, layer: str, images: Tensor) -> Tensor:
    """The student's activations below a layer, pooled where the teacher's are."""
    names = list(student.network.positions)
    if layer == names[0]:
        return (images - student.network.mean) / student.network.std
    before = names[names.index(layer) - 1]
    x = student(images, [before])[before]
    return F.max_pool2d(x, 2) if before[4] != layer[4] else x


def _patches(x: Tensor) -> Tensor:
    """The 3x3 neighborhood of every pixel with a constant 1 at its end: (pixels, 9 c + 1)."""
    unfolded = rows(F.unfold(x, 3, padding=1)[..., None])
    return torch.cat([unfolded, torch.ones(len(unfolded), 1)], 1)


def rows(x: Tensor) -> Tensor:
    """(b, c, h, w) -> (b h w, c)."""
    return x.permute(0, 2, 3, 1).flatten(0, 2)


def least_squares(x: Tensor, y: Tensor) -> Tensor:
    """W that minimizes |x W - y|^2, slightly regularized."""
    return _solve(_normal(x), x, y)


def rectified_least_squares(x: Tensor, y: Tensor) -> Tensor:
    """W for relu(x W) close to relu(y): where y is negative, any negative prediction will do."""
    normal = _normal(x)
    target = y
    for _ in range(ROUNDS):
        solution = _solve(normal, x, target)
        target = torch.where(y > 0, y, torch.minimum(x @ solution, torch.zeros(())))
    return _solve(normal, x, target)


def _normal(x: Tensor) -> Tensor:
    normal = (x.T @ x).double()
    ridge = RIDGE * normal.diagonal().mean()
    factor: Tensor = torch.linalg.cholesky(normal + ridge * torch.eye(len(normal), dtype=torch.double))
    return factor


def _solve(cholesky: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return torch.cholesky_solve((x.T @ y).double(), cholesky).float()


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
