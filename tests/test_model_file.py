"""A model file rebuilds its generator exactly, and any other file is refused."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from test_images import small_files_only  # noqa: F401  # a fixture
from torch import nn

import stylization
from stylization import model_file
from stylization.errors import InputError
from stylization.generators import Johnson, Pyramid
from stylization.normalization import Norm

ARCHITECTURE: dict[str, Any] = {
    "generator": {"_target_": "stylization.generators.Johnson", "width": 4, "num_blocks": 1, "norm": None},
    "norm": {"_target_": "stylization.normalization.Norm", "_partial_": True, "train_statistics": "batch"},
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    model_file.write(path, model_file.build(ARCHITECTURE), ARCHITECTURE, {"style": "test"})
    return path


@pytest.mark.parametrize("generator", [Johnson, Pyramid])
@pytest.mark.parametrize("statistics", ["instance", "running"])
def test_what_is_read_computes_what_was_written(tmp_path: Path, generator: type[nn.Module], statistics: str) -> None:
    options = {"statistics": statistics}
    network = generator(norm=partial(Norm, **options), width=4).train()  # type: ignore[call-arg]
    images = torch.rand(2, 3, 37, 50)
    network(images)
    architecture = {
        "generator": {"_target_": f"stylization.generators.{generator.__name__}", "width": 4},
        "norm": {"_target_": "stylization.normalization.Norm", "_partial_": True, **options},
    }
    path = tmp_path / "model.safetensors"
    model_file.write(path, network, architecture, {"steps": 3})
    read, facts = model_file.read(path)
    assert torch.equal(read(images), network.eval()(images))
    assert facts == {"steps": 3}


def test_a_file_can_only_name_our_own_parts(tmp_path: Path, model: Path) -> None:
    architecture = json.loads(json.dumps(ARCHITECTURE))
    architecture["generator"]["_target_"] = "os.system"
    metadata = {"format": model_file.FORMAT, "architecture": json.dumps(architecture), "facts": "{}"}
    save_file(load_file(model), tmp_path / "evil.safetensors", metadata)
    with pytest.raises(InputError, match=r"os\.system"):
        model_file.read(tmp_path / "evil.safetensors")


def test_other_files_are_refused(tmp_path: Path, model: Path) -> None:
    whole = model.read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[:-100])
    (tmp_path / "text.safetensors").write_text("no model")
    save_file({"x": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    for name, reason in (
        ("cut.safetensors", "cut, damaged"),
        ("text.safetensors", "cut, damaged"),
        ("foreign.safetensors", "not a model"),
        ("absent.safetensors", "no model file"),
    ):
        with pytest.raises(InputError, match=reason):
            stylization.load(tmp_path / name)
    (tmp_path / "run").mkdir()
    with pytest.raises(InputError, match="has not finished a step"):
        stylization.load(tmp_path / "run")


@pytest.mark.usefixtures("small_files_only")
def test_full_disk_while_the_model_is_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot write"):
        model_file.write(tmp_path / "model.safetensors", model_file.build(ARCHITECTURE), ARCHITECTURE, {})
    assert not list(tmp_path.iterdir())


def test_stylizer_returns_the_kind_and_size_it_was_given(model: Path) -> None:
    stylizer = stylization.load(model)
    picture = Image.effect_noise((41, 30), 60).convert("RGB")
    output = stylizer(picture)
    assert isinstance(output, Image.Image) and output.size == (41, 30)
    array = stylizer(np.asarray(picture))
    assert array.dtype == np.uint8 and np.array_equal(array, np.asarray(output))
    batch = torch.rand(2, 3, 30, 41)
    assert stylizer(batch).shape == batch.shape
    torch.testing.assert_close(stylizer(batch[0]), stylizer(batch)[0])


def test_stylizer_says_what_it_takes(model: Path) -> None:
    stylizer = stylization.load(model)
    with pytest.raises(InputError, match="uint8"):
        stylizer(np.zeros((4, 4)))
    with pytest.raises(InputError, match="float"):
        stylizer(torch.zeros(1, 4, 4))
