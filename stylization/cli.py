"""The `stylization` command: what is done with runs and files beside training them."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from stylization.errors import InputError, clear_errors, written_whole

if TYPE_CHECKING:
    from stylization.objective import Objective


def main(arguments: list[str] | None = None) -> None:
    """Run a subcommand. PyTorch is imported by those that need it, after the arguments have been read."""
    parser = argparse.ArgumentParser(prog="stylization", description="Fast neural style transfer.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    command = commands.add_parser("apply", help="repaint pictures with a trained model")
    command.add_argument("photos", metavar="PHOTO", nargs="+", help="paths, http(s) addresses, folders of pictures")
    command.add_argument("--model", type=Path, required=True, help="a run folder or a model file")
    command.add_argument("--output", type=Path, required=True, help="a picture; for several or a folder, a folder")
    command.add_argument("--overwrite", action="store_true", help="make anew what is there already")
    command.add_argument("--strength", type=float, default=1.0, help="0 (the photograph) to 1 (1)")
    command.add_argument("--keep-colors", choices=["luminance", "matched"], help="give the photograph's colours back")
    command.add_argument("--scale", type=float, default=1.0, help="strokes so many times larger (1)")
    command.add_argument("--mask", help="a picture, white where to repaint; of any size")
    command.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, mps (cpu)")
    command.add_argument("--precision", choices=["float32", "bfloat16"], default="float32", help="(float32)")
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
    command.add_argument("--photo", help="to try it on (default: the cat of the samples)")
    command.add_argument("--sizes-px", type=int, nargs="+", default=[128, 256, 384], help="of the style (128 256 384)")
    command.add_argument("--weights", type=float, nargs="+", default=[3, 10, 30, 100], help="of the style term")
    command.add_argument("--size-px", type=int, default=160, help="of the photograph (160)")
    command.add_argument("--num-steps", type=int, default=30, help="for each picture (30)")
    command.add_argument("--output", type=Path, default=Path("outputs/probe.png"), help="(outputs/probe.png)")
    command.add_argument("--pick", nargs=2, metavar=("SIZE_PX", "WEIGHT"), help="write this choice to conf/style")
    command.set_defaults(run=_probe)

    command = commands.add_parser("evaluate", help="judge finished runs: terms, meters, statistics, gap to iterative")
    command.add_argument("runs", metavar="RUN", type=Path, nargs="+", help="run folders, or folders above them")
    command.add_argument("--statistics", help="running,batch,instance,frozen, or some of them (default: the run's own)")
    command.add_argument(
        "--iterative", type=int, default=0, metavar="STEPS", help="of the slow method, to compare with"
    )
    command.add_argument("--cache", type=Path, default=Path("outputs/iterative"), help="where its pictures are kept")
    command.add_argument("--judge", choices=["compact", "vgg16", "vgg19"], help="(default: the run's loss network)")
    command.add_argument("--judge-weights", help="a file, for vgg16 and vgg19")
    command.add_argument("--style-layers", nargs="+", help="that the judge looks at (default: the run's)")
    command.add_argument("--content-layers", nargs="+", help="(default: the run's)")
    command.set_defaults(run=_evaluate)

    command = commands.add_parser("sweep", help="run a W&B sweep file here, without an account; may be interrupted")
    command.add_argument("file", metavar="FILE", type=Path, help="sweeps/norms.yaml, say")
    command.add_argument("--dry-run", action="store_true", help="print the commands, run nothing")
    command.add_argument("--jobs", type=int, default=1, help="runs at once, which share the cores (1)")
    command.add_argument("--output", type=Path, help="the folder of the runs (outputs/sweeps/<name of FILE>)")
    command.set_defaults(run=_sweep)

    command = commands.add_parser("report", help="compare finished runs: a table over seeds, and a picture")
    command.add_argument("runs", metavar="RUN", type=Path, nargs="+", help="run folders, or folders above them")
    command.add_argument(
        "--by", help="the setting that makes the arms, or several with commas (default: what the sweep varies, or norm)"
    )
    command.add_argument("--arms", help="which arms and in which order, with commas between")
    command.add_argument("--output", type=Path, help="the folder of report.html, .md and .csv (default: the first RUN)")
    command.add_argument("--allow", action="store_true", help="show runs that should not be compared, marked as such")
    command.add_argument("--picture", type=Path, help="write a picture: a row per photograph, a column per arm")
    command.add_argument("--photos", type=Path, help="a folder of photographs (default: the held-out samples)")
    command.set_defaults(run=_report)

    content = commands.add_parser("content", help="look at, or pack, a source of content images")
    verbs = content.add_subparsers(dest="verb", required=True, metavar="check|pack|prepare")
    command = verbs.add_parser("check", help="read every image once, and list those that cannot be used")
    command.set_defaults(run=_check)
    _add_source(command)
    command = verbs.add_parser("pack", help="write a source as reduced, re-encoded tar shards; may be interrupted")
    command.set_defaults(run=_pack)
    _add_source(command)
    command.add_argument("destination", metavar="DEST", type=Path, help="a new folder for the shards")
    command.add_argument("--side-px", type=int, default=288, help="short side of the packed images, at most (288)")
    command.add_argument("--quality", type=int, default=90, help="of their JPEG encoding (90)")
    command.add_argument("--images-per-shard", type=int, default=1000, help="(1000)")

    command = verbs.add_parser("prepare", help="write photographs changed beforehand, for data=prepared")
    command.add_argument("destination", metavar="DEST", type=Path, help="the folder for train/ and held_out/")
    command.add_argument("--photos", type=Path, help="a folder to train on (default: the samples)")
    command.add_argument("--held-out", type=Path, help="a folder of others, held out (default: the held-out samples)")
    command.add_argument("--size-px", type=int, default=256, help="their short side (256)")
    how = command.add_mutually_exclusive_group()
    how.add_argument("--equalise", action="store_true", help="flatten the histogram of luminance")
    how.add_argument("--contrast", type=float, help="multiply the contrast")
    how.add_argument("--style", help="bring all to this style by the iterative method")
    command.add_argument("--num-steps", type=int, default=40, help="of that method (40)")
    command.set_defaults(run=_prepare)

    command = commands.add_parser("distill", help="make a compact loss network from teachers and photographs")
    command.add_argument("--teacher", type=Path, action="append", required=True, help="VGG-19 weights; may be repeated")
    command.add_argument("--photos", type=Path, required=True, help="a folder of photographs")
    command.add_argument("--output", type=Path, required=True, help="the .safetensors to write")
    command.add_argument("--num-steps", type=int, default=3000)
    command.add_argument("--batch-size", type=int, default=8)
    command.add_argument("--size-px", type=int, default=128, help="side of the crops")
    command.add_argument("--num-held-out", type=int, default=100, help="photographs, the last by name, left unread")
    command.add_argument("--learning-rate", type=float, default=2e-3)
    command.add_argument("--seed", type=int, default=0)
    command.set_defaults(run=_distill)

    options, rest = parser.parse_known_args(arguments)
    if rest and not ("words" in options and all(_is_override(word) for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:  # argparse takes words behind an option for none of its own
        options.words += rest
    with clear_errors():
        options.run(options)


def _add_source(command: argparse.ArgumentParser) -> None:
    command.add_argument("source", metavar="SOURCE", help="a folder, a .zip, .tar shards, or a URL of one of them")
    command.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="processes (one a core)")
    command.add_argument("--cache-gb", type=float, default=20.0, help="of a remote source, kept on the local disk (20)")


def _apply(options: argparse.Namespace) -> None:
    from tqdm import tqdm

    from stylization import images
    from stylization.memory import keep_memory
    from stylization.stylizer import load

    jobs = images.paired_paths(options.photos, options.output, keep_suffix=True)
    stylizer = load(options.model, options.device, options.precision)
    keep_memory()
    mask = images.read(options.mask).convert("L") if options.mask else None
    done, failed, skipped = 0, 0, 0
    for photo, output in tqdm(jobs, unit="img", disable=len(jobs) < 2):
        if output.exists() and not options.overwrite and len(jobs) > 1:
            skipped += 1
            continue
        try:
            read = images.read_photo(photo)
        except InputError as error:
            if len(jobs) == 1:
                raise
            tqdm.write(f"skipped: {error}", file=sys.stderr)
            failed += 1
            continue
        region = images.to_tensor(mask.resize(read.picture.size))[0] if mask else None
        painted = stylizer(
            read.picture,
            strength=options.strength,
            keep_colors=options.keep_colors,
            scale=options.scale,
            mask=region,
        )
        images.save_photo(painted, read, output)
        done += 1
    there = f", {skipped} were there already (--overwrite makes them anew)" if skipped else ""
    print(options.output if len(jobs) == 1 else f"{options.output}: {done} pictures{there}")
    if failed:
        print(f"error: {failed} of {len(jobs)} pictures could not be read", file=sys.stderr)
        raise SystemExit(1)


def _optimize(options: argparse.Namespace) -> None:
    from tqdm import tqdm

    from stylization import images
    from stylization.configuration import built_objective, composed
    from stylization.iterative import optimize
    from stylization.memory import keep_memory

    for name, least in (("num_steps", 1), ("size_px", 32), ("scales", 1)):
        if getattr(options, name) < least:
            raise InputError(f"--{name.replace('_', '-')} must be {least} at least")
    overrides = [word for word in options.words if _is_override(word)]
    jobs = images.paired_paths([word for word in options.words if word not in overrides], options.output)
    settings = composed([f"style.image='{options.style}'", *overrides])
    keep_memory()
    objectives = [built_objective(settings, 2**k) for k in reversed(range(options.scales))]
    for photo, output in jobs:
        if output.exists() and not options.overwrite:
            print(f"{output} is there already (--overwrite makes it anew)")
            continue
        content = images.to_tensor(images.shrink(images.read(photo), options.size_px))[None]
        with tqdm(total=options.num_steps, unit="step", desc=Path(photo).name) as bar:

            def watch(step: int, terms: dict[str, float], bar: tqdm = bar) -> None:
                bar.set_postfix_str(", ".join(f"{k} {v:.3g}" for k, v in terms.items()), refresh=False)
                bar.update()

            stylized = optimize(
                content, objectives, options.num_steps, method=options.method, start=options.start, watch=watch
            )
        images.save(images.to_picture(stylized[0]), output)
        print(output)


def _is_override(word: str) -> bool:
    return "=" in word and "://" not in word and not Path(word).exists()


def _probe(options: argparse.Namespace) -> None:
    from stylization import images, probe
    from stylization.configuration import CONF, built_objective, composed
    from stylization.content import held_out_samples
    from stylization.content.stream import held_out
    from stylization.memory import keep_memory

    if options.pick:
        size_px, weight = options.pick
        if not size_px.isdigit() or not weight.replace(".", "", 1).isdigit():
            raise InputError(f"--pick {size_px} {weight}: give a size in pixels and a weight, 256 30 say")
        images.read(options.picture)
        path = probe.write_option(CONF / "style", options.picture, int(size_px), float(weight))
        print(f"{path}\ntrain it: train.py style={path.stem}")
        return
    images.check_suffix(options.output)
    if options.photo:
        content = images.to_tensor(images.shrink(images.read(options.photo), options.size_px))[None]
    else:
        content = images.to_float(held_out(held_out_samples(), options.size_px))[:1]
    keep_memory()

    def objective(size_px: int, weight: float) -> "Objective":
        style = [f"style.image='{options.picture}'", f"style.size_px={size_px}"]
        return built_objective(composed([*style, f"objective.weights.style={weight}"]))

    sheet = probe.sheet(content, objective, options.sizes_px, options.weights, options.num_steps)
    images.save(sheet, options.output)
    print(f"{options.output}\nkeep one: stylization probe {options.picture} --pick SIZE_PX WEIGHT")


def _evaluate(options: argparse.Namespace) -> None:
    from stylization import evaluation, images, report
    from stylization.configuration import built_content, built_objective, composed, plain
    from stylization.memory import keep_memory

    keep_memory()
    choices = options.statistics.split(",") if options.statistics else [None]
    rows, reference = [], None
    for run in [run.folder for run in report.finished(options.runs)]:
        settings = evaluation.settings_of(run)
        if options.judge:
            words = [f"loss_network={options.judge}"]
            words += [f"loss_network.weights='{options.judge_weights}'"] if options.judge_weights else []
            settings["loss_network"] = plain(composed(words))["loss_network"]
        for layers in ("style_layers", "content_layers"):
            settings["objective"][layers] = getattr(options, layers) or settings["objective"][layers]
        judge = settings["loss_network"]["_target_"].rsplit(".", 1)[1]
        objective = built_objective(settings)
        content = images.to_float(built_content(settings).held_out)
        if options.iterative:
            reference = evaluation.iterative(settings, objective, content, options.iterative, options.cache)
        cells = {}
        for statistics in choices:
            try:
                cells[statistics or "own"] = evaluation.evaluate(run, statistics, objective, content)
            except InputError as error:
                print(f"{run}, {statistics}: left out, {error}", file=sys.stderr)
        evaluation.record(run, judge, cells, reference)
        rows += [(str(run), statistics, cell) for statistics, cell in cells.items()]
    print(evaluation.table(rows, reference))


def _sweep(options: argparse.Namespace) -> None:
    import shlex

    from stylization import sweep

    if options.jobs < 1:
        raise InputError("--jobs must be 1 at least")
    asked = sweep.read(options.file)
    local = sweep.Local(asked, options.output or Path("outputs/sweeps") / asked.name, options.jobs)
    if options.dry_run:
        for name, overrides in asked.runs().items():
            print(shlex.join(local.command(name, overrides)), " # finished" if local.finished(name) else "")
        return
    if failed := local.run():
        print(f"error: {len(failed)} of {len(asked.runs())} runs failed", file=sys.stderr)
        raise SystemExit(1)
    print(f"stylization report {local.folder}")


def _report(options: argparse.Namespace) -> None:
    from stylization import report

    question, by = report.question_of(options.runs, options.by)
    arms = report.by(
        report.finished(options.runs), by, options.arms.split(",") if options.arms else None, options.allow
    )
    tables = report.tables(arms)
    text = "\n\n".join(f"**{heading}**\n\n{table.markdown()}" for _, heading, table in tables)
    columns = report.columns(arms, options.photos)
    folder = options.output or options.runs[0]
    with written_whole(folder / "report.html") as file:
        file.write(report.page(arms, by, question, columns).encode())
    with written_whole(folder / "report.md") as file:
        file.write(f"# {question}\n\n{text}\n".encode())
    for name, _, table in tables:
        with written_whole(folder / ("report.csv" if name == "terms" else f"report-{name}.csv")) as file:
            file.write(table.csv().encode())
    print(text)
    if options.picture:
        report.picture(columns, options.picture)
        print(options.picture)
    print(folder / "report.html")


def _check(options: argparse.Namespace) -> None:
    from stylization.content import packing

    source = packing.open_source(options.source, options.cache_gb)
    seen = packing.check(source, options.workers)
    print(packing.told(seen))
    if any(x.reason for x in seen):
        raise SystemExit(1)


def _pack(options: argparse.Namespace) -> None:
    from stylization.content import packing

    for name, least in (("side_px", 32), ("quality", 1), ("images_per_shard", 1)):
        if getattr(options, name) < least:
            raise InputError(f"--{name.replace('_', '-')} must be {least} at least")
    skips = packing.pack(
        packing.open_source(options.source, options.cache_gb),
        options.destination,
        side_px=options.side_px,
        quality=options.quality,
        images_per_shard=options.images_per_shard,
        num_workers=options.workers,
    )
    if skips:
        print(f"left out {len(skips)} images: {options.destination / 'skipped.csv'}")
    print(f"train on them: train.py data=shards data.source.path={options.destination}")


def _prepare(options: argparse.Namespace) -> None:
    from stylization import prepared
    from stylization.configuration import built_objective, composed
    from stylization.content import folder, held_out_samples, train_samples
    from stylization.memory import keep_memory

    if options.size_px < 32 or options.num_steps < 1:
        raise InputError("--size-px must be 32 at least, --num-steps 1")
    keep_memory()
    treat: prepared.Treatment = prepared.equalised if options.equalise else prepared.plain
    if options.contrast is not None:
        treat = prepared.contrast(options.contrast)
    if options.style:
        treat = prepared.stylized(built_objective(composed([f"style.image='{options.style}'"])), options.num_steps)
    sources = {
        "train": folder(options.photos) if options.photos else train_samples(),
        "held_out": folder(options.held_out) if options.held_out else held_out_samples(),
    }
    for name, source in sources.items():
        prepared.prepare(source, treat, options.destination / name, options.size_px)
    print(f"train on them: train.py data=prepared data.source.path={options.destination / 'train'}")


def _distill(options: argparse.Namespace) -> None:
    from stylization.distillation import distill

    for name, least in (("num_steps", 100), ("batch_size", 4), ("size_px", 32), ("num_held_out", 0)):
        if getattr(options, name) < least:
            raise InputError(f"--{name.replace('_', '-')} must be {least} at least")
    distill(
        options.teacher,
        options.photos,
        options.output,
        num_steps=options.num_steps,
        batch_size=options.batch_size,
        size_px=options.size_px,
        num_held_out=options.num_held_out,
        learning_rate=options.learning_rate,
        seed=options.seed,
    )
    print(options.output)


if __name__ == "__main__":
    main()
