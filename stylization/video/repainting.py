"""A clip through a stylizer into a film."""

import copy
from collections.abc import Callable, Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stylization import images
from stylization.conditions import Mixture
from stylization.errors import InputError
from stylization.files import atomic_write
from stylization.normalization import norms
from stylization.stylizer import Stylizer
from stylization.video.clip import Clip, Frame, Sound
from stylization.video.film import Film
from stylization.video.smoothing import Flicker, Smoothed

BATCH_PX = 2**20  # of the frames that are repainted at once, if nothing else is asked for
BATCH_SIZE = 16  # of small frames


def repaint(
    clip: Clip,
    output: Path,
    stylizer: Stylizer,
    *,
    num_frames: int | None = None,
    batch_size: int | None = None,
    smooth: float = 0.0,
    morph: Mixture | None = None,
    watch: Callable[[int], object] = lambda num: None,
    **options: Any,
) -> Flicker | None:
    """Write the stylized clip whole or not at all; with `smooth`, return how much it flickers.

    Frames come in batches, but each is repainted as if alone, or with the statistics of those before it, of which
    `smooth` is kept (`normalization.smooth_statistics`). `num_frames` ends the film, its sound too, after so many.
    `morph` is the style that the last frame has, if the first is to have `style`. `watch` is told of every frame
    written; `options` are the stylizer's. Raises `InputError`.
    """
    total = num_frames or clip.num_frames
    batch_size = batch_size or max(1, min(BATCH_SIZE, BATCH_PX // (clip.width * clip.height)))
    plain = alone(stylizer)
    painter = Smoothed(plain, smooth) if smooth else plain
    flicker = Flicker(lambda x: plain(x, **options), total) if smooth else None
    styles = None if morph is None else _morph(stylizer, options.get("style"), morph, total)
    sound = Sound(clip.name)
    with atomic_write(output) as file:
        film = Film(Path(file.name), output, clip, sound, chapters=num_frames is None)
        for frames in batches(islice(clip, num_frames), batch_size):
            x = images.to_float(torch.from_numpy(np.stack([frame.pixels for frame in frames])).permute(0, 3, 1, 2))
            if styles is not None:
                options["style"] = torch.cat(list(islice(styles, len(frames))))
            stylized = painter(x, **options)
            for frame, image in zip(frames, stylized, strict=True):
                film.write(np.asarray(images.to_picture(image)), frame)
                watch(1)
            if flicker:
                flicker.update(x, stylized)
            end = (frames[-1].start + frames[-1].duration) * clip.time_base
            film.copy(sound.before(end))
        if num_frames is None:
            film.copy(sound.before(None))
        film.close()
    return flicker


def _morph(stylizer: Stylizer, style: Mixture | None, last: Mixture, num_frames: int) -> Iterator[torch.Tensor]:
    """The mixture of each frame, (1, k), and the last for as long as frames come."""
    start, end = (stylizer.mixed(wanted)[None] for wanted in (style, last))
    if start.ndim > 2 or end.ndim > 2:
        raise InputError("a morph goes from one style or mixture to another, without masks")
    return (torch.lerp(start, end, min(1.0, number / max(1, num_frames - 1))) for number in count())


def batches(frames: Iterator[Frame], size: int) -> Iterator[list[Frame]]:
    return iter(lambda: list(islice(frames, size)), [])


def alone(stylizer: Stylizer) -> Stylizer:
    """The stylizer with batch statistics, if it has any, taken over each frame by itself, as over a single picture."""
    stylizer = copy.deepcopy(stylizer)
    for norm in norms(stylizer.generator):
        if norm.statistics == "batch":
            norm.statistics = "instance"
    return stylizer
