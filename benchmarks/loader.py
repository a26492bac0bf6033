"""How fast content flows: images/s on one core, against the recipe everyone uses and against decoding alone.

    uv run benchmarks/loader.py

On the same 640x480 JPEGs (cut from the sample photographs), in turns, batches of 8 at 256 px: torchvision's
ImageFolder, Resize(256), CenterCrop(256), ToTensor in a DataLoader; this project's stream on whole squares (the same
work) and on its default random crops; and the JPEG decoder alone, at full size, nothing else. Then the resident
memory of a process that takes `--samples` samples, and the time to open large archives.
"""

import argparse
import io
import statistics
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import simplejpeg
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from stylization.content import Endless, Shards, Stream, Zip, folder, train_samples
from stylization.content.stream import collated
from stylization.memory import keep_memory

BATCH = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-images", type=int, default=200)
    parser.add_argument("--num-turns", type=int, default=7)
    parser.add_argument("--quality", type=int, default=90, help="of the JPEGs")
    parser.add_argument("--samples", type=int, default=100_000, help="to take while watching the memory")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_memory()  # as train.py does; it serves all contenders
    with tempfile.TemporaryDirectory() as scratch:
        photos = Path(scratch) / "photos"
        write_photos(photos / "class", options.num_images, (640, 480), options.quality)
        throughput(photos, options.num_images, options.num_turns)
        memory(Path(scratch), options.samples)
        opening(Path(scratch))


def write_photos(root: Path, num: int, size: tuple[int, int], quality: int) -> None:
    """JPEGs cut at random from the sample photographs."""
    root.mkdir(parents=True)
    source, rng = train_samples(), np.random.default_rng(0)
    pictures = [Image.open(source.path(i)).convert("RGB") for i in range(len(source))]
    for i in range(num):
        picture = pictures[i % len(pictures)]
        scale = rng.uniform(0.6, 1.0) * min(picture.width / size[0], picture.height / size[1])
        w, h = size[0] * scale, size[1] * scale
        left, top = rng.uniform(0, picture.width - w), rng.uniform(0, picture.height - h)
        cut = picture.resize(size, Image.Resampling.LANCZOS, box=(left, top, left + w, top + h))
        cut.save(root / f"{i:05d}.jpg", quality=quality)


def throughput(photos: Path, num_images: int, num_turns: int) -> None:
    recipe = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(256), transforms.ToTensor()])
    source = folder(photos)
    encoded = [source.read(i) for i in range(len(source))]

    def usual() -> Iterator[object]:
        return iter(DataLoader(datasets.ImageFolder(str(photos), recipe), batch_size=BATCH, shuffle=True))

    def stream(crop_area: tuple[float, float]) -> Iterator[object]:
        flowing = Stream(source, 256, seed=0, crop_area=crop_area)
        return iter(DataLoader(flowing, batch_size=BATCH, sampler=Endless(), collate_fn=collated))

    def decoder() -> Iterator[object]:
        return ([simplejpeg.decode_jpeg(x) for x in encoded[k : k + BATCH]] for k in range(0, num_images, BATCH))

    contenders: dict[str, Callable[[], Iterator[object]]] = {
        "ImageFolder, Resize, CenterCrop, ToTensor": usual,
        "stream, whole squares": lambda: stream((1.0, 1.0)),
        "stream, random crops (the default)": lambda: stream((0.1, 1.0)),
        "decoding alone, full size": decoder,
    }
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(num_turns + 1):
        for name, make in contenders.items():
            batches, started = make(), time.process_time()
            num = sum(1 for _ in islice(batches, num_images // BATCH)) * BATCH
            if turn:  # the first turn warms up
                rates[name].append(num / (time.process_time() - started))
    usual_rates, ceiling = rates["ImageFolder, Resize, CenterCrop, ToTensor"], rates["decoding alone, full size"]
    kilobytes = sum(map(len, encoded)) / len(encoded) / 1000
    print(f"640x480 JPEGs of {kilobytes:.0f} kB, one core, images per second of CPU time\n")
    print("| way | images/s | times the usual | share of decoding alone |\n| --- | ---: | ---: | ---: |")
    for name, these in rates.items():
        print(f"| {name} | {statistics.median(these):.0f} | {spread(these, usual_rates)} | {spread(these, ceiling)} |")


def spread(ours: list[float], theirs: list[float]) -> str:
    """The median and the range of the ratios of each turn."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def memory(scratch: Path, num_samples: int) -> None:
    write_photos(scratch / "small", 50, (80, 64), 80)
    with zipfile.ZipFile(scratch / "many.zip", "w") as archive:
        for i in range(10_000):
            archive.writestr(f"train2017/{i:012d}.jpg", (scratch / "small" / f"{i % 50:05d}.jpg").read_bytes())
    stream = Stream(Zip(str(scratch / "many.zip")), 64, seed=0)
    print(f"\n{num_samples} samples from a zip of 10,000 images, in one process\n")
    print("| samples | resident MB |\n| ---: | ---: |")
    for n in range(num_samples + 1):
        stream[n]
        if n % (num_samples // 10) == 0:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            print(f"| {n} | {pages * 4096 / 1e6:.1f} |")


def opening(scratch: Path) -> None:
    content = (scratch / "small" / "00000.jpg").read_bytes()
    with zipfile.ZipFile(scratch / "large.zip", "w") as archive:
        for i in range(118_000):
            archive.writestr(zipfile.ZipInfo(f"train2017/{i:012d}.jpg"), content)
    (scratch / "shards").mkdir()
    shard = io.BytesIO()
    with tarfile.open(fileobj=shard, mode="w") as archive:
        for i in range(118):
            entry = tarfile.TarInfo(f"{i:012d}.jpg")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    for k in range(1000):
        (scratch / "shards" / f"train-{k:06d}.tar").write_bytes(shard.getvalue())
    print("\n| 118,000 images in | first opened, s | again, s |\n| --- | ---: | ---: |")
    for name, make in (
        ("a zip", lambda: Zip(str(scratch / "large.zip"))),
        ("1,000 shards", lambda: Shards(str(scratch / "shards"))),
    ):
        times = []
        for _ in range(2):
            started = time.perf_counter()
            assert len(make()) == 118_000
            times.append(time.perf_counter() - started)
        print(f"| {name} | {times[0]:.1f} | {times[1]:.2f} |")


if __name__ == "__main__":
    main()
