"""An exported model paints what PyTorch paints, at any size and in any batch, and is applied without PyTorch."""

import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnxruntime import InferenceSession
from PIL import Image
from torch import Tensor, nn

import stylization
from stylization import cli, model_file
from stylization import export as exporting
from stylization.errors import InputError
from stylization.export import export
from stylization.generators.pyramid import Noise
from stylization.normalization import Norm
from stylization.onnx_runtime import OnnxStylizer

SMALL: dict[str, dict[str, Any]] = {
    "johnson": {"_target_": "stylization.generators.Johnson", "width": 4, "num_blocks": 1},
    "pyramid": {"_target_": "stylization.generators.Pyramid", "width": 4, "num_scales": 2},
}
NORMS: dict[str, dict[str, Any]] = {
    "instance": {},
    "batch": {"train_statistics": "batch", "statistics": "batch"},
    "running": {"train_statistics": "batch", "statistics": "running"},
    "layer": {"channels_per_group": "all"},
    "group": {"channels_per_group": 2},
    "none": {"_target_": "torch.nn.Identity"},
}


def written(path: Path, generator: dict[str, Any], norm: dict[str, Any]) -> Path:
    """A model file of random weights that has seen a few pictures."""
    architecture = {"generator": generator, "norm": {"_target_": "stylization.normalization.Norm"} | norm}
    torch.manual_seed(0)
    network = model_file.build(architecture).train()
    for name, weights in network.named_parameters():
        if name.endswith(("gamma", "beta")):
            nn.init.uniform_(weights, 0.5, 1.5)
    with torch.no_grad():
        network(torch.rand(4, 3, 64, 64))
    model_file.write(path, network, architecture, {"style": "none"})
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("model") / "model.safetensors", SMALL["johnson"], NORMS["instance"])


@pytest.fixture(scope="module")
def onnx_model(model: Path) -> Path:
    export(model, model.with_suffix(".onnx"), "onnx")
    return model.with_suffix(".onnx")


def off(exported: Callable[[Tensor], Tensor], model: Path, sizes: list[tuple[int, ...]]) -> float:
    """The largest difference from PyTorch over such photographs, (b, 3, h, w)."""
    network, _ = model_file.read(model)
    with torch.no_grad():
        return max(float((exported(x) - network(x)).abs().max()) for x in (torch.rand(b, 3, h, w) for b, h, w in sizes))


def opened(path: Path) -> Callable[[Tensor], Tensor]:
    if path.suffix == ".pt2":
        return torch.export.load(path).module()
    stylizer = OnnxStylizer(path)
    return lambda x: torch.from_numpy(stylizer.paint(x.numpy()))


ODD = [(1, 17, 65), (1, 131, 83), (3, 33, 49), (1, 5, 1)]


def test_graph_paints_what_pytorch_paints(model: Path, onnx_model: Path) -> None:
    assert off(opened(onnx_model), model, ODD) < 1e-4


def test_photographs_of_a_batch_do_not_see_each_other(onnx_model: Path) -> None:
    x = torch.rand(2, 3, 37, 51)
    graph = opened(onnx_model)
    torch.testing.assert_close(graph(x), torch.cat([graph(x[:1]), graph(x[1:])]), atol=1e-6, rtol=0)


def test_axes_have_names_and_the_file_says_what_it_is(model: Path, onnx_model: Path) -> None:
    graph = onnx.load(onnx_model).graph
    for value, name in ((graph.input[0], "photograph"), (graph.output[0], "stylized")):
        axes = [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        assert value.name == name and axes == ["batch", 3, "height", "width"]
    assert {p.key: p.value for p in onnx.load(onnx_model).metadata_props} == model_file.described(model)
    assert str(Path(stylization.__file__).parent) not in onnx_model.read_bytes().decode("latin-1")


@pytest.mark.parametrize(("to", "width"), [("torch", 16), pytest.param("onnx", 48, marks=pytest.mark.slow)])
def test_half_is_the_model_rounded_to_float16(to: Any, width: int, tmp_path: Path) -> None:
    path = written(tmp_path / "model.safetensors", SMALL["pyramid"] | {"width": width}, NORMS["none"])
    rounded = tmp_path / "half.safetensors"
    export(path, rounded, "safetensors", half=True)
    assert {tensor.dtype for tensor in model_file.read(rounded)[0].state_dict().values()} == {torch.float32}
    assert rounded.stat().st_size < 0.55 * path.stat().st_size
    output = tmp_path / f"half{exporting.SUFFIXES[to]}"
    export(path, output, to, half=True)
    graph = opened(output)
    assert off(graph, rounded, ODD) < 1e-4 and 1e-6 < off(graph, path, ODD) < 0.02
    if to == "onnx":
        assert output.stat().st_size < 0.6 * path.stat().st_size


@pytest.mark.slow
@pytest.mark.parametrize("to", ["onnx", "torch"])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("generator", SMALL)
def test_every_norm_in_every_generator(generator: str, norm: str, to: str, tmp_path: Path) -> None:
    path = written(tmp_path / "model.safetensors", SMALL[generator], NORMS[norm])
    exported(path, to)


@pytest.mark.slow
@pytest.mark.parametrize("to", ["onnx", "torch"])
@pytest.mark.parametrize("padding", ["zero", "reflect", "replicate", "circular"])
@pytest.mark.parametrize(
    "generator",
    [
        SMALL["johnson"] | {"input_norm": True},
        SMALL["johnson"] | {"upsampling": "transposed"},
        SMALL["pyramid"] | {"num_scales": 6, "width": 2},
    ],
)
def test_every_padding_in_every_generator(generator: dict[str, Any], padding: str, to: str, tmp_path: Path) -> None:
    path = written(tmp_path / "model.safetensors", generator | {"padding": padding}, NORMS["instance"])
    exported(path, to)


def exported(path: Path, to: Any) -> None:
    output = path.with_suffix(exporting.SUFFIXES[to])
    export(path, output, to)
    assert off(opened(output), path, ODD) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["instance", "layer", "group", "batch"])
def test_statistics_of_a_million_pixels_keep_their_digits(norm: str, tmp_path: Path) -> None:
    path = written(tmp_path / "model.safetensors", SMALL["johnson"] | {"width": 8}, NORMS[norm])
    export(path, tmp_path / "model.onnx", "onnx")
    x = torch.rand(1, 3, 1025, 1023)
    # In float32 PyTorch's own norms are off by 0.0002.
    exact = exporting._rowwise(model_file.read(path)[0]).double()
    with torch.no_grad():
        assert (opened(tmp_path / "model.onnx")(x) - exact(x.double())).abs().max() < 5e-6


def test_noise_of_a_graph_is_exactly_pytorch_s(tmp_path: Path) -> None:
    noise, photographs = Noise(3).eval(), torch.rand(2, 3, 17, 19)
    axes = {0: "batch", 2: "height", 3: "width"}
    torch.onnx.export(noise, (photographs,), tmp_path / "n.onnx", dynamo=True, dynamic_shapes=(axes,), verbose=False)
    session = InferenceSession(tmp_path / "n.onnx")
    for size in ((1, 3, 5, 7), (2, 3, 701, 333), (1, 3, 33, 20001)):
        x = torch.zeros(size)
        drawn = session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]
        assert np.array_equal(drawn, noise(x).numpy()) and drawn.std() > 0.25


@pytest.mark.slow
def test_pytorch_program_says_what_it_is(model: Path, tmp_path: Path) -> None:
    export(model, tmp_path / "model.pt2", "torch")
    description = dict.fromkeys(model_file.described(model), "")
    torch.export.load(tmp_path / "model.pt2", extra_files=description)
    assert description == model_file.described(model)
    assert str(Path(stylization.__file__).parent) not in (tmp_path / "model.pt2").read_bytes().decode("latin-1")


@pytest.mark.parametrize(("to", "half"), [("safetensors", False), ("safetensors", True)])
def test_what_does_not_compute_the_same_is_not_written(
    to: Any, half: bool, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serialized, opened = exporting._WAYS[to]

    def spoilt(generator: Any, description: dict[str, str]) -> bytes:
        spoilt = model_file.build(json.loads(description["architecture"]))
        spoilt.load_state_dict(generator.state_dict())
        spoilt.layers[0].bias.data += 0.01
        spoilt.layers[-1].bias.data += 0.01
        return serialized(spoilt, description)

    monkeypatch.setitem(exporting._WAYS, to, (spoilt, opened))
    with pytest.raises(InputError, match="differ from PyTorch by"):
        export(model, tmp_path / "out.safetensors", to, half)
    assert not list(tmp_path.iterdir())


def test_weights_beyond_float16_are_refused(model: Path, tmp_path: Path) -> None:
    network, _ = model_file.read(model)
    network.layers[0].weight.data *= 1e8  # of which instance norm takes no notice
    description = model_file.described(model)
    (tmp_path / "large.safetensors").write_bytes(model_file.serialized(network, description))
    export(tmp_path / "large.safetensors", tmp_path / "whole.safetensors", "safetensors")
    with pytest.raises(InputError, match="without --half"):
        export(tmp_path / "large.safetensors", tmp_path / "half.safetensors", "safetensors", half=True)
    assert not (tmp_path / "half.safetensors").exists()


def picture(size: tuple[int, int] = (61, 45)) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


@pytest.mark.parametrize(
    "options",
    [{}, {"strength": 0.4}, {"keep_colors": "luminance"}, {"keep_colors": "matched"}, {"scale": 1.7}, {"scale": 0.6}],
)
def test_stylizer_does_what_pytorch_s_does(options: dict[str, Any], model: Path, onnx_model: Path) -> None:
    with_torch, without = stylization.load(model), stylization.load(onnx_model)
    ours, theirs = (as_levels(stylizer(picture(), **options)) for stylizer in (without, with_torch))
    assert np.abs(ours - theirs).max() <= 1
    assert np.array_equal(as_levels(without(np.asarray(picture()), **options)), ours)
    assert without.facts == with_torch.facts == {"style": "none"}


def as_levels(image: Any) -> NDArray[np.int64]:
    return np.asarray(image, np.int64)


def test_apply_needs_no_pytorch(model: Path, onnx_model: Path, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    picture().save(photo)
    command = ["apply", str(photo), "--scale", "1.5", "--keep-colors", "matched", "--strength", "0.9"]
    code = f"""
import sys
sys.modules["torch"] = sys.modules["torchvision"] = None
from stylization import cli
cli.main({[*command, "--model", str(onnx_model), "--output", str(tmp_path / "out.png")]})
assert not [name for name in sys.modules if name.startswith(("torch.", "torchvision.", "lightning"))]
import stylization
assert stylization.load({str(onnx_model)!r}).facts == {{"style": "none"}}
cli.main({["apply", str(photo), "--model", str(model), "--output", str(tmp_path / "no.png")]})
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 2 and result.stderr.splitlines()[-1].startswith(f"error: {model} needs PyTorch")
    options = {"scale": 1.5, "keep_colors": "matched", "strength": 0.9}
    expected = as_levels(stylization.load(model)(picture(), **options))
    assert np.abs(as_levels(Image.open(tmp_path / "out.png")) - expected).max() <= 1


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (["nowhere"], "no model file at nowhere"),
        (["foreign.safetensors"], "not a model of this project"),
        (["cut.safetensors"], "cut, damaged or no .safetensors file"),
        (["MODEL", "--output", "model.pt2"], "cannot write model.pt2: --to safetensors writes files that end in"),
        (["MODEL", "--output", "file/model.safetensors"], "cannot write file/model.safetensors"),
    ],
)
def test_wrong_input_is_told_in_one_line(
    wrong: list[str], told: str, model: Path, tmp_path: Path, capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    Path("cut.safetensors").write_bytes(model.read_bytes()[:-9])
    Path("foreign.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    words = [str(model) if word == "MODEL" else word for word in wrong]
    refused(["export", "--to", "safetensors", "--output", "out.safetensors", *words], told, capfd)
    assert {path.name for path in Path().iterdir()} == {"file", "cut.safetensors", "foreign.safetensors"}


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (["--model", "nowhere.onnx"], "no model file at nowhere.onnx"),
        (["--model", "cut.onnx"], "cut.onnx is cut, damaged or no ONNX model"),
        (["--model", "empty.onnx"], "empty.onnx is cut, damaged or no ONNX model"),
        (["--model", "foreign.onnx"], "foreign.onnx is an ONNX model, but not one that"),
        (["--model", ".", "--runtime", "onnx"], ". is cut, damaged or no ONNX model"),
        (["--runtime", "torch"], "no .safetensors file"),
        (["--mask", "photo.png"], "--mask needs --runtime torch"),
        (["--tile", "thumbnail"], "--tile needs --runtime torch"),
        (["--device", "cuda"], "--device needs --runtime torch"),
        (["--strength", "2"], "strength=2: must be from 0 to 1"),
    ],
)
def test_what_a_graph_cannot_do_is_told_in_one_line(
    wrong: list[str], told: str, onnx_model: Path, tmp_path: Path, capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    picture().save("photo.png")
    Path("cut.onnx").write_bytes(onnx_model.read_bytes()[:-9])
    Path("empty.onnx").touch()
    foreign = onnx.load(onnx_model)
    foreign.ClearField("metadata_props")
    onnx.save(foreign, "foreign.onnx")
    refused(["apply", "photo.png", "--model", str(onnx_model), "--output", "out.png", *wrong], told, capfd)
    assert not Path("out.png").exists()


def refused(command: list[str], told: str, capfd: Any) -> None:
    """The command ends with status 2 and one line."""
    capfd.readouterr()
    with pytest.raises(SystemExit) as stopped:
        cli.main(command)
    errors = capfd.readouterr().err
    assert stopped.value.code == 2 and errors.count("\n") == 1
    assert errors.startswith("error: ") and told in errors


def test_missing_packages_are_told_before_anything_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "find_spec", lambda name: None if name == "onnxscript" else object())
    with pytest.raises(InputError, match=r"needs onnxscript: pip install 'stylization\[export\]'"):
        export("nowhere", tmp_path / "out.onnx", "onnx")


def test_rowwise_norm_is_the_norm() -> None:
    x = 3 * torch.rand(2, 8, 15, 17) - 1
    for statistics in ("instance", "batch"):
        for size in (1, 4, "all"):
            norm = partial(Norm, 8, channels_per_group=size, statistics=statistics)  # type: ignore[arg-type]
            network = nn.Sequential(norm(), norm(affine=False)).eval()
            nn.init.uniform_(network[0].gamma)  # type: ignore[arg-type]
            with torch.no_grad():
                torch.testing.assert_close(exporting._rowwise(network)(x), network(x), atol=1e-5, rtol=1e-5)
