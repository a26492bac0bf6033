"""An ONNX file is looked at before a runtime opens it, and what its graph makes before anything is painted."""

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from test_runs import flipped, one_line

from stylization.errors import InputError
from stylization.onnx_runtime import OnnxStylizer

PICTURE = ["b", 3, "h", "w"]
PHOTOGRAPHS = np.full((1, 3, 16, 16), 0.5, np.float32)


def saved(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    shape: Sequence[str | int] = PICTURE,
    out: Sequence[str | int] = PICTURE,
    weights: Sequence[onnx.TensorProto] = (),
    facts: str | None = '{"style": "test"}',
    domain: str = "",
) -> Path:
    """A model whose graph makes `stylized` of `photograph`."""
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info("photograph", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("stylized", TensorProto.FLOAT, out)],
        list(weights),
    )
    opsets = [helper.make_opsetid("", 17), *([helper.make_opsetid(domain, 1)] if domain else [])]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    if facts is not None:
        helper.set_model_props(model, {"facts": facts})
    path.write_bytes(model.SerializeToString())
    return path


def identity() -> onnx.NodeProto:
    return helper.make_node("Identity", ["photograph"], ["stylized"])


def endless() -> list[onnx.NodeProto]:
    """A loop whose condition stays true."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["cond"], ["again"]), helper.make_node("Identity", ["x"], ["y"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("cond", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("again", TensorProto.BOOL, []),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, None),
        ],
    )
    true = helper.make_node("Constant", [], ["true"], value=helper.make_tensor("t", TensorProto.BOOL, [], [True]))
    return [true, helper.make_node("Loop", ["", "true", "photograph"], ["stylized"], body=body)]


def branch() -> list[onnx.NodeProto]:
    info = helper.make_tensor_value_info("z", TensorProto.FLOAT, None)
    part = helper.make_graph([helper.make_node("Identity", ["photograph"], ["z"])], "part", [], [info])
    true = helper.make_node("Constant", [], ["true"], value=helper.make_tensor("t", TensorProto.BOOL, [], [True]))
    return [true, helper.make_node("If", ["true"], ["stylized"], then_branch=part, else_branch=part)]


def external() -> onnx.TensorProto:
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../secret"
    return tensor


def reshaped(*sizes: int) -> list[onnx.NodeProto]:
    shape = numpy_helper.from_array(np.array(sizes, np.int64), "s")
    return [
        helper.make_node("Constant", [], ["shape"], value=shape),
        helper.make_node("Reshape", ["photograph", "shape"], ["stylized"]),
    ]


def test_a_plain_graph_is_opened(tmp_path: Path) -> None:
    painted = OnnxStylizer(saved(tmp_path / "x.onnx", [identity()])).paint(PHOTOGRAPHS)
    assert np.array_equal(painted, PHOTOGRAPHS)


def test_graphs_that_a_generator_does_not_need_are_not_opened(tmp_path: Path) -> None:
    add = helper.make_node("Add", ["photograph", "w"], ["stylized"])
    constant = helper.make_node("Constant", [], ["w"], value=external())
    foreign = helper.make_node("Identity", ["photograph"], ["stylized"], domain="com.microsoft")
    for told, path in (
        ("Loop holds a graph", saved(tmp_path / "loop.onnx", endless())),
        ("If holds a graph", saved(tmp_path / "if.onnx", branch())),
        ("weights are in another file", saved(tmp_path / "external.onnx", [add], weights=[external()])),
        ("weights are in another file", saved(tmp_path / "constant.onnx", [constant, add])),
        ("operators of com.microsoft", saved(tmp_path / "domain.onnx", [foreign], domain="com.microsoft")),
        ("operators of evil", saved(tmp_path / "opset.onnx", [identity()], domain="evil")),
        ("nodes", saved(tmp_path / "many.onnx", [identity()] * 20_001)),
    ):
        with pytest.raises(InputError, match=told) as error:
            OnnxStylizer(path)
        assert str(path) in str(error.value) and str(error.value).isprintable()


@pytest.mark.parametrize("facts", [None, "{", "[]", "3", "", '{"style": 3}', '{"style": "\\u001b"}', '{"styles": "a"}'])
def test_wrong_facts_are_told_in_one_line(facts: str | None, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        OnnxStylizer(saved(tmp_path / "x.onnx", [identity()], facts=facts))
    assert str(tmp_path) in str(error.value) and str(error.value).isprintable()


def test_graphs_of_another_rank_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"not \(batch, 3, height, width\)"):
        OnnxStylizer(saved(tmp_path / "x.onnx", [identity()], shape=["h", "w"], out=["h", "w"]))


@pytest.mark.parametrize(
    ("nodes", "told"),
    [
        (reshaped(1, 3, 5, 5), "the graph fails"),
        (reshaped(1, 3, 8, 32), r"the graph makes \(1, 3, 8, 32\) of a picture \(1, 3, 16, 16\)"),
        (reshaped(16, 48), r"the graph makes|the graph fails|is an ONNX model|cut, damaged"),
        ([helper.make_node("Log", ["photograph"], ["l"]), helper.make_node("Sqrt", ["l"], ["stylized"])], "not finite"),
    ],
)
def test_what_a_graph_makes_must_be_a_picture(nodes: list[onnx.NodeProto], told: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=told) as error:
        OnnxStylizer(saved(tmp_path / "x.onnx", nodes)).paint(PHOTOGRAPHS)
    assert str(tmp_path) in str(error.value) and str(error.value).isprintable()


def read_mutants(folder: Path, num_mutants: int, seed: int) -> int:
    """Open and run mutants of small graphs; how many were rejected."""
    draw, rejected = random.Random(seed), 0
    weights = [numpy_helper.from_array(np.ones((3, 3, 3, 3), np.float32), "w")]
    conv = helper.make_node("Conv", ["photograph", "w"], ["stylized"], pads=[1, 1, 1, 1])
    graphs = [
        saved(folder / "a.onnx", [identity()]).read_bytes(),
        saved(folder / "b.onnx", [conv], weights=weights).read_bytes(),
        saved(folder / "c.onnx", reshaped(1, 3, 16, 16)).read_bytes(),
    ]
    for number in range(num_mutants):
        path = folder / "mutant.onnx"
        path.write_bytes(flipped(graphs[number % 3], draw))
        try:
            OnnxStylizer(path).paint(PHOTOGRAPHS)
        except InputError as error:
            one_line(error)
            rejected += 1
    return rejected


def test_mutants_of_a_graph_raise_nothing_but_input_errors(tmp_path: Path) -> None:
    assert read_mutants(tmp_path, 100, 0) > 50


@pytest.mark.slow
def test_many_mutants_of_a_graph_raise_nothing_but_input_errors(tmp_path: Path) -> None:
    assert read_mutants(tmp_path, 2000, 1) > 1000
