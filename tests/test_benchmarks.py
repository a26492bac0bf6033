"""The rival of the benchmarks is the recipe that it is said to be, and their tables are what was measured."""

import argparse
import json
import re
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from stylization.generators import Johnson
from stylization.loss_networks.vgg import VGG, VGG16_DEPTHS, VGG_WIDTHS
from stylization.normalization import Norm
from stylization.training import parameter_count

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

import common  # noqa: E402


def test_the_rival_s_generator_is_the_published_one() -> None:
    """Johnson et al. 2016, supplement, table 1, with nearest upsampling: its parameters and multiplications."""
    rival = common.Generator()
    assert parameter_count(rival) == parameter_count(Johnson(Norm)) == 1_679_235
    layers = [(3, 32, 9, 1), (32, 64, 3, 4), (64, 128, 3, 16), *[(128, 128, 3, 16)] * 10]  # at a share of the pixels
    layers += [(128, 64, 3, 4), (64, 32, 3, 1), (32, 3, 9, 1)]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        rival(torch.rand(1, 3, 64, 64))
    expected = sum(2 * 64 * 64 // share * c * d * k * k for c, d, k, share in layers)
    assert counter.get_total_flops() == expected


def test_the_rival_s_loss_network_is_vgg() -> None:
    theirs, ours = common.LossNetwork((2, 2, 3, 3), common.STYLE_LAYERS), VGG(VGG16_DEPTHS, VGG_WIDTHS)
    theirs.load_state_dict(ours.state_dict(), strict=False)
    x = torch.rand(1, 3, 32, 32)
    expected = ours(x, common.STYLE_LAYERS)
    for layer, features in theirs(x).items():
        torch.testing.assert_close(features, expected[layer], rtol=1e-4, atol=1e-5)
    assert set(theirs(x)) == set(common.STYLE_LAYERS)


def test_the_rival_looks_at_the_whole_photograph_with_the_whole_network() -> None:
    step = common.training_step(torch.rand(1, 3, 32, 32))
    num_flops, num_bytes = common.arithmetic(step)
    network, generator = common.LossNetwork((2, 2, 3, 3), common.STYLE_LAYERS), common.Generator()
    with FlopCounterMode(display=False) as looking:
        network(torch.rand(1, 3, 32, 32))
    with FlopCounterMode(display=False) as painting, torch.no_grad():
        generator(torch.rand(1, 3, 32, 32))
    first_layer = 2 * 32 * 32 * 3 * 32 * 81  # needs no gradient of the photograph
    grams = 2 * (64**2 * 32**2 + 128**2 * 16**2 + 256**2 * 8**2 + 512**2 * 4**2)
    assert num_flops == 3 * looking.get_total_flops() + 3 * painting.get_total_flops() - first_layer + 3 * grams
    assert num_bytes > 0


def test_a_table_is_printed_written_and_put_into_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(common, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["benchmarks/step.py", "--readme"])
    (tmp_path / "README.md").write_text("before\n<!-- step -->\nold\n<!-- end of step -->\nafter\n")
    rows = [{"step": "ours", "s": common.spread([1.0, 2.0, 4.0]), "GB": 1.5}, {"step": "theirs", "s": 3}]
    common.publish(
        "step",
        rows,
        argparse.Namespace(device="cpu", json=tmp_path / "found" / "step.json", readme=True),
        "Three turns.",
    )
    table = "| step | s | GB |\n| --- | ---: | ---: |\n| ours | 2 (1 to 4) | 1.5 |\n| theirs | 3 |  |\n"
    assert table in capsys.readouterr().out
    readme = (tmp_path / "README.md").read_text()
    assert table in readme and "old" not in readme and "`uv run benchmarks/step.py`" in readme
    assert readme.startswith("before\n") and readme.endswith("<!-- end of step -->\nafter\n")
    found = json.loads((tmp_path / "found" / "step.json").read_text())
    assert found["rows"][0]["s"] == {"median": 2.0, "least": 1.0, "most": 4.0} and found["date"] and found["machine"]


def test_ratios_are_those_of_the_turns() -> None:
    assert common.times_as_fast([1.0, 2.0, 4.0], [2.0, 2.0, 12.0]) == common.Spread(2.0, 1.0, 3.0)


def test_every_table_has_its_place_in_the_readme() -> None:
    names = [
        name
        for path in (ROOT / "benchmarks").glob("*.py")
        for name in re.findall(r'common\.publish\("(\w+)"', path.read_text())
    ]
    readme = (ROOT / "README.md").read_text()
    assert "step" in names
    for name in names:
        assert readme.count(f"<!-- {name} -->\n") == readme.count(f"<!-- end of {name} -->") == 1, name
