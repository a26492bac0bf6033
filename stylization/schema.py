"""Data from files, checked before anything is built from it. Every reader raises `InputError` with one line."""

import json
import math
import stat
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from pydantic import AfterValidator, Field, StringConstraints, TypeAdapter, ValidationError, conlist

from stylization.errors import InputError, printable

MAX_BYTES = 64 * 2**20  # of a JSON file
MAX_DEPTH = 32
MAX_TEXT = 1000  # of a path, for example

# Bounds of numbers by the name of the parameter. They only keep a file from asking for more than any machine has.
BOUNDS: dict[str, tuple[float, float]] = {
    "width": (1, 4096),
    "num_blocks": (0, 256),
    "num_scales": (1, 12),
    "num_noise": (0, 256),
    "channels_per_group": (1, 2**20),
    "num_styles": (1, 10_000),
    "eps": (0, 1),
    "momentum": (0, 1),
    "size_px": (16, 2**14),
    "held_out_size_px": (16, 2**14),
    "cache_px": (16, 2**14),
    "batch_size": (1, 2**20),
    "num_workers": (0, 1024),
    "num_held_out": (0, 2**31),
    "seed": (-(2**63), 2**63),
}
USUAL_BOUNDS = (-1e15, 1e15)


def _is_printable(text: str) -> str:
    if printable(text) != text:
        raise ValueError("must not hold control characters")
    return text


Text = Annotated[str, StringConstraints(max_length=500), AfterValidator(_is_printable)]
Location = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT, pattern=r"\A[^\x00]*\z")]
Number = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=2**63)]


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Its size and depth are bounded, its numbers finite."""
    return parse_json(read_text(path, MAX_BYTES), str(path))


def read_text(path: Path, max_bytes: int) -> str:
    """The text of a regular file."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{path} is not a regular file")
        if status.st_size > max_bytes:
            raise InputError(f"{path} is too large: {status.st_size} bytes, at most {max_bytes}")
        return path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is damaged: not UTF-8 at byte {error.start}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None


def parse_json(text: str, where: str) -> dict[str, Any]:
    """The object in a JSON text."""
    try:
        value = json.loads(text, parse_constant=_finite, parse_float=_finite)
        _check_depth(value, MAX_DEPTH)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is damaged: {_shortened(str(error) or 'nested too deep', 200)}") from None
    if not isinstance(value, dict):
        raise InputError(f"{where} is damaged: it holds no settings")
    return value


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"the number {text[:20]} is not finite")
    return value


def _check_depth(value: Any, left: int) -> None:
    if not left:
        raise ValueError("nested too deep")
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_depth(item, left - 1)


def check(kind: Any, value: Any, where: str) -> None:
    """Raise `InputError` unless a value from a file has this type: an annotation, a `TypedDict` for example.

    Strict: a boolean is no number, a string is none either. `where` is the file; the message names the field too.
    """
    try:
        TypeAdapter(kind).validate_python(value, strict=True)
    except ValidationError as failed:
        error = failed.errors(include_url=False)[0]
        path: list[str] = []
        at: Any = value
        key: Any
        for key in error["loc"]:  # the names of a union's alternatives are in it, too
            if (isinstance(at, dict) and key in at) or (isinstance(at, list) and isinstance(key, int)):
                at = at[key]
            elif error["type"] != "missing":
                continue
            path.append(str(key))
        said = f"={_shortened(repr(error['input']))}" if error["type"] != "missing" else ""
        message = error["msg"].removeprefix("Value error, ").replace("Input should", "must").replace("Field", "field")
        separator = ": " if path else ""
        raise InputError(f"{where}{separator}{_shortened('.'.join(path))}{said}: {message}") from None


def _shortened(text: str, most: int = 80) -> str:
    text = printable(text)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def named(
    section: Any, where: str, known: Mapping[str, Callable[..., Any]], given: Collection[str] = ()
) -> tuple[Callable[..., Any], dict[str, Any]]:
    """What a section of settings names, looked up in a table of this project's own, and its arguments.

    The annotations of the constructor say which arguments there may be and of which types. Those that are `given` by
    the caller are left out of the result.
    """
    check(dict[str, Any], section, where)
    target = section.get("_target_")
    if not isinstance(target, str) or target not in known:
        said = _shortened(str(target))
        raise InputError(f"{where} names the unsupported {said}; supported: {', '.join(known)}")
    constructor = known[target]
    kinds = _parameters(constructor)
    options = {key: value for key, value in section.items() if key not in ("_target_", "_partial_", *given)}
    for key, value in options.items():
        if key not in kinds:
            raise InputError(f"{where} has the unknown setting {_shortened(key)}; {target} has {', '.join(kinds)}")
        check(kinds[key], value, f"{where}.{key}")
        _check_texts(value, f"{where}.{key}")
        low, high = BOUNDS.get(key, USUAL_BOUNDS)
        if isinstance(value, int | float) and not isinstance(value, bool) and not low <= value <= high:
            raise InputError(f"{where}.{key}={_shortened(repr(value))}: must be from {low:.16g} to {high:.16g}")
    return constructor, options


def _check_texts(value: Any, where: str) -> None:
    """No text is longer than a path may be, or holds what ends one."""
    for text in value if isinstance(value, list | dict) else (value,):
        if isinstance(text, str) and (len(text) > MAX_TEXT or "\0" in text):
            raise InputError(f"{where}={_shortened(text)}: too long, or holds a null character")


def _parameters(constructor: Callable[..., Any]) -> dict[str, Any]:
    """The parameters of a class, those that it hands on to its parents included, or of a function, and their types."""
    classes = constructor.__mro__ if isinstance(constructor, type) else ()
    functions = [vars(kind)["__init__"] for kind in classes if "__init__" in vars(kind) and _is_ours(kind)]
    kinds: dict[str, Any] = {}
    for function in functions or ([] if classes else [constructor]):
        kinds = get_type_hints(function) | kinds
    return {name: _in_json(kind) for name, kind in kinds.items() if name not in ("return", "options")}


def _in_json(kind: Any) -> Any:
    """The type as JSON has it: a pair is a list of two."""
    if get_origin(kind) is not tuple:
        return kind
    members = get_args(kind)
    return conlist(members[0], min_length=len(members), max_length=len(members))


def _is_ours(kind: type) -> bool:
    return kind.__module__.startswith("stylization.")
