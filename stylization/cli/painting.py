"""apply, optimize, probe: from a photograph to a picture."""

from __future__ import annotations

import argparse
import contextlib
import math
import re
import shlex
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from stylization import mixtures
from stylization.cli import filming
from stylization.errors import Damaged, InputError, printable, tell

if TYPE_CHECKING:
    import pyvips
    from tqdm import tqdm

    from stylization.cli import Commands
    from stylization.images import Photograph
    from stylization.objective import Objective

    Repaint = Callable[[Photograph, Callable[[float], None]], AbstractContextManager[pyvips.Image]]


MASK_PX = 512  # of the short side of styles' masks
HUGE_PX = 100e6  # photographs for which disk and time are estimated beforehand


def add(commands: Commands) -> None:
    """Add them to the parser."""
    command = commands.add_parser("apply", help="repaint pictures or a video with a trained model")
    command.add_argument(
        "photos", metavar="PHOTO", nargs="+", help="paths, http(s) addresses, folders of pictures; or one video"
    )
    command.add_argument(
        "--style",
        help="of a model of several styles: mosaic, a mixture mosaic=0.6,ink=0.4, or by masks mosaic=sky.png,ink",
    )
    command.add_argument(
        "--model", type=Path, help="a run folder, a model file or an exported .onnx (the model of all bundled styles)"
    )
    command.add_argument(
        "--output", type=Path, help="a picture or video; for several or a folder, a folder (photo.mosaic.jpg, here)"
    )
    command.add_argument("--overwrite", action="store_true", help="make anew what is there already")
    command.add_argument("--strength", type=float, default=1.0, help="0 (the photograph) to 1 (1)")
    command.add_argument("--keep-colors", choices=["luminance", "matched"], help="give the photograph's colours back")
    command.add_argument("--scale", type=float, default=1.0, help="stroke size multiplier, 0.1 to 10 (default: 1)")
    command.add_argument(
        "--strokes",
        choices=["relative", "native"],
        default="relative",
        help="relative: strokes as in a picture of 768 px, whatever the size; native: as large in pixels as trained, "
        "finer in a large picture (default: relative)",
    )
    command.add_argument("--mask", help="a picture, white where to repaint; of any size")
    command.add_argument(
        "--tile",
        choices=["auto", "thumbnail", "never"],
        default="auto",
        help="what is larger than the memory: auto, by tiles with the statistics of the whole, exactly; thumbnail, "
        "with those of a thumbnail, in one pass; never (auto)",
    )
    command.add_argument("--memory", metavar="SIZE", help="that the process may take, 1.5GB say (1GB beside itself)")
    command.add_argument(
        "--max-megapixels",
        type=float,
        default=500.0,
        metavar="N",
        help="reject larger pictures before they are decoded (default: 500)",
    )
    command.add_argument("--runtime", choices=["torch", "onnx"], help="(onnx for a model.onnx, otherwise torch)")
    command.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, mps (cpu)")
    command.add_argument("--precision", choices=["float32", "bfloat16"], default="float32", help="(float32)")
    filming.add_options(command)
    command.set_defaults(run=_apply)

    command = commands.add_parser("optimize", help="repaint by the slow, iterative method: no trained model needed")
    command.add_argument(
        "words", metavar="PHOTO|FOLDER|KEY=VALUE", nargs="+", help="pictures, and settings of train.py"
    )
    command.add_argument("--style", default="mosaic", help="a bundled style's name, a path or an address (mosaic)")
    command.add_argument("--output", type=Path, required=True, help="a picture, or for several a folder")
    command.add_argument("--num-steps", type=int, default=200, help="for each picture (200)")
    command.add_argument("--size-px", type=int, default=512, help="the short side is reduced to this (512)")
    command.add_argument("--method", choices=["lbfgs", "adam"], default="lbfgs", help="(lbfgs)")
    command.add_argument("--start", choices=["photograph", "noise"], default="photograph", help="(photograph)")
    command.add_argument("--scales", type=int, default=1, help="begin at 1/2, 1/4, ... of the size (1: do not)")
    command.add_argument("--overwrite", action="store_true", help="make anew what is there already")
    command.set_defaults(run=_optimize)

    command = commands.add_parser("probe", help="which size and weight suit a style: a sheet over both, in minutes")
    command.add_argument("picture", metavar="PICTURE", help="the style: a bundled name, a path or an address")
    command.add_argument(
        "overrides", metavar="GROUP.KEY=VALUE", nargs="*", help="of conf/, e.g. objective.content_layers=[relu3_3]"
    )
    command.add_argument("--photo", help="to try it on (default: the cat of the samples)")
    command.add_argument("--sizes-px", type=int, nargs="+", default=[128, 256, 384], help="of the style (128 256 384)")
    command.add_argument("--weights", type=float, nargs="+", default=[1, 3, 10, 30], help="of the style term")
    command.add_argument("--size-px", type=int, default=160, help="of the photograph (160)")
    command.add_argument("--num-steps", type=int, default=30, help="for each picture (30)")
    command.add_argument("--output", type=Path, default=Path("outputs/probe.png"), help="(outputs/probe.png)")
    command.add_argument("--pick", nargs=2, metavar=("SIZE_PX", "WEIGHT"), help="write this choice to conf/style")
    command.set_defaults(run=_probe)


def _apply(options: argparse.Namespace) -> None:
    try:
        _complete(options)
        if filming.is_asked(options):
            filming.repaint(options)
        else:
            _apply_to_pictures(options)
    except Damaged as error:
        tell(f"error: {error}")
        raise SystemExit(1) from None


def _apply_to_pictures(options: argparse.Namespace) -> None:
    from tqdm import tqdm

    from stylization import images
    from stylization.memory import keep_memory

    if not options.max_megapixels > 0:
        raise InputError(f"--max-megapixels={options.max_megapixels:g}: must be above 0")
    jobs = images.paired_paths(options.photos, options.output, keep_suffix=True)
    images.check_output((output for _, output in jobs), [options.mask, *mask_names(options.style)])
    runtime = options.runtime or ("onnx" if options.model.suffix == ".onnx" else "torch")
    repaint = _by_torch(options) if runtime == "torch" else _by_onnx(options)
    if options.memory is None:  # what is kept lies in pieces, and takes half as much again
        keep_memory()
    batch = _Batch(jobs, options.overwrite)
    with tqdm(total=len(jobs), unit="img", bar_format=BAR, delay=1) as bar:

        def watch(share: float) -> None:
            bar.update(min(share, len(jobs) - bar.n))  # shares may add up to a little more

        def paint(name: str, output: Path) -> None:
            photo = images.Photograph(name, options.max_megapixels)
            photo.check_output(output)
            bar.set_postfix_str(printable(output.name), refresh=False)
            with repaint(photo, watch) as painted:
                photo.save(painted, output)

        batch.run(paint, bar)
    batch.end(options.output)


def _complete(options: argparse.Namespace) -> None:
    """Fill in what was not said: the bundled model, and what a single picture is to be called."""
    if options.model is None:
        from stylization.models import BUNDLED

        if options.style is None:
            raise InputError("give --style, or --model for one of your own; stylization models tells what there is")
        options.model = BUNDLED
    if options.output is None:
        from stylization.images.files import WRITTEN
        from stylization.video import SUFFIXES as VIDEO_SUFFIXES

        source = Path(urlsplit(options.photos[0]).path)
        if len(options.photos) > 1 or source.is_dir():
            raise InputError("--output: several pictures need a folder")
        style = options.style or options.model.stem
        words = re.sub(r"\W+", "_", style)
        is_written = source.suffix.lower() in (*WRITTEN, *VIDEO_SUFFIXES)
        options.output = Path(f"{source.stem}.{words}{source.suffix if is_written else '.png'}")


def mixture(text: str | None) -> str | dict[str, Any] | None:
    """What --style says: one style, or the share of each of several, a number or a mask's file."""
    if text is None or ("," not in text and "=" not in text):
        return text
    return {
        name: share if share is None else float(share) if mixtures.is_number(share) else _map(share)
        for name, share in mixtures.shares(text).items()
    }


def mask_names(style: str | None) -> list[str]:
    """The masks' files in what --style says."""
    shares = mixtures.shares(style).values() if style and "=" in style else ()
    return [share for share in shares if share and not mixtures.is_number(share)]


def _map(name: str) -> Any:
    """A mask's file as a map (h, w) of shares in [0, 1], small: it is stretched over any picture."""
    import torch

    from stylization import images

    mask = images.read_mask(name)
    share = min(1.0, MASK_PX / min(mask.width, mask.height))
    sides = (max(1, round(side * share)) for side in (mask.width, mask.height))
    return torch.from_numpy(images.mask_shares(images.resized_mask(mask, *sides)))


def _by_torch(options: argparse.Namespace) -> Repaint:
    if find_spec("torch") is None:
        raise InputError(
            f"{options.model} needs PyTorch: pip install torch, or give what `stylization export` made of it"
        )
    from stylization import images
    from stylization.repainting import MEMORY_BYTES, Look, cost, memory_left, painted_size, repainted
    from stylization.stylizer import load

    look = Look(
        options.strength, options.keep_colors, options.scale, options.mask, mixture(options.style), options.strokes
    )
    process_bytes = None if options.memory is None else _bytes(options.memory)
    if look.mask is not None:
        images.read_mask(look.mask)  # its damage is reported before anything is done
    stylizer = load(options.model, options.device, options.precision)
    stylizer.ask(look.style, look.strength, look.scale)  # told before anything is done
    memory_bytes = MEMORY_BYTES if process_bytes is None else memory_left(process_bytes)

    def repaint(photo: Photograph, watch: Callable[[float], None]) -> AbstractContextManager[pyvips.Image]:
        if math.prod(painted_size(photo, look)) > HUGE_PX and options.tile != "never":
            tell(cost(stylizer, photo, look))
        return repainted(stylizer, photo, look, options.tile, memory_bytes, watch)

    return repaint


def _by_onnx(options: argparse.Namespace) -> Repaint:
    """Without PyTorch; the whole photograph at once."""
    from stylization import images
    from stylization.onnx_runtime import OnnxStylizer

    usual = {"mask": None, "style": None, "tile": "auto", "memory": None, "device": "cpu", "precision": "float32"}
    for name, value in usual.items():
        if getattr(options, name) != value:
            raise InputError(f"--{name} needs --runtime torch: a graph paints a whole picture, on the CPU, in float32")
    stylizer = OnnxStylizer(options.model)

    def repaint(photo: Photograph, watch: Callable[[float], None]) -> AbstractContextManager[pyvips.Image]:
        painted = stylizer.stylize(photo.whole(), options.strength, options.keep_colors, options.scale, options.strokes)
        watch(1.0)
        return contextlib.nullcontext(images.as_image(painted, photo.depth))

    return repaint


BAR = "{l_bar}{bar}| {n:.1f}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"


def _bytes(size: str) -> float:
    """A size such as 800MB, 1.5GB or 2e9."""
    for suffix, unit in (("GB", 1e9), ("MB", 1e6), ("", 1.0)):
        if size.upper().endswith(suffix):
            with contextlib.suppress(ValueError):
                num_bytes = float(size[: len(size) - len(suffix)]) * unit
                if 0 < num_bytes < math.inf:
                    return num_bytes
    raise InputError(f"--memory {size}: give a size such as 800MB or 2GB")


@dataclass
class _Batch:
    """Pictures to be made of others, one after the other.

    What exists is left alone, and what cannot be read, painted or written is reported. A single picture is always
    made, and its error is the command's. A full disk ends a batch: it is no fault of the picture.
    """

    jobs: Sequence[tuple[str, Path]]
    overwrite: bool
    num_there: int = 0
    num_failed: int = 0

    def run(self, make: Callable[[str, Path], None], bar: tqdm | None = None) -> None:
        """Call `make(name, output)` for each of them."""
        for number, (name, output) in enumerate(self.jobs):
            if bar is not None:
                bar.update(number - bar.n)
            if output.exists() and not self.overwrite and len(self.jobs) > 1:
                self.num_there += 1
                continue
            try:
                make(name, output)
            except InputError as error:
                if len(self.jobs) == 1 or isinstance(error.__cause__, OSError):
                    raise
                tell(f"skipped: {error}")
                self.num_failed += 1

    def end(self, output: Path) -> None:
        """Say what was done; exit with status 1 if some could not be read."""
        num_done = len(self.jobs) - self.num_there - self.num_failed
        there = f", {self.num_there} were there already (--overwrite makes them anew)" if self.num_there else ""
        print(printable(output if len(self.jobs) == 1 else f"{output}: {num_done} pictures{there}"))
        if self.num_failed:
            tell(f"error: {self.num_failed} of {len(self.jobs)} pictures could not be read")
            raise SystemExit(1)


def _optimize(options: argparse.Namespace) -> None:
    from tqdm import tqdm

    from stylization import images
    from stylization.configuration import built_objective, composed
    from stylization.iterative import optimize
    from stylization.memory import keep_memory
    from stylization.overrides import assigned

    for name, least in (("num_steps", 1), ("size_px", 32), ("scales", 1)):
        if getattr(options, name) < least:
            raise InputError(f"--{name.replace('_', '-')} must be {least} at least")
    overrides = [word for word in options.words if is_override(word)]
    jobs = images.paired_paths([word for word in options.words if word not in overrides], options.output)
    settings = composed([assigned("style.image", options.style), *overrides])
    keep_memory()
    objectives = [built_objective(settings, 2**k) for k in reversed(range(options.scales))]
    batch = _Batch(jobs, options.overwrite)

    def make(name: str, output: Path) -> None:
        content = images.to_tensor(images.shrink(images.read(name), options.size_px))[None]
        with tqdm(total=options.num_steps, unit="step", desc=printable(output.name)) as bar:

            def watch(step: int, terms: dict[str, float], bar: tqdm = bar) -> None:
                bar.set_postfix_str(", ".join(f"{k} {v:.3g}" for k, v in terms.items()), refresh=False)
                bar.update()

            stylized = optimize(
                content, objectives, options.num_steps, method=options.method, start=options.start, watch=watch
            )
        images.save(images.to_picture(stylized[0]), output)

    batch.run(make)
    batch.end(options.output)


def _probe(options: argparse.Namespace) -> None:
    from stylization import images, probe
    from stylization.configuration import CONF, built_objective, composed
    from stylization.content import held_out_samples
    from stylization.content.stream import held_out
    from stylization.memory import keep_memory
    from stylization.overrides import assigned

    if options.pick:
        size_px, weight = options.pick
        if not size_px.isdigit() or not weight.replace(".", "", 1).isdigit():
            raise InputError(f"--pick {size_px} {weight}: give a size in pixels and a weight, 256 30 say")
        images.read(options.picture)
        path = probe.write_option(CONF / "style", options.picture, int(size_px), float(weight))
        print(f"{printable(path)}\ntrain it: train.py {printable(assigned('style', path.stem))}")
        return
    images.check_suffix(options.output)
    if options.photo:
        content = images.to_tensor(images.shrink(images.read(options.photo), options.size_px))[None]
    else:
        content = images.to_float(held_out(held_out_samples(), options.size_px))[:1]
    keep_memory()

    def objective(size_px: int, weight: float) -> Objective:
        style = [assigned("style.image", options.picture), f"style.size_px={size_px}"]
        return built_objective(composed([*style, *options.overrides, f"objective.weights.style={weight}"]))

    sheet = probe.sheet(content, objective, options.sizes_px, options.weights, options.num_steps)
    images.save(sheet, options.output)
    print(printable(options.output))
    print(f"keep one: stylization probe {shlex.quote(printable(options.picture))} --pick SIZE_PX WEIGHT")


def is_override(word: str) -> bool:
    """Whether a word is a setting of train.py, not a file or an address."""
    return "=" in word and "://" not in word and not Path(word).exists()
