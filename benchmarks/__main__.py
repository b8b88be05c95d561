"""Speed and memory of the hypergradient, side by side in one run: ``python -m benchmarks``.

Prints tables and keeps the numbers in results/benchmarks-<hardware>/. Close everything else: the contestants take
turns, but a busy machine still blurs the medians. About fifteen minutes on two cores.
"""

import platform
from pathlib import Path

import torch
from rich.console import Console

from datastill.evaluation import hardware
from datastill.files import write_json

from .memory import memory
from .speed import ROUNDS, SHAPES, batched, matmul_rate, speed

out = Console(width=110)


def main() -> None:
    """Run everything, print it and keep it."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name, threads, rate = hardware(device), torch.get_num_threads(), matmul_rate(device)
    out.print(f"{name}, {threads} threads, torch {torch.__version__}, {rate / 1e9:.0f} GFLOP/s in matrix products")
    record = {
        "hardware": name,
        "threads": threads,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "matmul_gflops": rate / 1e9,
        "rounds": ROUNDS,
        "speed": [],
    }
    for network in SHAPES:
        rows, table = speed(network, device, rate)
        record["speed"] += rows
        out.print(table)
    record["batched"] = batched("lenet", device)
    ratio, count = record["batched"]["times_one_by_one"], record["batched"]["networks"]
    out.print(f"lenet, {count} networks together: {ratio:.2f} times as fast as one by one")
    record["memory"], table = memory(device)
    out.print(table)
    folder = Path("results") / f"benchmarks-{name.lower().replace(' ', '-')}"
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "benchmarks.json", record)
    out.print(f"kept in {folder}")


if __name__ == "__main__":
    main()
