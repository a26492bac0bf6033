"""What a run leaves behind: one .safetensors with a generator's weights and all that is needed to rebuild it."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.nn import Identity, Module

from stylization import generators
from stylization.errors import InputError, written_whole
from stylization.generators.blocks import Generator
from stylization.models import BUNDLED
from stylization.normalization import Conditional, Norm, norms
from stylization.styles import PAINTERS

FORMAT = "stylization-1"
FILE_NAME = "model.safetensors"

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
    description = {"format": FORMAT, "architecture": json.dumps(architecture), "facts": json.dumps(facts)}
    with written_whole(path) as file:
        file.write(serialized(generator, description))


def serialized(generator: Module, description: dict[str, str]) -> bytes:
    """A model file's content, with the weights at the precision that they have."""
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in generator.state_dict().items()}
    return bytes(save(weights, description))


def read(path: Path) -> tuple[Generator, dict[str, Any]]:
    """The generator in a model file, in eval mode and float32, and its facts. Raises `InputError` for any other."""
    description, weights = _contents(path)
    try:
        generator = build(json.loads(description["architecture"]))
        generator.load_state_dict(weights)
        return generator.eval(), json.loads(description["facts"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{path} does not hold what its description says: {str(error).splitlines()[0]}") from error


def described(path: Path) -> dict[str, str]:
    """What a model file says of itself: `format`, and in JSON `architecture` and `facts`. Raises `InputError`."""
    return _contents(path)[0]


def located(model: str | Path) -> Path:
    """A model file's path, that of the one in the folder of a finished run, or for "bundled" and the names of the
    bundled styles that of the model that the package carries. Raises `InputError`."""
    path = Path(model).expanduser()
    if not path.exists() and str(model) in ("bundled", *PAINTERS):
        return BUNDLED
    if path.is_dir():
        path = path / FILE_NAME
        if not path.exists():
            raise InputError(f"{path.parent} holds no {FILE_NAME}: not a run, or one that has not finished")
    return path


def with_more_styles(path: Path, num_styles: int) -> tuple[Generator, dict[str, Any], dict[str, Any]]:
    """The generator in a model file with room for more styles, which alone can learn, and the file's architecture and
    facts. Raises `InputError` if it has no table of styles."""
    generator, facts = read(path)
    tables = [norm for norm in norms(generator) if isinstance(norm, Conditional)]
    if not tables:
        raise InputError(f"{path} has one style and no table: norm=conditional trains one that styles can be added to")
    generator.requires_grad_(False)
    for norm in tables:
        norm.add_styles(num_styles)
    architecture = json.loads(described(path)["architecture"])
    architecture["norm"]["num_styles"] += num_styles
    return generator, architecture, facts


def _contents(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            description = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dict
    except FileNotFoundError:
        raise InputError(f"no model file at {path}") from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is cut, damaged or no .safetensors file: {error}") from error
    if description.get("format") != FORMAT:
        raise InputError(f"{path} is a .safetensors file, but not a model of this project (format '{FORMAT}')")
    return description, weights


def build(architecture: Mapping[str, Any]) -> Generator:
    """A generator with fresh weights from the `generator` and `norm` sections of a configuration."""
    norm, norm_options = _named(architecture["norm"], _NORMS)
    generator, options = _named(architecture["generator"], _GENERATORS)
    built: Generator = generator(**options | {"norm": partial(norm, **norm_options)})
    return built


def _named(section: Mapping[str, Any], known: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    options = {key: value for key, value in section.items() if key not in ("_target_", "_partial_", "norm")}
    if section["_target_"] not in known:
        raise InputError(f"{section['_target_']} is none of those a model file may name: {', '.join(known)}")
    return known[section["_target_"]], options
