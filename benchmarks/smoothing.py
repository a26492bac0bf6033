"""What smoothing a norm's statistics over time (`stylization apply clip.mp4 --smooth`) does to flicker.

    uv run benchmarks/smoothing.py RUN

A row for each way in which 24 frames made of a held-out photograph change, a column for each share that is kept from
frame to frame: the change between neighbouring stylized frames over that of the photographs, mean over photographs.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from stylization import images
from stylization.content import held_out_samples
from stylization.content.stream import held_out
from stylization.errors import clear_errors
from stylization.memory import keep_memory
from stylization.stylizer import load
from stylization.video.smoothing import Smoothed

NUM_FRAMES = 24
SHARES = (0.0, 0.5, 0.8, 0.9, 0.95)


def clips(photograph: Tensor) -> dict[str, Tensor]:
    """Frames (b, 3, h, w) made of one photograph, (3, h, w)."""
    random = torch.Generator().manual_seed(0)
    still = 0.6 * photograph.expand(NUM_FRAMES, -1, -1, -1)  # room for more light
    wave = torch.sin(1.9 * torch.arange(NUM_FRAMES)).view(-1, 1, 1, 1)
    h, w = photograph.shape[1:]
    lamp, passing = still.clone(), still.clone()
    lamp[..., : h // 2, : w // 2] *= 1 + 0.6 * wave
    for i, frame in enumerate(passing):
        left = i * w // NUM_FRAMES
        frame[:, h // 3 : 2 * h // 3, left : left + w // 6] = 1
    return {
        "exposure of the whole picture": still * (1 + 0.25 * wave),
        "light on a quarter of it": lamp,
        "a white object passes": passing,
        "the camera pans": torch.stack([still[0].roll(-2 * i, 2)[..., : -2 * NUM_FRAMES] for i in range(NUM_FRAMES)]),
        "grain": (still + 0.02 * torch.randn(still.shape, generator=random)).clamp(0, 1),
    }


def change(frames: Tensor) -> float:
    return float(frames.diff(dim=0).abs().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("--size-px", type=int, default=128, help="of the photographs (128)")
    options = parser.parse_args()
    keep_memory()
    stylizer = load(options.run)
    photographs = images.to_float(held_out(held_out_samples(), options.size_px))
    print("| what changes | " + " | ".join(f"{share:g}" for share in SHARES) + " |\n| --- |" + " ---: |" * len(SHARES))
    of_photographs = [clips(photograph) for photograph in photographs]
    for name in of_photographs[0]:
        cells = []
        for share in SHARES:
            ratios = []
            for frames in (of_one[name] for of_one in of_photographs):
                painter = Smoothed(stylizer, share)
                stylized = torch.cat([painter(part) for part in frames.split(8)])
                ratios.append(change(stylized) / change(frames))
            cells.append(f"{sum(ratios) / len(ratios):.2f}")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    with clear_errors():
        main()
