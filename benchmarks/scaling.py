"""Scaling on paper: what a step of paper-scale training computes and sends, and where sending would take longer.

Counts the multiplications of one step (generator and loss network, forward and backward; the content branch forward)
and the bytes of its gradients, and divides them by what accelerators and interconnects are sold for. Nothing is timed.
"""

import argparse

import torch
from torch.utils.flop_counter import FlopCounterMode

from stylization.generators import Johnson
from stylization.loss_networks.vgg import VGG, VGG16_DEPTHS, VGG_WIDTHS
from stylization.normalization import Norm
from stylization.objective import Objective
from stylization.training import parameter_count

# GB/s in one direction, and microseconds a message: between the GPUs of a machine, or between machines.
LINKS = {
    "NVLink 4": (450.0, 3.0),
    "InfiniBand NDR, 400 Gbit/s a GPU": (50.0, 5.0),
    "InfiniBand HDR, 200 Gbit/s a machine of 8": (25.0 / 8, 5.0),
    "Ethernet, 100 Gbit/s a machine of 8": (12.5 / 8, 15.0),
    "Ethernet, 10 Gbit/s a machine of 1": (1.25, 30.0),
}


def counted(size_px: int) -> tuple[float, int]:
    """Floating-point operations for an image of a step, and the gradient's bytes, of the recipe johnson2016.

    In float64: what CPUs do for float32 with fewer multiplications (`stylization.winograd`) GPUs have otherwise.
    """
    generator = Johnson(Norm, width=32).double()
    objective = Objective(
        VGG(VGG16_DEPTHS, VGG_WIDTHS).double(),
        torch.rand(1, 3, size_px, size_px, dtype=torch.float64),
        content_layers=["relu3_3"],
        style_layers=["relu1_2", "relu2_2", "relu3_3", "relu4_3"],
        weights={"content": 1.0, "style": 1.0, "tv": 0.0},
    )
    content = torch.rand(1, 3, size_px, size_px, dtype=torch.float64)
    with FlopCounterMode(display=False) as counter:
        objective.total(objective(generator(content), content)).backward()
    return counter.get_total_flops(), 4 * parameter_count(generator)


def ring_s(num_ranks: int, num_bytes: int, gb_per_s: float, latency_us: float) -> float:
    """Seconds of a ring all-reduce: 2 (n - 1) messages of 1/n of the bytes each."""
    return 2 * (num_ranks - 1) * (num_bytes / num_ranks / (gb_per_s * 1e9) + latency_us * 1e-6)


def ranks_where_sending_dominates(compute_s: float, num_bytes: int, link: tuple[float, float]) -> str:
    """The least power of two of ranks whose all-reduce takes longer than their computing, up to 65536."""
    found = next((n for n in (2**k for k in range(1, 17)) if ring_s(n, num_bytes, *link) > compute_s), None)
    return f"{found}" if found else "none to 65536"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[4, 16, 64], help="images of a step on each rank")
    parser.add_argument("--size-px", type=int, default=256)
    parser.add_argument("--tflops", type=float, default=989.0, help="a device's dense bf16 peak (H100 and H200: 989)")
    parser.add_argument("--share", type=float, default=0.3, help="of that peak which the convolutions reach (a guess)")
    options = parser.parse_args()

    flops, num_bytes = counted(options.size_px)
    seconds = [batch_size * flops / (options.tflops * 1e12 * options.share) for batch_size in options.batch_sizes]
    print(f"gradients: {num_bytes / 1e6:.1f} MB a step; a rank of n sends and receives 2 (n - 1) / n of that\n")
    columns = [f"batch {batch_size} a rank" for batch_size in options.batch_sizes]
    lines = [("ranks at which sending takes longer", *columns), ("---", *["---:"] * len(columns))]
    lines.append(("TFLOP a step", *(f"{batch_size * flops / 1e12:.2f}" for batch_size in options.batch_sizes)))
    lines.append((f"ms at {options.share:.0%} of {options.tflops:g} TFLOP/s", *(f"{1e3 * s:.1f}" for s in seconds)))
    for name, link in LINKS.items():
        cells = (ranks_where_sending_dominates(s, num_bytes, link) for s in seconds)
        lines.append((f"{name} ({1e3 * ring_s(2, num_bytes, *link):.2f} ms between 2)", *cells))
    print("\n".join(f"| {' | '.join(line)} |" for line in lines))


if __name__ == "__main__":
    main()
