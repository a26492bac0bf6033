"""What a training step does, counted: a guard against what makes it slow, that no clock is needed for."""

from collections import Counter
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from safetensors.torch import load_file
from test_training import hydra as hydra
from test_training import run
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from stylization.generators import Johnson
from stylization.loss_networks.vgg import VGG
from stylization.muon import Muon
from stylization.normalization import Norm
from stylization.objective import Objective, gram_matrix
from stylization.training import Training

WEIGHTS = {"content": 1.0, "style": 30.0, "tv": 0.1}
STYLE_LAYERS, CONTENT_LAYER = ["relu1_1", "relu2_1", "relu3_1"], "relu2_1"


class Counting(TorchDispatchMode):
    """Operations that compute something, the bytes that they write to memory of their own, and how often the host waits
    for the device."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: Counter[str] = Counter()
        self.written_bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.operations[str(func.overloadpacket)] += (
            not func.is_view and func is not torch.ops.aten._unsafe_view.default
        )
        given = {x.untyped_storage().data_ptr() for x in args if isinstance(x, Tensor)}
        for x in result if isinstance(result, tuple | list) else (result,):
            if isinstance(x, Tensor) and x.untyped_storage().data_ptr() not in given:
                self.written_bytes += x.numel() * x.element_size()
        return result

    @property
    def num_waits(self) -> int:
        return sum(self.operations[name] for name in ("aten._local_scalar_dense", "aten.nonzero", "aten.equal"))


def made(optimizer: type = Muon) -> tuple[Training, Tensor, Any]:
    torch.manual_seed(0)
    network = VGG((2, 2, 1), (4, 8, 8))
    objective = Objective(network, torch.rand(1, 3, 32, 32), [CONTENT_LAYER], STYLE_LAYERS, WEIGHTS)
    module = Training(Johnson(Norm, width=4, num_blocks=2), objective, optimizer, None)  # type: ignore[arg-type]
    x = torch.rand(2, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    return module, x, optimizer(module.generator.parameters(), lr=0.01)


def step(module: Training, x: Tensor, descend: Any) -> None:
    descend.zero_grad()
    module.evaluate(x)["total"].backward()
    descend.step()


def flops(work: Any) -> int:
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


def test_a_step_multiplies_what_it_must_and_nothing_else() -> None:
    """Three times the generator, but for a gradient of the photograph; of the loss network the way to the deepest
    layer and back for the stylization, and for the photograph the way to the content layer. A little more, for small
    kernels' gradients multiply the margins' zeros too."""
    module, x, descend = made(torch.optim.SGD)
    network = module.objective.loss_network
    first = module.generator.layers[0]
    assert isinstance(first, nn.Conv2d)
    with torch.no_grad():
        generator, first_layer = flops(lambda: module.generator(x)), flops(lambda: first(x))
        features = network(x, STYLE_LAYERS)
        grams = flops(lambda: [gram_matrix(layer) for layer in features.values()])
        there, content = flops(lambda: network(x, STYLE_LAYERS)), flops(lambda: network(x, [CONTENT_LAYER]))
    assert content < there
    expected = 3 * generator - first_layer + 2 * there + content + 2 * grams
    expected += 4 * margins(16, 16, 3, 18) + margins(16, 4 * 8, 2, 18) + margins(8, 4 * 4, 2, 34)
    assert flops(lambda: step(module, x, descend)) == expected


def margins(in_channels: int, out_channels: int, kernel_px: int, side_px: int) -> int:
    """What a small kernel's gradient multiplies beyond the pixels of the result, for two pictures with their margin."""
    rows = [2 * side_px**2 - i * side_px - j for i in range(kernel_px) for j in range(kernel_px)]
    return 2 * in_channels * out_channels * (sum(rows) - 2 * kernel_px**2 * (side_px - kernel_px + 1) ** 2)


def test_folded_upsampling_and_the_last_convolution_cost_what_they_are_said_to() -> None:
    module, x, _ = made()
    width, pixels = 4, 2 * 64 * 64
    with torch.no_grad():
        total = flops(lambda: module.generator(x))
    convolutions = (
        3 * width * 81
        + width * 2 * width * 9 / 4
        + 2 * width * 4 * width * 9 / 16
        + 2 * 2 * (4 * width) ** 2 * 9 / 16
        + (4 * width * 2 * width / 4 + 2 * width * width) * 4  # 2x2 of 3x3: 4/9
        + width * 3 * 100  # 10x10 at stride 2 for four pixels, where 9x9 would be 81
    )
    assert total == pytest.approx(2 * pixels * convolutions, rel=0.15)  # at the border there is a little more
    assert total >= 2 * pixels * convolutions


def test_a_step_launches_no_more_than_it_did() -> None:
    module, x, descend = made()
    step(module, x, descend)
    with Counting() as counting:
        step(module, x, descend)
    assert sum(counting.operations.values()) <= OPERATIONS, counting.operations.most_common(12)
    assert counting.written_bytes <= WRITTEN_BYTES
    assert counting.num_waits == 0
    for name in ("aten.native_group_norm", "aten.convolution"):  # a norm is one call forward, not a chain of them
        expected = {"aten.native_group_norm": 9, "aten.convolution": 9 + 4 + 5}[name]
        assert counting.operations[name] == expected, counting.operations


OPERATIONS, WRITTEN_BYTES = 1_150, 14_500_000


class Watch(pl.Callback):
    """Counts from the beginning to the end of each step."""

    def __init__(self) -> None:
        self.waits: list[int] = []
        self.counting = Counting()

    def on_train_batch_start(self, *_: Any) -> None:
        self.counting = Counting()
        self.counting.__enter__()

    def on_train_batch_end(self, *_: Any) -> None:
        self.counting.__exit__(None, None, None)
        self.waits.append(self.counting.num_waits)


def test_the_host_waits_for_the_device_at_logged_steps_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watch, init = Watch(), pl.Trainer.__init__

    def with_watch(self: pl.Trainer, **options: Any) -> None:
        init(self, **options | {"callbacks": [*options["callbacks"], watch]})

    monkeypatch.setattr(pl.Trainer, "__init__", with_watch)
    run(tmp_path, "trainer.max_steps=9", "trainer.log_every_n_steps=4", "trainer.val_check_interval=9")
    assert len(watch.waits) == 9
    assert [bool(waits) for waits in watch.waits] == [number % 4 == 0 for number in range(1, 10)]


def test_a_profile_finds_all_phases_and_leaves_a_trace(tmp_path: Path) -> None:
    run(tmp_path, "trainer.profile=true", "trainer.max_steps=29", "trainer.val_check_interval=29")
    table = (tmp_path / "profile.md").read_text()
    for phase in ("generator", "norms", "loss network"):
        assert f"| {phase}, forward |" in table and f"| {phase}, backward |" in table
    for phase in ("waiting for data", "logging and callbacks", "optimizer", "all"):
        assert f"| {phase} |" in table
    assert '"traceEvents"' in (tmp_path / "trace.json").read_text()


def test_a_profile_changes_nothing(tmp_path: Path) -> None:
    for name, profile in (("with", "true"), ("without", "false")):
        run(tmp_path / name, f"trainer.profile={profile}", "trainer.max_steps=8", "trainer.val_check_interval=8")
    ours, theirs = (load_file(tmp_path / name / "model.safetensors") for name in ("with", "without"))
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert not (tmp_path / "with" / "trace.json").exists()  # it takes more steps than these


@pytest.mark.slow
def test_compiled_it_learns_the_same() -> None:
    gradients = []
    for compiled in (False, True):
        module, x, _ = made()
        if compiled:
            module.compile_parts()
        module.evaluate(x)["total"].backward()
        gradients.append(torch.cat([p.grad.flatten() for p in module.generator.parameters() if p.grad is not None]))
    assert (gradients[0] - gradients[1]).norm() / gradients[0].norm() < 5e-3  # Inductor's mathematics are fast ones
