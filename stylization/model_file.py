"""What a run leaves behind: one .safetensors with a generator's weights and all that is needed to rebuild it."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.nn import Identity, Module
from typing_extensions import TypedDict

from stylization import generators, runs, stopped
from stylization.errors import InputError
from stylization.files import atomic_write
from stylization.generators.blocks import Generator
from stylization.models import BUNDLED
from stylization.normalization import Conditional, Norm, norms
from stylization.runs import checked_facts
from stylization.schema import check, named, parse_json
from stylization.styles import PAINTERS

FORMAT = "stylization-1"

# A file names its parts as the configuration does; these are the names it may use, so that loading runs no code of
# the file's choosing.
_GENERATORS = {f"stylization.generators.{name}": getattr(generators, name) for name in generators.__all__}
_NORMS = {f"stylization.normalization.{norm.__name__}": norm for norm in (Norm, Conditional)} | {
    "torch.nn.Identity": Identity
}


def write(path: Path, generator: Module, architecture: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Write a trained generator, whole or not at all.

    `architecture` holds the `generator` and `norm` sections of the run's configuration, `facts` whatever describes
    the training (style, steps, terms, ...); both must be plain JSON values.
    """
    with atomic_write(path) as file:
        file.write(serialized(generator, _description(architecture, facts)))


def _description(architecture: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, str]:
    return {"format": FORMAT, "architecture": json.dumps(architecture), "facts": json.dumps(facts)}


def serialized(generator: Module, description: dict[str, str]) -> bytes:
    """A model file's content, with the weights at the precision that they have."""
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in generator.state_dict().items()}
    return bytes(save(weights, description))


def read(path: Path) -> tuple[Generator, dict[str, Any]]:
    """The generator in a model file or in a checkpoint of a run, in eval mode and float32, and its facts.

    Raises `InputError` for any other file.
    """
    return _read(path)[:2]


def _read(path: Path) -> tuple[Generator, dict[str, Any], dict[str, Any]]:
    """Generator, facts and architecture. The weights are checked against the architecture before anything is built."""
    description, weights = _contents(path)
    architecture, facts = _described(description, str(path))
    check_sizes(architecture, weights, str(path))
    generator = build(architecture, str(path))
    generator.load_state_dict(weights)
    return generator.eval(), facts, architecture


def described(path: Path) -> dict[str, str]:
    """What a model file says of itself: `format`, and in JSON `architecture` and `facts`. Raises `InputError`."""
    description = _contents(path)[0]
    _described(description, str(path))
    return description


def located(model: str | Path) -> Path:
    """A model file's path: of the one in the folder of a finished run, of the last checkpoint of one that was stopped,
    or for "bundled" and the names of the bundled styles of the model that the package carries. Raises `InputError`."""
    path = Path(model).expanduser()
    if not path.exists() and str(model) in ("bundled", *PAINTERS):
        return BUNDLED
    if path.is_dir():
        model = path / runs.MODEL
        return model if model.exists() else stopped.newest(path)
    return path


def with_more_styles(path: Path, num_styles: int) -> tuple[Generator, dict[str, Any], dict[str, Any]]:
    """The generator in a model file with room for more styles, which alone can learn, and the file's architecture and
    facts. Raises `InputError` if it has no table of styles."""
    generator, facts, architecture = _read(path)
    tables = [norm for norm in norms(generator) if isinstance(norm, Conditional)]
    if not tables:
        raise InputError(f"{path} has one style and no table: norm=conditional trains one that styles can be added to")
    generator.requires_grad_(False)
    for norm in tables:
        norm.add_styles(num_styles)
    architecture["norm"]["num_styles"] += num_styles
    return generator, architecture, facts


def _described(description: Mapping[str, str], where: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Architecture and facts, checked."""
    for name in ("architecture", "facts"):
        if name not in description:
            raise InputError(f"{where} does not hold what its description says: no {name}")
    architecture = parse_json(description["architecture"], f"{where}: architecture")
    facts = parse_json(description["facts"], f"{where}: facts")
    checked_facts(facts, f"{where}: facts")
    check(_Architecture, architecture, f"{where}: architecture")
    _parts(architecture, f"{where}: architecture")
    num_styles = architecture["norm"].get("num_styles")
    if num_styles is not None and "styles" in facts and len(facts["styles"]) != num_styles:
        raise InputError(f"{where}: norm.num_styles={num_styles!r}, but there are {len(facts['styles'])} styles")
    return architecture, facts


class _Architecture(TypedDict):
    generator: dict[str, Any]
    norm: dict[str, Any]


def check_sizes(architecture: Mapping[str, Any], weights: Mapping[str, Tensor], where: str) -> None:
    """Raise `InputError` unless these are the weights of a generator of this architecture: names, shapes, and finite
    numbers. The generator is laid out without memory for its weights."""
    num_blocks = architecture["generator"].get("num_blocks", 0)
    if isinstance(num_blocks, int) and num_blocks > len(weights):
        raise InputError(f"{where}: generator.num_blocks={num_blocks}, but the file holds {len(weights)} tensors")
    norm = {key: value for key, value in architecture["norm"].items() if key != "gamma"}  # its values are drawn
    with torch.device("meta"):
        state = build({**architecture, "norm": norm}, where).state_dict()
    expected = {name: tuple(x.shape) for name, x in state.items()}
    if missing := sorted(expected.keys() - weights.keys()):
        raise InputError(f"{where} does not hold what its description says: {missing[0]} is missing")
    if foreign := sorted(weights.keys() - expected.keys()):
        raise InputError(f"{where} does not hold what its description says: it has the unknown {foreign[0][:80]}")
    for name, shape in expected.items():
        if (given := tuple(weights[name].shape)) != shape:
            raise InputError(f"{where} does not hold what its description says: {name} is {given}, not {shape}")
        if not weights[name].is_floating_point() or not bool(weights[name].isfinite().all()):
            raise InputError(f"{where} is damaged: {name} holds what is no finite number")


def _contents(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    if path.suffix == stopped.SUFFIX:
        architecture, facts, weights = stopped.contents(path)
        return _description(architecture, facts), weights
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is not a regular file")
    try:
        with safe_open(path, framework="pt") as file:
            description = file.metadata() or {}
            if description.get("format") != FORMAT:
                raise InputError(f"{path} is a .safetensors file, but not a model of this project (format '{FORMAT}')")
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dict
    except FileNotFoundError:
        raise InputError(f"no model file at {path}") from None
    except (SafetensorError, OSError, UnicodeError) as error:
        raise InputError(f"{path} is cut, damaged or no .safetensors file: {error}") from error
    return description, weights


def build(architecture: Mapping[str, Any], where: str = "architecture") -> Generator:
    """A generator with fresh weights from the `generator` and `norm` sections of a configuration. Raises `InputError`,
    which names `where` the sections are from."""
    norm, (generator, options) = _parts(architecture, where)
    built: Generator = generator(**options | {"norm": norm})
    return built


def _parts(architecture: Mapping[str, Any], where: str) -> tuple[Any, tuple[Any, dict[str, Any]]]:
    """The norm, and the class of the generator with its options."""
    norm, options = named(architecture["norm"], f"{where}: norm", _NORMS, ("num_channels",))
    return partial(norm, **options), named(architecture["generator"], f"{where}: generator", _GENERATORS, ("norm",))
