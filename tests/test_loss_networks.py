"""Names, depths and weight files of the loss networks."""

from pathlib import Path

import pytest
import torch
from conftest import SHARED, Tiny
from safetensors.torch import save_file
from torch import Tensor, nn

from stylization.errors import InputError
from stylization.loss_networks import compact, vgg16, vgg19
from stylization.loss_networks.compact import Compact
from stylization.loss_networks.vgg import VGG, VGG16_DEPTHS, VGG19_DEPTHS, VGG_WIDTHS, Convolution
from stylization.objective import Objective


@pytest.mark.parametrize(("depths", "name"), [(VGG16_DEPTHS, "vgg16"), (VGG19_DEPTHS, "vgg19")])
def test_parameters_and_positions_are_torchvision_s(depths: tuple[int, ...], name: str) -> None:
    import torchvision

    with torch.device("meta"):
        theirs = torchvision.models.get_model(name).features
        ours = VGG(depths, VGG_WIDTHS)
    assert {k: v.shape for k, v in ours.features.state_dict().items()} == {
        k: v.shape for k, v in theirs.state_dict().items()
    }
    for position in ours.positions.values():
        assert isinstance(theirs[position], nn.ReLU)
    assert [nn.Conv2d if type(m) is Convolution else type(m) for m in ours.features] == [type(m) for m in theirs]


def test_features_are_those_of_the_layers_named(tiny: Tiny, photographs: Tensor) -> None:
    x = (photographs - tiny.mean) / tiny.std
    for position, module in enumerate(tiny.features):
        x = module(x)
        for layer in (name for name, at in tiny.positions.items() if at == position):
            torch.testing.assert_close(tiny(photographs, [layer])[layer], x)


def test_nothing_below_the_deepest_layer_is_computed(tiny: Tiny, photographs: Tensor) -> None:
    called: list[int] = []
    for position, module in enumerate(tiny.features):
        module.register_forward_hook(lambda *_, position=position: called.append(position))
    tiny(photographs, ["relu1_2", "relu1_1"])
    assert called == [0, 1, 2, 3]


def test_stays_frozen_and_in_eval_mode_whatever_is_around_it(tiny: Tiny) -> None:
    nn.Sequential(tiny).train()
    assert not any(module.training for module in tiny.modules())
    assert not any(parameter.requires_grad for parameter in Compact().parameters())


def test_a_cut_file_serves_until_a_deeper_layer_is_asked_for(tmp_path: Path, photographs: Tensor) -> None:
    whole = VGG(VGG19_DEPTHS, VGG_WIDTHS)
    lower = {k: v for k, v in whole.state_dict().items() if int(k.split(".")[1]) < 7}  # conv1_1 ... conv2_1
    save_file(lower, tmp_path / "lower.safetensors")
    torch.save(lower, tmp_path / "lower.pth")
    for name in ("lower.safetensors", "lower.pth"):
        network = vgg19(tmp_path / name)
        torch.testing.assert_close(network(photographs, ["relu2_1"]), whole(photographs, ["relu2_1"]))
        with pytest.raises(InputError, match=r"relu4_2.*ends at relu2_1"):
            network(photographs, ["relu4_2"])


def test_unknown_layer_lists_the_known_ones(tiny: Tiny, photographs: Tensor) -> None:
    with pytest.raises(InputError, match=r"relu9_1.*relu1_1, relu1_2, relu2_1"):
        tiny(photographs, ["relu9_1"])


def test_wrong_weight_files_are_refused(tmp_path: Path) -> None:
    save_file({"conv1.weight": torch.zeros(3)}, tmp_path / "foreign.safetensors")
    save_file(Compact().state_dict(), tmp_path / "compact.safetensors")
    whole = (tmp_path / "compact.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.pth").write_text("not a pickle")
    torch.save({"epoch": 3}, tmp_path / "no_state.pth")
    no_readouts = {k: v for k, v in Compact().state_dict().items() if k.startswith("features")}
    save_file(no_readouts, tmp_path / "no_readouts.safetensors")
    for make, name, reason in (
        (vgg19, "missing.pth", "no weight file"),
        (vgg19, "foreign.safetensors", "another network"),
        (vgg19, "compact.safetensors", "another network"),
        (compact, "cut.safetensors", "damaged"),
        (compact, "text.pth", "damaged"),
        (compact, "no_state.pth", "no state dict"),
        (compact, "no_readouts.safetensors", "another network"),
    ):
        with pytest.raises(InputError, match=reason):
            make(tmp_path / name)


def test_vgg16_s_weights_are_not_vgg19_s(tmp_path: Path) -> None:
    with torch.device("meta"):
        state = VGG(VGG16_DEPTHS, VGG_WIDTHS).state_dict()
    # Up to conv3_3 the two files look alike; VGG-16's conv4_1 stands where VGG-19 has a ReLU.
    torch.save({k: torch.empty(v.shape) for k, v in state.items() if int(k.split(".")[1]) < 18}, tmp_path / "16.pth")
    with pytest.raises(InputError, match="another network"):
        vgg19(tmp_path / "16.pth")


def test_without_a_network_the_three_ways_to_get_weights_are_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # the discard port: refuses at once
    with pytest.raises(InputError, match=r"(?s)three ways.*network.*checkpoints.*loss_network\.weights"):
        vgg16()


def test_compact_ships_and_is_small() -> None:
    from stylization.loss_networks.compact import WEIGHTS

    assert WEIGHTS.stat().st_size <= 4e6
    network = compact()
    assert list(network.positions) == [
        *("relu1_1", "relu1_2", "relu2_1", "relu2_2"),
        *("relu3_1", "relu3_2", "relu3_3", "relu4_1", "relu4_2", "relu4_3"),
    ]
    assert all(parameter.dtype == torch.float32 for parameter in network.parameters())
    features = network(torch.rand(1, 3, 64, 64), ["relu1_2", "relu4_3"])
    assert features["relu1_2"].shape == (1, 32, 64, 64)
    assert features["relu4_3"].shape == (1, 240, 8, 8)


def test_a_file_of_other_widths_is_a_compact_network_too(tmp_path: Path, photographs: Tensor) -> None:
    narrow = Compact((4, 8, 8, 12))
    save_file(narrow.state_dict(), tmp_path / "narrow.safetensors")
    read = compact(tmp_path / "narrow.safetensors")
    torch.testing.assert_close(read(photographs, ["relu4_3"]), narrow(photographs, ["relu4_3"]))


@pytest.mark.parametrize("period", [4, 8])  # at period 2 VGG-16 itself is nearly blind (0.1)
def test_compact_sees_a_faint_lattice_on_a_flat_area(period: int) -> None:
    """Descending the shipped network's content distance removes an artifact that an older one was blind to."""
    flat = torch.full((1, 3, 64, 64), 0.6)
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    lattice = 0.03 * torch.cos(2 * torch.pi / period * (x + 0.25)) * torch.cos(2 * torch.pi / period * (y + 0.25))
    objective = Objective(compact(), flat, ["relu2_2"], ["relu1_2"], {"content": 1.0, "style": 0.0, "tv": 0.0})
    stylized = (flat + lattice).requires_grad_()
    (gradient,) = torch.autograd.grad(objective(stylized, flat)["content"], stylized)
    inner = (..., slice(16, 48), slice(16, 48))  # away from the zeros around the picture
    alignment = torch.cosine_similarity(gradient.mean(1)[inner].flatten(), lattice[inner[1:]].flatten(), dim=0)
    assert alignment > 0.5


@pytest.mark.skipif(not (SHARED / "weights").is_dir(), reason="the real VGG-19 is not at hand")
def test_real_vgg19_ends_where_its_file_does(photographs: Tensor) -> None:
    network = vgg19(SHARED / "weights" / "vgg19_relu3_4.safetensors")
    assert network(photographs, ["relu3_4"])["relu3_4"].mean() > 10  # on Caffe's scale
    with pytest.raises(InputError, match="ends at relu3_4"):
        network(photographs, ["relu4_2"])
