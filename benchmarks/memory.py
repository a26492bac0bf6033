"""What large photographs take: peak memory and time of `stylization apply`, by their size.

    uv run benchmarks/memory.py RUN --memory 1GB

Photographs of so many megapixels (a sample photograph enlarged, as PNG) are repainted by one process each. pytorch/
examples' network, untiled, takes 975 bytes a pixel: the activations that it holds at the moment when it holds most.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import common
import pyvips
import skimage.data

from stylization.errors import clear_errors

BYTES_PER_PIXEL = 975  # of pytorch/examples' network


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("model", type=Path, metavar="RUN")
    parser.add_argument("--memory", default="1GB")
    parser.add_argument("--megapixels", type=float, nargs="+", default=[4, 25, 100])
    parser.add_argument("--tile", default="auto")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for megapixels in options.megapixels:
            photo = Path(folder) / "photo.png"
            sample = pyvips.Image.new_from_array(skimage.data.coffee())  # this process must stay small: see `peak`
            sample.resize((megapixels * 1e6 / sample.width / sample.height) ** 0.5).write_to_file(str(photo))
            start = time.perf_counter()
            peak_bytes = peak([str(photo), "--model", str(options.model), "--output", f"{folder}/painted.png"], options)
            seconds = time.perf_counter() - start
            rows.append(
                {
                    "megapixels": megapixels,
                    "peak memory, MB": round(peak_bytes / 1e6),
                    "s": round(seconds),
                    "s a megapixel": round(seconds / megapixels, 2),
                    "untiled, MB": round(megapixels * BYTES_PER_PIXEL),
                }
            )
    common.publish("memory", rows, options, "Each photograph once.")


def peak(arguments: list[str], options: argparse.Namespace) -> int:
    """The most memory that `stylization apply` was resident with (Linux counts from its parent's on)."""
    words = [*arguments, "--overwrite", "--memory", options.memory, "--tile", options.tile]
    process = subprocess.Popen([sys.executable, "-m", "stylization.cli", "apply", *words], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"apply ended with status {os.waitstatus_to_exitcode(status)}")
    return usage.ru_maxrss * 1024


if __name__ == "__main__":
    with clear_errors():
        main()
