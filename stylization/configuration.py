"""What Hydra needs to know of us, and what a person is told who mistyped an option. Imports no PyTorch."""

import contextlib
import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_type_hints
from urllib.parse import urlsplit

from hydra import compose, initialize_config_dir
from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    InstantiationException,
    MissingConfigException,
    OverrideParseException,
)
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from stylization import launch
from stylization.errors import InputError
from stylization.settings import check as check_ranges
from stylization.settings import check_size

if TYPE_CHECKING:
    from stylization.content import Content
    from stylization.objective import Objective

CONF = Path(__file__).resolve().parent.parent / "conf"
GROUPS = ("generator", "norm", "data", "loss_network", "objective", "style", "optimizer", "trainer", "callbacks")


def register_resolvers() -> None:
    """`${stem:<path or address>}` is a picture's name without folders and suffix: what its style is called.
    `${launched:devices}` and `${launched:nodes}` are the processes that torchrun or srun started, here and in all.
    `${scaled_lr:}` is `optimizer.lr`, scaled as `optimizer.lr_scaling` says. `${wandb_run:<folder>}` is the id of the
    W&B run that a run folder belongs to already, or null. Of several styles `${joined:<names>}` is what their run is
    called, `${style_options:<names>,<size>}` what is said of each, and `${num_styles:}` how many the run has."""
    OmegaConf.register_new_resolver("stem", _stem, replace=True)
    counts = {"devices": launch.num_launched_here, "nodes": launch.num_nodes_launched}
    OmegaConf.register_new_resolver("launched", lambda what: counts[what](), replace=True)
    OmegaConf.register_new_resolver("scaled_lr", lambda *, _root_: _scaled_lr(_root_), replace=True)
    OmegaConf.register_new_resolver("wandb_run", _wandb_run, replace=True)
    OmegaConf.register_new_resolver("joined", lambda names: "+".join(map(_stem, names)), replace=True)
    OmegaConf.register_new_resolver("style_options", _style_options, replace=True)
    OmegaConf.register_new_resolver("num_styles", lambda *, _root_: len(style_names(_root_)), replace=True)


def _stem(picture: object) -> str:
    return Path(urlsplit(str(picture)).path).stem


def _style_options(names: Sequence[str], size_px: int) -> list[dict[str, Any]]:
    """Name, picture, its size, and its weight if it has one of its own, of each of several styles."""
    options = []
    for name in names:
        path = CONF / "style" / f"{name}.yaml"
        written = cast(DictConfig, OmegaConf.load(path)) if path.exists() else OmegaConf.create()
        style = written.get("style", written)  # `stylization probe --pick` writes a style with its weight
        if "names" in style or "defaults" in style:
            raise InputError(f"style={name}: give the names of single styles")
        weight = OmegaConf.select(written, "objective.weights.style")
        picture = {"image": style.get("image", name), "size_px": style.get("size_px", size_px), "weight": weight}
        options.append({"name": _stem(name), **picture})
    if len({option["name"] for option in options}) < len(options) or not options:
        raise InputError(f"style=[{','.join(names)}]: give styles of different names")
    return options


def style_names(settings: Mapping[str, Any]) -> list[str]:
    """The names of a configuration's styles."""
    style = settings["style"]
    return [option["name"] for option in style["pictures"]] if "pictures" in style else [style["name"]]


def with_several_styles(overrides: Sequence[str]) -> list[str]:
    """`style=[a,b]` as what Hydra knows: it merges options of one group into each other."""
    words = (re.sub(r"^style=(\[.*\])$", r"style=several\nstyle.names=\1", word) for word in overrides)
    return [part for word in words for part in word.split("\n")]


def _scaled_lr(config: DictConfig) -> float:
    """The rate at the batch of a step: `optimizer.lr`, or that times the batch over `optimizer.lr_batch_size`."""
    optimizer = config.optimizer
    if optimizer.lr_scaling not in ("none", "linear"):
        raise InputError(f"optimizer.lr_scaling={optimizer.lr_scaling}: choose none or linear")
    if optimizer.lr_scaling == "none":
        return float(optimizer.lr)
    batch_size = config.data.batch_size * config.trainer.get("accumulate_grad_batches", 1)
    return float(optimizer.lr * batch_size / optimizer.lr_batch_size)


def _wandb_run(folder: str) -> str | None:
    earlier = sorted(Path(folder).glob("wandb/*run-*-*"))
    return earlier[-1].name.rsplit("-", 1)[1] if earlier else None


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turn Hydra's and OmegaConf's complaints about the command line into an `InputError` of one line."""
    try:
        yield
    except MissingConfigException as error:
        raise InputError(_missing_option(error)) from error
    except OverrideParseException as error:
        raise InputError(f"cannot read the override '{error.override}': write key=value") from error
    except ConfigCompositionException as error:
        raise InputError(_wrong_key(error)) from error
    except InstantiationException as error:
        if isinstance(error.__cause__, InputError):
            raise error.__cause__ from None
        if not _is_wrong_value(error):
            raise
        raise InputError(_one_line(error)) from error
    except MissingMandatoryValue as error:
        raise InputError(f"'{error.full_key}' must be given: add {error.full_key}=<value>") from error
    except (HydraException, OmegaConfBaseException) as error:
        if isinstance(error.__cause__, InputError):  # of one of our resolvers
            raise error.__cause__ from None
        raise InputError(_one_line(error)) from error


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _is_wrong_value(error: InstantiationException) -> bool:
    """Whether a setting cannot be given to what it configures: a library's constructor refuses it, or has no such
    argument. What fails inside our own constructors says so by `InputError`; anything else there is a bug."""
    ours = "target 'stylization." in str(error)
    if ours:
        return "argument" in str(error.__cause__)
    lightning = type(error.__cause__).__name__ == "MisconfigurationException"  # not imported: it would take seconds
    return lightning or isinstance(error.__cause__, TypeError | ValueError)


def _missing_option(error: MissingConfigException) -> str:
    group, _, option = (error.missing_cfg_file or "").rpartition("/")
    if not group or not error.options:
        return _one_line(error)
    hint = " (your own picture: style.image=<path or address>)" if group == "style" else ""
    meant = _did_you_mean(option, error.options)
    return f"{group}={option}: no such {group.replace('_', ' ')}{meant}. There are {', '.join(error.options)}{hint}"


def _wrong_key(error: ConfigCompositionException) -> str:
    cause = error.__cause__
    node: Any = getattr(cause, "parent_node", None)
    key = getattr(cause, "full_key", None)
    if not isinstance(node, DictConfig) or not key:
        return _one_line(error)
    section, _, last = str(key).rpartition(".")
    known = sorted(str(k) for k in node if not str(k).startswith("_") and k != "hydra")
    where = f"'{section}' has" if section else "There are"
    return f"no setting '{key}'{_did_you_mean(last, known)}. {where} {', '.join(known)}"


def _did_you_mean(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def composed(overrides: Sequence[str]) -> DictConfig:
    """The configuration that these overrides of train.py give, for those who train nothing. Raises `InputError`."""
    register_resolvers()
    with explained(), initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", [*with_several_styles(overrides), "folder=''"])


def built_objective(settings: Mapping[str, Any], reduction: int = 1) -> "Objective":
    """The objective of a configuration that a person composed; its style pictures reduced so many times."""
    from stylization.rebuild import style_pictures

    pictures, weights = style_pictures(settings, reduction)
    with explained():
        objective: Objective = instantiate(
            settings["objective"],
            loss_network=instantiate(settings["loss_network"]),
            style=pictures,
            style_weights=weights,
            _convert_="all",
        )
        return objective


def built_trainer(config: DictConfig, **parts: Any) -> Any:
    """Lightning's trainer of a configuration, with these callbacks and loggers. `profile` and `compile` are ours."""
    options = {str(key): value for key, value in config.trainer.items() if key not in ("profile", "compile")}
    return instantiate(options, **parts)


def built_content(settings: Mapping[str, Any]) -> "Content":
    """The content stream of a configuration that a person composed."""
    with explained():
        content: Content = instantiate(settings["data"], _convert_="all")
        return content


def check_settings(config: DictConfig) -> None:
    """Raise `InputError` for settings of a wrong type, out of range, or that exclude each other. Imports no PyTorch."""
    for group in GROUPS:
        if not isinstance(config[group], DictConfig):
            raise InputError(f"{group}={config[group]}: not accepted; give an option of this group")
    check_ranges(as_written(config))  # before an interpolation computes with them
    settings = plain(config)
    check_ranges(settings)
    check_size(settings["data"]["batch_size"], settings["data"]["size_px"])
    several = "pictures" in config.style
    if several and "num_styles" not in config.norm:
        raise InputError(f"style={config.style.name}: several styles in one generator need norm=conditional")
    trainer = config.trainer
    if trainer.profile and trainer.compile:
        raise InputError("trainer.profile=true: cannot time the modules of trainer.compile=true; give one of them")
    # With half-precision weights steps of 1e-3 of them are lost; and Lightning itself would take bf16 instead of fp16.
    precisions = ["32-true", "bf16-mixed", *(() if trainer.accelerator == "cpu" else ("16-mixed",))]
    if trainer.precision not in precisions:
        where = f" with trainer.accelerator={trainer.accelerator}"
        raise InputError(f"trainer.precision={trainer.precision}{where}: choose one of {', '.join(precisions)}")


def check_types(config: DictConfig) -> None:
    """Raise `InputError` for a number or word of another type than the constructor it is meant for takes.

    The annotated constructors are the schema: int, float, bool and str are checked, the rest is theirs to check.
    """
    for group, section in config.items():
        if isinstance(section, DictConfig) and str(section.get("_target_")).startswith("stylization."):
            target = get_object(section._target_)
            signature: Any = target.__init__ if isinstance(target, type) else target  # type: ignore[misc]
            hints = get_type_hints(signature)
            for name, value in section.items():
                _check_type(f"{group!s}.{name!s}", value, hints.get(str(name)))


def _check_type(key: str, value: Any, kind: Any) -> None:
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}
    if kind not in names:
        return
    fits = isinstance(value, int | float if kind is float else kind) and isinstance(value, bool) == (kind is bool)
    if not fits:
        raise InputError(f"{key}={value}: must be {names[kind]}")


def plain(config: DictConfig) -> dict[str, Any]:
    """The resolved configuration as dicts, lists, strings and numbers."""
    return _container(config, resolve=True)


def as_written(config: DictConfig) -> dict[str, Any]:
    """The same with its interpolations, e.g. "${seed}"."""
    return _container(config, resolve=False)


def _container(config: DictConfig, resolve: bool) -> dict[str, Any]:
    container = OmegaConf.to_container(config, resolve=resolve, throw_on_missing=resolve)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}
