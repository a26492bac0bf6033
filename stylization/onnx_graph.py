"""What an ONNX file asks of a runtime, looked at before one opens it.

Reads the few fields of the protocol buffer that decide: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

from collections.abc import Iterator

STANDARD = ("", "ai.onnx")  # names of the one domain of operators
MAX_NODES = 20_000

# Numbers of the fields of messages.
_MODEL_GRAPH, _MODEL_FUNCTIONS, _MODEL_OPSETS = 7, 25, 8
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE = 1, 5, 15
_NODE_TYPE, _NODE_ATTRIBUTE, _NODE_DOMAIN = 4, 5, 7
_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS = 5, 10, 6, 11
_TENSOR_EXTERNAL, _TENSOR_LOCATION = 13, 14
_OPSET_DOMAIN = 1


class Unsupported(ValueError):
    """Why a graph is not opened."""


class Damaged(ValueError):
    """The bytes are no ONNX model."""


def check(content: bytes) -> None:
    """Raise `Unsupported` for a graph that could run without end, run code of its own or read other files.

    What is no graph raises `Damaged`.

    Loops and branches are nodes that hold a graph; an exported generator has none. Operators are ONNX's own. Weights
    are inside the file.
    """
    graphs = 0
    for number, value in _fields(content):
        if number == _MODEL_FUNCTIONS:
            raise Unsupported("it defines functions")
        if number == _MODEL_OPSETS:
            _check_domain(_message(value), _OPSET_DOMAIN)
        if number == _MODEL_GRAPH:
            graphs += 1
            _check_graph(_message(value))
    if graphs != 1:
        raise Damaged


def _check_graph(graph: bytes) -> None:
    num_nodes = 0
    for number, value in _fields(graph):
        if number == _GRAPH_NODE:
            num_nodes += 1
            _check_node(_message(value))
        elif number == _GRAPH_INITIALIZER:
            _check_tensor(_message(value))
        elif number == _GRAPH_SPARSE:
            raise Unsupported("it holds sparse weights")
    if num_nodes > MAX_NODES:
        raise Unsupported(f"it has {num_nodes} nodes")


def _check_node(node: bytes) -> None:
    _check_domain(node, _NODE_DOMAIN)
    kind = next((_message(value) for number, value in _fields(node) if number == _NODE_TYPE), b"")
    for number, value in _fields(node):
        if number != _NODE_ATTRIBUTE:
            continue
        for inner, part in _fields(_message(value)):
            if inner in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS):
                raise Unsupported(f"{kind.decode(errors='replace')} holds a graph: loops and branches are not run")
            if inner in (_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS):
                _check_tensor(_message(part))


def _check_domain(message: bytes, field: int) -> None:
    for number, value in _fields(message):
        if number == field and (domain := _message(value).decode(errors="replace")) not in STANDARD:
            raise Unsupported(f"it needs operators of {domain[:80]}")


def _check_tensor(tensor: bytes) -> None:
    for number, value in _fields(tensor):
        if number == _TENSOR_EXTERNAL or (number == _TENSOR_LOCATION and value != 0):
            raise Unsupported("its weights are in another file")


def _message(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise Damaged
    return value


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message, each its number and its value; raises `Damaged` for what is no message."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if kind == 2:
            length, at = _varint(message, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise Damaged
        if at + length > len(message):
            raise Damaged
        yield key >> 3, message[at : at + length]
        at += length


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise Damaged
        value |= (message[at] & 127) << shift
        at += 1
        if not message[at - 1] & 128:
            return value, at
    raise Damaged
