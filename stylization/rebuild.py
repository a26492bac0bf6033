"""An objective and a content stream, rebuilt from the saved settings of a run.

Saved settings are data: what they name is looked up in tables of this project's own classes, never imported.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, NotRequired

from pydantic import Field
from torch import Tensor
from typing_extensions import TypedDict

from stylization import loss_networks, styles
from stylization.conditions import LARGEST_STROKE
from stylization.errors import InputError
from stylization.objective import TERMS, Objective, Paired
from stylization.runs import MAX_STYLES, RunSettings
from stylization.schema import BOUNDS, Location, Number, check, named

if TYPE_CHECKING:
    from stylization.content import Content

_SOURCES = ("folder", "Zip", "Shards", "train_samples", "held_out_samples")
_LOSS_NETWORKS = {f"stylization.loss_networks.{name}": getattr(loss_networks, name) for name in loss_networks.__all__}
_OBJECTIVES = {f"stylization.objective.{kind.__name__}": kind for kind in (Objective, Paired)}

_Size = Annotated[int, Field(ge=BOUNDS["size_px"][0], le=BOUNDS["size_px"][1])]


class _Style(TypedDict):
    image: Location
    size_px: _Size
    weight: NotRequired[Number | None]


class _Styles(TypedDict):
    pictures: Annotated[list[_Style], Field(min_length=1, max_length=MAX_STYLES)]


def objective(settings: RunSettings, where: str) -> Objective:
    """The objective of saved settings; `where` names their file in errors. Raises `InputError`."""
    check_styles(settings, where)
    network, network_options = named(settings["loss_network"], f"{where}: loss_network", _LOSS_NETWORKS)
    kind, options = named(settings["objective"], f"{where}: objective", _OBJECTIVES, ("loss_network", "style"))
    for term in TERMS:
        if term not in options.get("weights", {}):
            raise InputError(f"{where}: objective.weights has no {term}")
    with _explained(f"{where}: style"):
        pictures, weights = style_pictures(settings)
    with _explained(f"{where}: objective"):
        built: Objective = kind(
            loss_network=network(**network_options), style=pictures, style_weights=weights, **options
        )
        return built


def check_styles(settings: RunSettings, where: str) -> None:
    """Raise `InputError` unless the style section names one picture or several, with their sizes."""
    several = "pictures" in settings["style"]
    check(_Styles if several else _Style, settings["style"], f"{where}: style")


def style_picture(settings: RunSettings, where: str) -> Tensor:
    """The style picture of a run of one style, at the size that it was trained with. Raises `InputError`."""
    check(_Style, settings["style"], f"{where}: style")
    with _explained(f"{where}: style"):
        return styles.read(settings["style"]["image"], settings["style"]["size_px"])


def style_pictures(settings: Mapping[str, Any], reduction: int = 1) -> tuple[list[list[Tensor]], list[float | None]]:
    """For each style its pictures from small to large strokes, reduced so many times, and its weight if it has one."""
    style = settings["style"]
    options = style.get("pictures", [style])
    scales = (1 / LARGEST_STROKE, 1, LARGEST_STROKE) if settings.get("norm", {}).get("size") else (1,)
    pictures = [
        [styles.read(option["image"], round(option["size_px"] * scale) // reduction) for scale in scales]
        for option in options
    ]
    return pictures, [option.get("weight") for option in options]


def content(settings: RunSettings, where: str) -> "Content":
    """The content stream of saved settings; `where` names their file in errors. Raises `InputError`."""
    from stylization import content as known  # takes the time of importing Lightning

    sources = {f"stylization.content.{name}": getattr(known, name) for name in _SOURCES}
    section = settings["data"]
    places = [name for name in ("source", "held_out_source", "targets") if section.get(name) is not None]
    kind, options = named(section, f"{where}: data", {"stylization.content.Content": known.Content}, places)
    with _explained(f"{where}: data"):
        for name in places:
            source, source_options = named(section[name], f"{where}: data.{name}", sources)
            options[name] = source(**source_options)
        built: Content = kind(**options)
        return built


@contextlib.contextmanager
def _explained(where: str) -> Iterator[None]:
    """Turn what a file's values are rejected with by libraries and by the system into one line."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{where}: {str(error).splitlines()[0] if str(error) else type(error).__name__}") from error
