"""The models that are served: their names, their facts, what they make of a sample, and of a photograph."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps
from pydantic import BaseModel, Field, ValidationError

from stylization import images
from stylization.blending import KeepColors
from stylization.errors import InputError
from stylization.images import Upload
from stylization.stylizer import Stylizer, load

PAINTED_PX = 768  # long side at which a photograph is repainted, if nothing else is asked for
MOST_PAINTED_PX = 2048  # what a generator holds in memory meanwhile grows with its square
THUMBNAIL_PX = 288


class Facts(BaseModel):
    """What is known of a model."""

    name: str = Field(description="What it is called here: its style and norm, and a number if another has the same.")
    style: str
    norm: str
    number: int = Field(description="Which it is of those with the same style and norm.")
    steps: int | None = Field(description="How many it was trained for.")
    held_out: dict[str, float] | None = Field(
        description="Unweighted terms of the objective on photographs never trained on, and their weighted total."
    )
    untouched: dict[str, float] | None = Field(description="The same of those photographs as they are.")


@dataclass(frozen=True)
class Model:
    """A stylizer, its facts, and a thumbnail of its style: a JPEG of the sample photograph."""

    stylizer: Stylizer
    facts: Facts
    thumbnail: bytes

    def repainted(self, upload: Upload, strength: float, keep_colors: KeepColors | None, painted_px: int) -> bytes:
        """The upload's photograph repainted, as a file.

        Strokes are as large as in a photograph of `painted_px`, however much this one was reduced before: a preview
        shows what the whole will be. The stylizer enlarges no stroke more than ten times.
        """
        picture = upload.photo.picture
        scale = max(picture.size) / max(painted_px, upload.long_side_px / 10)
        scale = min(max(scale, 0.1), 10.0)
        return upload.encode(self.stylizer(picture, strength=strength, keep_colors=keep_colors, scale=scale))


def load_models(paths: Sequence[Path], device: str) -> dict[str, Model]:
    """The models in run folders or model files, by their names. Raises `InputError`."""
    models: dict[str, Model] = {}
    seen: Counter[str] = Counter()
    for path in paths:
        stylizer = load(path, device)
        try:
            facts = _facts(stylizer.facts)
        except ValidationError as error:
            raise InputError(f"{path} says of itself what cannot be: {error.errors()[0]['loc'][0]}") from None
        kind = re.sub(r"[^\w.-]+", "_", f"{facts.style}-{facts.norm}")  # is part of an address
        seen[kind] += 1
        facts.number = seen[kind]
        facts.name = kind if facts.number == 1 else f"{kind}-{facts.number}"
        models[facts.name] = Model(stylizer, facts, _thumbnail(stylizer))
    return models


def _facts(facts: dict[str, Any]) -> Facts:
    return Facts(
        name="",  # and number: they depend on the others
        number=0,
        style=facts.get("style", "unknown"),
        norm=facts.get("norm", "unknown"),
        steps=facts.get("steps"),
        held_out=facts.get("val"),
        untouched=facts.get("val_initial"),
    )


def _thumbnail(stylizer: Stylizer) -> bytes:
    square = ImageOps.fit(sample(), (THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.LANCZOS)
    return images.encoded(stylizer(square), "JPEG")


def sample() -> Image.Image:
    """A photograph to begin with, out of scikit-image's wheel."""
    import skimage.data

    return Image.fromarray(skimage.data.coffee())
