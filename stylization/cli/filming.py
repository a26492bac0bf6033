"""apply, on a video."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn
from urllib.parse import urlsplit

from stylization.errors import InputError, on_interruption, printable, tell
from stylization.video import SUFFIXES

OPTIONS = ("batch_size", "preview", "smooth", "morph")  # of a video only


def add_options(command: argparse.ArgumentParser) -> None:
    """Add what only makes sense for a video."""
    group = command.add_argument_group("a video (.mp4, .mov, .mkv, .webm)")
    group.add_argument("--batch-size", type=int, metavar="N", help="frames at once (a megapixel, 16 at most)")
    group.add_argument("--preview", type=int, metavar="N", help="only the first N frames")
    group.add_argument(
        "--morph", metavar="STYLE", help="go over from --style to this one, from the first frame to the last"
    )
    group.add_argument("--smooth", type=float, help="share of the norms' statistics kept between frames, 0 to 1 (0)")


def is_asked(options: argparse.Namespace) -> bool:
    """Whether a video is to be repainted. Raises `InputError` if pictures are, with a video's options, or both."""
    num = sum(Path(urlsplit(name).path).suffix.lower() in SUFFIXES for name in options.photos)
    if num and len(options.photos) > 1:
        raise InputError("repaint one video at a time: name nothing else beside it")
    for option in OPTIONS:
        if not num and getattr(options, option) is not None:
            raise InputError(f"--{option.replace('_', '-')} is for videos ({', '.join(SUFFIXES)}), not for pictures")
    return bool(num)


def repaint(options: argparse.Namespace) -> None:
    """Repaint the one video that was named."""
    _check(options)
    try:
        import av  # noqa: F401
    except ModuleNotFoundError:
        raise InputError("videos need PyAV: install the extra 'video', or the package 'av'") from None
    import torch
    from tqdm import tqdm

    from stylization import images, video
    from stylization.cli.painting import mask_names, mixture
    from stylization.memory import keep_memory
    from stylization.stylizer import load
    from stylization.video.film import kind_of

    kind_of(options.output)
    (name,) = options.photos
    images.check_output([options.output], [name, options.mask, *mask_names(options.style)])
    clip = video.Clip(name)
    if left_out := clip.left_out():
        tell(f"left out of {name}: {', '.join(left_out)}")
    mask = images.resized_mask(images.read_mask(options.mask), clip.width, clip.height) if options.mask else None
    stylizer = load(options.model, options.device, options.precision)
    style, morph = mixture(options.style), mixture(options.morph)
    for asked in [style] if morph is None else [style, morph]:  # told before anything is done
        stylizer.ask(asked, options.strength, options.scale)
    keep_memory()
    with _interruptible(), tqdm(total=options.preview or clip.num_frames, unit="frame", delay=1) as bar:
        flicker = video.repaint(
            clip,
            options.output,
            stylizer,
            num_frames=options.preview,
            batch_size=1 if mask is not None else options.batch_size,
            smooth=options.smooth or 0.0,
            watch=bar.update,
            morph=morph,
            style=style,
            strength=options.strength,
            keep_colors=options.keep_colors,
            scale=options.scale,
            strokes=options.strokes,
            mask=None if mask is None else torch.from_numpy(images.mask_shares(mask)),
        )
    print(printable(options.output))
    if flicker:
        print(flicker)


def _check(options: argparse.Namespace) -> None:
    for name in ("batch_size", "preview"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            raise InputError(f"--{name.replace('_', '-')} must be 1 at least")
    if options.smooth is not None and not 0 <= options.smooth <= 1:
        raise InputError(f"--smooth {options.smooth:g}: must be from 0 to 1")
    if "onnx" in (options.runtime, options.model.suffix[1:]):
        raise InputError(f"{options.model}: a video needs --runtime torch, and the model that was exported")
    if options.tile != "auto" or options.memory is not None:
        raise InputError("--tile and --memory are for pictures: a video's frames are repainted whole")
    if options.morph and options.smooth:
        raise InputError("--morph changes the picture on purpose: no --smooth beside it")
    if options.mask and (options.smooth or options.batch_size):
        raise InputError("--mask takes each frame's statistics inside it, one by one: no --smooth, no --batch-size")


@contextmanager
def _interruptible() -> Iterator[None]:
    """Inside, SIGINT and SIGTERM end the process through its `finally`s, with status 128 + their number."""

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    with on_interruption(leave):
        yield
