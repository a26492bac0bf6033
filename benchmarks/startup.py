"""What passes before the first picture and before the first training step: cold starts, itemised.

    uv run --extra onnx benchmarks/startup.py --onnx mosaic.onnx

A photograph of one megapixel, each way in so many processes of its own, one after the other in turns; medians. What a
process says of itself begins after the interpreter has started; "whole command" is seen from outside.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import common
import pyvips
import skimage.data

from stylization.errors import clear_errors

ROOT = Path(__file__).resolve().parent.parent
PAINT = """
import json, sys, time
from pathlib import Path
marks = [("", time.perf_counter())]
mark = lambda name: marks.append((name, time.perf_counter()))
photo, model, style, output = sys.argv[1:]
import numpy, PIL.Image, pyvips; mark("imports: numpy, Pillow, pyvips")
if model.endswith(".onnx"):
    import onnxruntime; mark("imports: onnxruntime")
else:
    import torch; mark("imports: torch")
import stylization
from stylization.images import Photograph, as_image
if not model.endswith(".onnx"):
    import stylization.repainting
mark("imports: stylization")
stylizer = stylization.load(model); mark("model")
photograph = Photograph(photo); mark("photograph, opened")
if model.endswith(".onnx"):
    painted = as_image(stylizer.stylize(photograph.whole()), 8); mark("painting")
    photograph.save(painted, Path(output))
else:
    from stylization.repainting import Look, repainted
    with repainted(stylizer, photograph, Look(style=style)) as painted:
        mark("painting")
        photograph.save(painted, Path(output))
mark("saving")
print(json.dumps([[name, end - start] for (_, start), (name, end) in zip(marks, marks[1:])]))
"""
TRAIN = """
import json, sys, time, runpy
marks = [("", time.perf_counter())]
mark = lambda name: marks.append((name, time.perf_counter()))
import hydra; mark("imports: hydra")
import torch; mark("imports: torch")
import lightning.pytorch; mark("imports: lightning")
import stylization.training, stylization.content, stylization.callbacks, stylization.generators, torchvision
mark("imports: stylization")
from stylization.training import Training
class Ended(BaseException): pass
def started(self): mark("configuration, networks, style, photographs")
def ended(self, *_): mark("first step"); raise Ended
Training.on_train_start, Training.on_train_batch_end = started, ended
sys.argv = ["train.py", "hydra.run.dir=" + sys.argv[1]]
try: runpy.run_path("train.py", run_name="__main__")
except Ended: pass
print(json.dumps([[name, end - start] for (_, start), (name, end) in zip(marks, marks[1:])]))
"""


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--style", default="mosaic")
    parser.add_argument("--onnx", type=Path, help="the same style, exported")
    parser.add_argument("--num-turns", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        photo, output = Path(folder) / "photo.jpg", Path(folder) / "painted.jpg"
        sample = pyvips.Image.new_from_array(skimage.data.coffee())
        sample.resize((1e6 / sample.width / sample.height) ** 0.5).write_to_file(str(photo))
        apply = [sys.executable, "-m", "stylization.cli", "apply", str(photo), "--output", str(output)]
        ways: dict[str, tuple[list[str], list[str] | None]] = {
            "apply --style": (
                ["-c", PAINT, str(photo), "bundled", options.style, str(output)],
                [*apply, "--style", options.style],
            ),
            "train.py": (["-c", TRAIN, f"{folder}/run"], None),
        }
        if options.onnx:
            inside = ["-c", PAINT, str(photo), str(options.onnx), options.style, str(output)]
            ways["apply --model .onnx"] = (inside, [*apply, "--model", str(options.onnx)])
        items: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
        for _ in range(options.num_turns):
            for way, (inside, command) in ways.items():
                found = dict(json.loads(said([sys.executable, *inside]).splitlines()[-1]))
                if command is not None:
                    start = time.perf_counter()
                    said(command)
                    found["whole command"] = time.perf_counter() - start
                else:
                    found["all of it"] = sum(found.values())
                items[way].append(found)
    rows = []
    for name in dict.fromkeys(name for turns in items.values() for name in turns[0]):
        found = {way: [turn[name] for turn in turns if name in turn] for way, turns in items.items()}
        rows.append({"s": name} | {way: common.spread(values) for way, values in found.items() if values})
    common.publish("startup", rows, options, f"{options.num_turns} turns.")


def said(command: Sequence[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout


if __name__ == "__main__":
    with clear_errors():
        main()
