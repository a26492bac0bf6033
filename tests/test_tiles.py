"""Tiled is untiled: whatever the generator, its norm, the picture's size and the tiles', and within the memory."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from stylization.errors import InputError
from stylization.generators import Johnson, Pyramid
from stylization.generators.blocks import Generator
from stylization.normalization import Norm, freeze_statistics, norms, set_statistics
from stylization.tiles import Tiled
from stylization.tiles.graph import Graph
from stylization.tiles.plan import Plan

NORMS: dict[str, Callable[[int], nn.Module]] = {
    "instance": Norm,
    "batch": partial(Norm, train_statistics="batch", statistics="running"),
    "batch, its own": partial(Norm, train_statistics="batch", statistics="batch"),
    "layer": partial(Norm, channels_per_group="all"),
    "group": partial(Norm, channels_per_group=2),
    "none": nn.Identity,
}
GENERATORS: dict[str, Callable[..., Generator]] = {
    "johnson": partial(Johnson, width=4, num_blocks=2),
    "johnson, transposed": partial(Johnson, width=4, num_blocks=1, padding="zero", upsampling="transposed"),
    "johnson, input norm": partial(Johnson, width=4, num_blocks=1, padding="replicate", input_norm=True),
    "johnson, circular": partial(Johnson, width=4, num_blocks=1, padding="circular"),
    "johnson, circular, transposed": partial(
        Johnson, width=4, num_blocks=1, padding="circular", upsampling="transposed"
    ),
    "pyramid": partial(Pyramid, num_scales=3, width=4),
    "pyramid, circular": partial(Pyramid, num_scales=3, width=4, padding="circular"),
}


def made(generator: str, norm: str) -> Generator:
    """In eval mode, with weights and running statistics that are not those of the beginning."""
    torch.manual_seed(0)
    network = GENERATORS[generator](NORMS[norm])
    for tensor in [*network.parameters(), *(b for b in network.buffers() if b is not None)]:
        tensor.data += 0.1 * torch.rand_like(tensor)
    return network.eval()


def tiled(network: Generator, x: Tensor, memory_bytes: float, folder: Path | None = None) -> tuple[Tensor, Plan]:
    painted = torch.full_like(x, torch.nan)

    def read(rows: Any, columns: Any) -> Tensor:
        assert 0 <= rows[0] < rows[1] <= x.shape[2] and 0 <= columns[0] < columns[1] <= x.shape[3]
        return x[..., slice(*rows), slice(*columns)]

    def write(box: Any, part: Tensor) -> None:
        region = painted[..., slice(*box[0]), slice(*box[1])]
        assert region.isnan().all()  # nothing is painted twice
        region.copy_(part)

    plan = Tiled(network, memory_bytes, folder)((x.shape[2], x.shape[3]), read, write)
    return painted, plan


def least_memory(network: Generator, size: tuple[int, int]) -> float:
    """As much as the smallest tiles take."""
    low, high = 1e4, 1e9
    while high / low > 1.05:
        middle = (low * high) ** 0.5
        try:
            plan = Plan(Graph(network, network.enlarged(size)), 1e12, 4)
            for p in range(len(plan.targets)):
                Tiled(network, middle)._side(plan, p)
            high = middle
        except InputError:
            low = middle
    return high


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("generator", GENERATORS)
def test_tiled_is_untiled(generator: str, norm: str) -> None:
    network, x = made(generator, norm), torch.rand(1, 3, 149, 203)
    before = [(n.statistics, n.frozen_mean) for n in norms(network)]
    with torch.no_grad():
        whole = network(x)
    painted, plan = tiled(network, x, least_memory(network, (149, 203)))
    assert (painted - whole).abs().max() < 0.2 / 255
    assert [(n.statistics, n.frozen_mean) for n in norms(network)] == before
    if norm in ("batch", "none") and "input" not in generator:
        assert len(plan.targets) == 1 and not plan.kept  # statistics that are known need no pass


@settings(max_examples=12)
@given(
    size=st.tuples(st.integers(16, 190), st.integers(16, 190)),
    generosity=st.floats(1, 30),
    generator=st.sampled_from(["johnson", "johnson, circular", "pyramid"]),
)
def test_any_size_of_picture_and_tiles(size: tuple[int, int], generosity: float, generator: str) -> None:
    network, x = made(generator, "instance"), torch.rand(1, 3, *size)
    with torch.no_grad():
        whole = network(x)
    painted, _ = tiled(network, x, generosity * least_memory(network, size))
    assert (painted - whole).abs().max() < 0.2 / 255


def test_tiles_of_their_own_statistics_would_show() -> None:
    """What the passes are for: otherwise the test above could pass without them."""
    network, x = made("johnson", "instance"), torch.rand(1, 3, 64, 128)
    x[..., 64:] *= 0.3
    with torch.no_grad():
        apart = torch.cat([network(half) for half in x.split(64, dim=3)], dim=3)
        assert (apart - network(x)).abs().max() > 10 / 255


def test_frozen_statistics_are_used_in_one_pass() -> None:
    network, x = made("johnson", "instance"), torch.rand(1, 3, 149, 203)
    freeze_statistics(network, torch.rand(1, 3, 40, 40))
    with torch.no_grad():
        whole = network(x)
    painted, plan = tiled(network, x, least_memory(network, (149, 203)))
    assert (painted - whole).abs().max() < 0.2 / 255 and len(plan.targets) == 1


def test_freezing_at_a_picture_by_tiles_is_freezing_at_it() -> None:
    network, x = made("pyramid", "group"), torch.rand(1, 3, 96, 160)
    memory = least_memory(network, (96, 160))
    Tiled(network, memory).freeze((96, 160), lambda rows, columns: x[..., slice(*rows), slice(*columns)])
    ours = [(n.frozen_mean, n.frozen_var) for n in norms(network)]
    set_statistics(network, "instance")
    freeze_statistics(network, x)
    for (mean, var), norm in zip(ours, norms(network), strict=True):
        assert torch.allclose(mean, norm.frozen_mean, atol=1e-5) and torch.allclose(var, norm.frozen_var, rtol=1e-4)


def test_the_plan_keeps_what_is_dearer_to_compute_than_to_read() -> None:
    plan = Plan(Graph(Johnson(Norm).eval(), (4000, 4000)), disk_bytes=1e12, bytes_per_value=4)
    assert plan.relative_arithmetic < 1.25  # of the paper's generator; overlaps come on top
    kept = [plan.graph.nodes[n] for n in plan.kept]
    assert all(node.size[0] <= 4000 // 2 for node in kept if node.channels < 32)
    poor = Plan(Graph(Johnson(Norm).eval(), (4000, 4000)), disk_bytes=0.3e9, bytes_per_value=4)
    assert poor.peak_bytes <= 0.3e9 and poor.relative_arithmetic > plan.relative_arithmetic
    assert Plan(Graph(Pyramid(Norm).eval(), (4000, 4000)), 1e12, 4).relative_arithmetic < 1.5


def test_nothing_stays_on_the_disk_and_too_little_memory_is_told(tmp_path: Path) -> None:
    network, x = made("johnson", "instance"), torch.rand(1, 3, 149, 203)
    tiled(network, x, least_memory(network, (149, 203)), tmp_path)
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="tiles of 64 px need more than the 0 MB"):
        tiled(network, x, 1e4)
