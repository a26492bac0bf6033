"""The student starts from the teacher's filters, is compared with it by gradients, and goes on after it was killed."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from stylization.distillation import distill, training
from stylization.distillation.fidelity import fidelity
from stylization.distillation.initialization import pivots, rectified_least_squares, transplant
from stylization.distillation.matching import (
    Weights,
    cosines,
    feature_mismatch,
    gradient_mismatch,
    gram,
    gram_mismatch,
    grams,
    objective,
)
from stylization.distillation.networks import LAYERS, Student, Teacher
from stylization.errors import InputError
from stylization.loss_networks import compact
from stylization.loss_networks.compact import Compact
from stylization.loss_networks.vgg import VGG, VGG16_DEPTHS, VGG_WIDTHS
from stylization.objective import Objective, gram_matrix

WIDTHS = (4, 8, 8, 8)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VGG-16 of random weights down to relu4_3."""
    torch.manual_seed(0)
    network = VGG(VGG16_DEPTHS[:4], VGG_WIDTHS[:4])
    for parameter in network.parameters():
        if parameter.ndim == 4:
            nn.init.kaiming_normal_(parameter)
    path = tmp_path_factory.mktemp("teacher") / "vgg16.safetensors"
    save_file(network.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six smooth pictures."""
    folder = tmp_path_factory.mktemp("photos")
    torch.manual_seed(0)
    for n in range(6):
        pixels = nn.functional.interpolate(torch.rand(1, 3, 6, 6), size=(48, 48), mode="bicubic").clamp(0, 1)
        Image.fromarray((pixels[0].permute(1, 2, 0) * 255).byte().numpy()).save(folder / f"{n}.png")
    return folder


@pytest.fixture
def images() -> Tensor:
    torch.manual_seed(0)
    return nn.functional.interpolate(torch.rand(4, 3, 6, 6), size=(32, 32), mode="bicubic").clamp(0, 1)


def test_a_student_as_wide_as_its_teacher_starts_as_its_copy(images: Tensor) -> None:
    torch.manual_seed(0)
    network = VGG(VGG16_DEPTHS[:4], WIDTHS)
    for parameter in network.parameters():
        if parameter.ndim == 4:
            nn.init.kaiming_normal_(parameter)
    teacher = Teacher.__new__(Teacher)
    teacher.network, teacher.bfloat16 = network, False
    student = Student(WIDTHS)
    for layer, width in network.widths.items():
        student.maps[layer] = nn.Parameter(torch.zeros(width, width))
    noisy = [(images + strength * torch.randn_like(images)).clamp(0, 1) for strength in (0.0, 0.02, 0.1, 0.3)]
    transplant(student, teacher, torch.cat(noisy))
    found = fidelity(student.finished(), network, images, images[:1].flip(-1))
    assert min(found.values()) > 0.9, found


def test_what_a_rectifier_hides_is_free() -> None:
    torch.manual_seed(0)
    x = torch.randn(400, 5)
    y = x @ torch.randn(5, 3)
    hidden = torch.where(y < 0, y - torch.rand_like(y), y)
    fitted = rectified_least_squares(x, hidden)
    straight = torch.linalg.lstsq(x, hidden).solution
    error, straight_error = (((x @ w).relu() - y.relu()).square().mean() for w in (fitted, straight))
    assert error < 0.3 * straight_error


def test_pivots_explain_what_can_be_explained() -> None:
    torch.manual_seed(0)
    basis = torch.randn(3, 100)
    rows = torch.cat([basis, 0.5 * basis, basis.flip(0) + basis])  # nine rows of rank three
    moments = (rows @ rows.T / 100).double()
    kept = pivots(moments, 3)
    a = torch.linalg.solve(moments[kept][:, kept], moments[kept]).T
    torch.testing.assert_close(a @ moments[kept], moments, atol=1e-8, rtol=1e-6)


def test_distances_and_mismatches_are_those_of_the_wide_features(images: Tensor) -> None:
    torch.manual_seed(0)
    narrow = {layer: torch.rand(2, 4, 6, 6) for layer in LAYERS}
    other = {layer: torch.rand(2, 4, 6, 6) for layer in LAYERS}
    maps = {layer: torch.randn(12, 4) for layer in LAYERS}
    metrics = {layer: a.T @ a for layer, a in maps.items()}
    wide, wide_other = (
        {layer: nn.functional.conv2d(f, maps[layer][:, :, None, None]) for layer, f in features.items()}
        for features in (narrow, other)
    )
    weights = Weights(torch.rand(2, 2), torch.rand(2, 4))
    ours = objective(narrow, grams(narrow), other, grams(other), weights, metrics)
    theirs = objective(wide, grams(wide), wide_other, grams(wide_other), weights)
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)
    assert feature_mismatch(narrow, grams(narrow), wide, maps).abs() < 1e-4
    assert gram_mismatch(grams(narrow), grams(wide), maps).abs() < 1e-4
    doubled = {layer: 2 * f for layer, f in wide.items()}
    torch.testing.assert_close(feature_mismatch(narrow, grams(narrow), doubled, maps), torch.tensor(0.25))
    torch.testing.assert_close(gram_mismatch(grams(narrow), grams(doubled), maps), torch.tensor(9 / 16))


def test_the_objective_is_the_one_that_trains(images: Tensor) -> None:
    torch.manual_seed(0)
    network = Compact(WIDTHS)
    content, style = images[:2], images[2:3]
    expected = Objective(network, style, ["relu2_2"], LAYERS, {"content": 1.0, "style": 6.0, "tv": 0.0})
    features, targets, of_style = (network(x, LAYERS) for x in (images[1:3], content, style))
    styles = {layer: gram(f).expand(2, -1, -1) for layer, f in of_style.items()}
    weights = Weights(*(part.expand(2, -1) for part in Weights.of(6.0)))
    found = objective(features, grams(features), targets, styles, weights).mean()
    torch.testing.assert_close(found, expected.total(expected(images[1:3], content)))
    torch.testing.assert_close(gram(features["relu1_2"]), gram_matrix(features["relu1_2"]))


def test_finished_network_measures_as_the_student_does(images: Tensor) -> None:
    torch.manual_seed(0)
    student = Student(WIDTHS)
    for layer, a in student.maps.items():
        nn.init.normal_(a)
        student.scales[layer] = 3.0
    layer = "relu2_2"
    wide = 3 * nn.functional.conv2d(student(images, [layer])[layer], student.maps[layer][:, :, None, None])
    seen = student.finished()(images, [layer])[layer]
    torch.testing.assert_close((seen[0] - seen[1]).norm(), (wide[0] - wide[1]).norm(), rtol=1e-2, atol=0)
    ours, theirs = gram(seen), gram(wide)
    torch.testing.assert_close((ours[0] - ours[1]).norm(), (theirs[0] - theirs[1]).norm(), rtol=1e-2, atol=0)


def test_gradients_agree_whatever_their_length_only_in_direction() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(2, 2, 3, 8, 8)
    assert gradient_mismatch(x, x).abs() < 1e-5
    torch.testing.assert_close(cosines(x, 3 * x), torch.ones(2))
    assert 0 < gradient_mismatch(x, 1.5 * x) < 0.1 < gradient_mismatch(x, y)


def _distilled(weights: Path, photos: Path, output: Path, num_steps: int = 3) -> dict[str, Tensor]:
    settings = {"size_px": 32, "num_held_out": 2, "learning_rate": 0.01, "widths": WIDTHS, "seed": 0}
    distill(weights, photos, output, num_steps=num_steps, **settings)  # type: ignore[arg-type]
    return dict(compact(output).state_dict())


def test_a_killed_distillation_goes_on(
    weights: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "NUM_INITIAL", 4)
    monkeypatch.setattr(training, "CHECKPOINT_STEPS", 2)
    monkeypatch.setattr("stylization.distillation.fidelity.DESCENT_STEPS", 1)
    whole = _distilled(weights, photos, tmp_path / "whole.safetensors")
    advance = training.Distillation.advance

    def killed(self: training.Distillation) -> dict[str, float]:
        if self.step == 2:
            raise KeyboardInterrupt
        return advance(self)

    path = tmp_path / "killed.safetensors"
    with monkeypatch.context() as patch:
        patch.setattr(training.Distillation, "advance", killed)
        with pytest.raises(KeyboardInterrupt):
            _distilled(weights, photos, path)
    assert not path.exists()
    with pytest.raises(InputError, match=r"other settings \(num_steps\); delete it"):
        _distilled(weights, photos, path, num_steps=4)
    resumed = _distilled(weights, photos, path)
    for key, value in whole.items():
        assert torch.equal(value, resumed[key]), key
    assert [x.name for x in tmp_path.glob("*.checkpoint")] == []
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    assert "--teacher vgg16.safetensors --photos PHOTOS" in metadata["command"]
    assert str(tmp_path) not in str(metadata) and str(photos) not in str(metadata)
    assert "sha256:" in metadata["settings"] and "photographs" in metadata["fidelity"]


def test_wrong_input_is_rejected_before_anything_is_written(weights: Path, photos: Path, tmp_path: Path) -> None:
    shallow = {k: v for k, v in Compact().state_dict().items() if k.startswith("features.0.")}
    save_file({k: torch.zeros(64, *v.shape[1:]) for k, v in shallow.items()}, tmp_path / "shallow.safetensors")
    for teacher, num_held_out, message in (
        (tmp_path / "missing.pth", 0, "--teacher=.*no such file"),
        (tmp_path / "shallow.safetensors", 0, "--teacher=.*relu1_1.*relu4_3"),
        (weights, 6, "--photos=.*6 pictures.*--num-held-out"),
    ):
        with pytest.raises(InputError, match=message):
            distill(
                teacher,
                photos,
                tmp_path / "out" / "compact.safetensors",
                num_steps=1,
                size_px=32,
                num_held_out=num_held_out,
                learning_rate=0.01,
                widths=WIDTHS,
                seed=0,
            )
    assert not (tmp_path / "out").exists()
