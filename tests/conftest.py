"""Shared by the tests: few threads, a tiny seeded loss network, and runs of seconds."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # each of pytest's workers has a core, not the machine

from pathlib import Path

import pytest
import torch
from hypothesis import settings
from torch import Tensor

from stylization import model_file
from stylization.loss_networks.vgg import VGG

torch.set_num_threads(1)
settings.register_profile("no deadline", deadline=None)  # a busy machine is no failure
settings.load_profile("no deadline")

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"


ARCHITECTURE = {  # of the smallest model
    "generator": {"_target_": "stylization.generators.Johnson", "width": 4, "num_blocks": 1},
    "norm": {"_target_": "stylization.normalization.Norm"},
}


class Tiny(VGG):
    """relu1_1 ... relu2_1 with four and eight channels and seeded weights: for what does not need a real network."""

    def __init__(self) -> None:
        super().__init__((2, 1), (4, 8))
        random = torch.Generator().manual_seed(0)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=random) * 0.3


@pytest.fixture
def tiny() -> Tiny:
    return Tiny()


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of the smallest model, of seeded weights."""
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    torch.manual_seed(0)
    model_file.write(path, model_file.build(ARCHITECTURE), ARCHITECTURE, {"style": "none"})
    return path


@pytest.fixture
def photographs() -> Tensor:
    """Two smooth random images (2, 3, 32, 48) in [0, 1]."""
    random = torch.Generator().manual_seed(1)
    coarse = torch.rand(2, 3, 6, 8, generator=random)
    return torch.nn.functional.interpolate(coarse, size=(32, 48), mode="bicubic").clamp(0, 1)
