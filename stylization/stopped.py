"""The generator in a checkpoint: a run that was stopped can be looked at before it goes on."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stylization import runs
from stylization.errors import InputError
from stylization.schema import check

SUFFIX = ".ckpt"
_PREFIX = "generator."  # in a checkpoint's state dict


def newest(folder: Path) -> Path:
    """The newest sound checkpoint of a run that has no model file yet. Raises `InputError` if there is none."""
    checkpoints = folder / runs.CHECKPOINTS
    paths = [path for path in checkpoints.glob(f"*{SUFFIX}") if path.is_file()]
    if not paths:
        raise InputError(
            f"{folder} holds no {runs.MODEL} and no checkpoint: not a run, or one that has not finished a step"
        )
    # `last.ckpt` is written after the checkpoint of the same step.
    paths.sort(key=lambda path: (path.name == runs.LAST, path.stat().st_mtime), reverse=True)
    for path in paths:
        try:
            _loaded(path)
        except InputError:
            continue
        return path
    raise InputError(f"{folder} holds no {runs.MODEL}, and its checkpoints are damaged: train it anew")


def contents(path: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, Tensor]]:
    """Architecture, facts and weights of the generator in a checkpoint of a run.

    The architecture is that of the run's settings, two folders above. Raises `InputError`.
    """
    weights, step = _loaded(path)
    folder = path.absolute().parent.parent
    if not (folder / runs.SETTINGS).exists():
        raise InputError(f"{path}: its run's {runs.SETTINGS} is not at {folder}; leave a checkpoint in its run folder")
    settings = runs.read_settings(folder)
    for section in ("generator", "norm", "style"):
        if section not in settings:
            raise InputError(f"{folder / runs.SETTINGS} has no section '{section}'")
    facts: dict[str, Any] = {"steps": step, "style": settings["style"].get("name", "unknown")}
    if "num_styles" in settings["norm"]:
        facts["styles"] = _names(settings, str(folder / runs.SETTINGS))
    architecture = {"generator": settings["generator"], "norm": settings["norm"]}
    return architecture, facts, weights


def _names(settings: runs.RunSettings, where: str) -> list[str]:
    pictures = settings["style"].get("pictures", [settings["style"]])
    check(list[dict[str, Any]], pictures, f"{where}: style.pictures")
    names = [option.get("name") for option in pictures]
    check(runs.Styles, names, f"{where}: style.pictures")
    if len(names) != settings["norm"]["num_styles"]:  # it began with a model that knew others
        raise InputError(f"{where} does not name all styles of the model: finish the run with resume=")
    return names


def _loaded(path: Path) -> tuple[dict[str, Tensor], int]:
    """The weights of the generator in a checkpoint, and how many steps it has learned."""
    if not path.is_file():
        raise InputError(f"no checkpoint at {path}")
    try:
        # Only tensors and plain values: nothing in the file is run.
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged archive or pickle raises
        raise InputError(f"{path} is damaged or no checkpoint of a run: {_first_line(error)}") from error
    state = saved.get("state_dict") if isinstance(saved, dict) else None
    step = saved.get("global_step", 0) if isinstance(saved, dict) else 0
    if not isinstance(state, dict) or isinstance(step, bool) or not isinstance(step, int):
        raise InputError(f"{path} is no checkpoint of a run")
    weights = {
        name.removeprefix(_PREFIX): value
        for name, value in state.items()
        if isinstance(name, str) and name.startswith(_PREFIX) and isinstance(value, Tensor)
    }
    if not weights:
        raise InputError(f"{path} is no checkpoint of a run: it holds no generator")
    return weights, step


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
