"""The models that are served: their names, their facts, what they make of a sample, and of a photograph."""

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps
from pydantic import BaseModel, Field, ValidationError

from stylization import images, mixtures
from stylization.blending import KeepColors
from stylization.conditions import Mixture, conditional
from stylization.errors import InputError
from stylization.images import Upload
from stylization.model_file import located
from stylization.stylizer import Stylizer, load

LEAST_SCALE = 0.375  # a long side of 2048 px: the memory of a generator grows with its square
THUMBNAIL_PX = 288


class Facts(BaseModel):
    """What is known of a model, or of one style of a model of several."""

    name: str = Field(
        description="What it is called here: its style, and its norm if it has no other style; and a number if another "
        "is called so already."
    )
    style: str
    norm: str
    number: int = Field(description="Which it is of those that would have the same name.")
    mixes_with: list[str] = Field(description="Names of the other styles of the same generator, to be mixed with it.")
    paints_strength: bool = Field(
        description="Whether strength is asked of the generator, which then paints less, not blended in afterwards."
    )
    steps: int | None = Field(description="How many it was trained for.")
    held_out: dict[str, float] | None = Field(
        description="Unweighted terms of the objective on photographs never trained on, and their weighted total."
    )
    untouched: dict[str, float] | None = Field(description="The same of those photographs as they are.")


@dataclass(frozen=True)
class Model:
    """A stylizer, what it is asked for if it has several styles, and its facts."""

    stylizer: Stylizer
    facts: Facts
    style: str | None = None

    def repainted(
        self,
        upload: Upload,
        strength: float,
        keep_colors: KeepColors | None,
        scale: float,
        style: Mixture | None = None,
    ) -> bytes:
        """Return the upload's photograph repainted, as a file, in this model's style or in a mixture with others.

        Strokes are relative to the picture, so that a reduced preview shows what the whole will be.
        """
        painted = self.stylizer(
            upload.photo.picture, style=style or self.style, strength=strength, keep_colors=keep_colors, scale=scale
        )
        return upload.encode(painted)

    def thumbnail(self) -> bytes:
        """Its style: a JPEG of the sample photograph."""
        square = ImageOps.fit(sample(), (THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.LANCZOS)
        return images.encoded(self.stylizer(square, style=self.style), "JPEG")


def load_models(paths: Sequence[Path], device: str) -> dict[str, Model]:
    """The models in run folders or model files, by their names; of a model of several styles, one for each, which
    share its generator. Raises `InputError`."""
    models: dict[str, Model] = {}
    stylizers: dict[Path, Stylizer] = {}
    for path in paths:
        own = load(path, device)
        stylizer = stylizers.setdefault(located(path).resolve(), own) if own.styles else own
        named = own.default_style if isinstance(own.default_style, str) else None
        styles: Sequence[str | None] = own.styles if own.styles and named is None else [named]
        for style in styles:
            if any(model.stylizer is stylizer for model in models.values() if model.style == style):
                continue  # named twice
            try:
                facts = _facts(stylizer, style)
            except ValidationError as error:
                raise InputError(f"{path} says of itself what cannot be: {error.errors()[0]['loc'][0]}") from None
            facts.name, facts.number = next(free for free in _names(facts, style) if free[0] not in models)
            models[facts.name] = Model(stylizer, facts, style)
    for name, model in models.items():
        model.facts.mixes_with = [
            other for other in models if other != name and models[other].stylizer is model.stylizer
        ]
    return models


def _names(facts: Facts, style: str | None) -> Iterator[tuple[str, int]]:
    """What a model may be called, a part of an address, and the number in it."""
    kind = re.sub(r"[^\w.-]+", "_", f"{facts.style}-{facts.norm}" if style is None else style)
    for number in itertools.count(1):
        yield kind if number == 1 else f"{kind}-{number}", number


def _facts(stylizer: Stylizer, style: str | None) -> Facts:
    told = stylizer.facts
    after, before = (
        told.get(name) if style is None else told.get(f"{name}_by_style", {}).get(style)
        for name in ("val", "val_initial")
    )
    return Facts(
        name="",  # this, number and mixes_with depend on the others
        number=0,
        mixes_with=[],
        style=told.get("style", "unknown") if style is None else style,
        norm=told.get("norm", "unknown"),
        paints_strength=any(asked.strength for asked in conditional(stylizer.generator)),
        steps=told.get("steps"),
        held_out=after,
        untouched=before,
    )


def mixture(models: Mapping[str, Model], model: Model, text: str) -> dict[str, float]:
    """The mixture in a request, by the names of its stylizer's styles. Raises `InputError`."""
    known = [model.facts.name, *model.facts.mixes_with]
    styles = {models[name].facts.style: name for name in known}
    weights: dict[str, float] = {}
    for written, share in mixtures.shares(text).items():
        name = written if written in known else styles.get(written)
        if name is None:
            there = f"there {'are' if known[1:] else 'is'} {', '.join(known)}"
            raise InputError(f"no {written} to mix here; {there}")
        if share is not None and not mixtures.is_number(share):
            raise InputError(f"{written}={share[:200]}: not a weight; write it as mosaic=0.6,ink=0.4")
        if name in weights:
            raise InputError(f"{text[:200]!r}: write it as mosaic=0.6,ink=0.4, each style once")
        weights[name] = 1.0 if share is None else float(share)
    total = sum(weights.values())
    if min(weights.values()) < 0 or not 0 < total < math.inf:
        raise InputError("shares must not be negative, and add up to more than nothing")
    if model.style is None:
        return {}  # a generator of one style is asked for none
    return {models[name].facts.style: weight / total for name, weight in weights.items()}


def sample() -> Image.Image:
    """A photograph to begin with, out of scikit-image's wheel."""
    import skimage.data

    return Image.fromarray(skimage.data.coffee())
