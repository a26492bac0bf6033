"""How fast content flows: images/s on one core, against the recipe everyone uses and against decoding alone.

    uv run benchmarks/loader.py

On the same 640x480 JPEGs (cut from the sample photographs), in turns, batches of 8 at 256 px: torchvision's
ImageFolder, Resize(256), CenterCrop(256), ToTensor in a DataLoader; this project's stream on whole squares (the same
work) and on its default random crops; and the JPEG decoder alone, at full size, nothing else. Then the resident
memory of a process that takes `--samples` samples, and the time to open large archives.
"""

import io
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import common
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
    parser = common.parser(__doc__)
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
        rows = throughput(photos, options.num_images, options.num_turns)
        memory_rows, opening_rows = memory(Path(scratch), options.samples), opening(Path(scratch))
    more = {"memory": memory_rows, "opening": opening_rows}
    note = f"640x480 JPEGs, images per second of CPU time on one core, {options.num_turns} turns."
    common.publish("loader", rows, options, note, **more)
    print(*(f"\n{common.markdown(table)}" for table in more.values()), sep="", end="")


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


def throughput(photos: Path, num_images: int, num_turns: int) -> list[common.Row]:
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
    return [
        {
            "way": name,
            "images/s": common.spread(own),
            "times the usual": ratios(own, usual_rates),
            "share of decoding alone": ratios(own, ceiling),
        }
        for name, own in rates.items()
    ]


def ratios(ours: list[float], theirs: list[float]) -> common.Spread:
    """Those of each turn."""
    return common.spread([a / b for a, b in zip(ours, theirs, strict=True)])


def memory(scratch: Path, num_samples: int) -> list[common.Row]:
    """Of a process that takes samples from a zip of 10,000 images."""
    write_photos(scratch / "small", 50, (80, 64), 80)
    with zipfile.ZipFile(scratch / "many.zip", "w") as archive:
        for i in range(10_000):
            archive.writestr(f"train2017/{i:012d}.jpg", (scratch / "small" / f"{i % 50:05d}.jpg").read_bytes())
    stream = Stream(Zip(str(scratch / "many.zip")), 64, seed=0)
    rows: list[common.Row] = []
    for n in range(num_samples + 1):
        stream[n]
        if n % (num_samples // 10) == 0:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            rows.append({"samples": n, "resident MB": pages * 4096 / 1e6})
    return rows


def opening(scratch: Path) -> list[common.Row]:
    """Of archives of 118,000 images, for the first time and again."""
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
    rows: list[common.Row] = []
    for name, make in (
        ("a zip", lambda: Zip(str(scratch / "large.zip"))),
        ("1,000 shards", lambda: Shards(str(scratch / "shards"))),
    ):
        times = []
        for _ in range(2):
            started = time.perf_counter()
            assert len(make()) == 118_000
            times.append(time.perf_counter() - started)
        rows.append({"118,000 images in": name, "first opened, s": times[0], "again, s": times[1]})
    return rows


if __name__ == "__main__":
    main()
