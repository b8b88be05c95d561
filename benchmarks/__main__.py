"""Speed and memory of the hypergradient, side by side in one run: ``python -m benchmarks``.

Prints tables and keeps the numbers in results/benchmarks-<hardware>/. Close everything else: the contestants take
turns, but a busy machine still blurs the medians. About ten minutes on two cores; name one of lenet, alexcifarnet,
batched and memory to measure it alone.
"""

import platform
import sys
from pathlib import Path

import torch
from rich.console import Console

from datastill.evaluation import hardware
from datastill.files import write_json

from .memory import memory
from .speed import ROUNDS, batched, matmul_rate, speed

out = Console(width=110)


def main(asked: list[str]) -> None:
    """Measure what is asked for, print it and keep it."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = hardware(device)
    folder = Path("results") / f"benchmarks-{name.lower().replace(' ', '-')}"
    folder.mkdir(parents=True, exist_ok=True)
    for part in asked or PART:
        file = folder / f"{part}.json"
        write_json(file, about(name, device) | {"found": PART[part](device)})
        out.print(f"kept in {file}")


def about(name: str, device: torch.device) -> dict:
    """What every file says about the machine."""
    rate = matmul_rate(device) / 1e9
    out.print(f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}, {rate:.0f} GFLOP/s in products")
    versions = {"torch": torch.__version__, "python": platform.python_version()}
    return versions | {"hardware": name, "threads": torch.get_num_threads(), "matmul_gflops": rate, "rounds": ROUNDS}


def one_network(name: str, device: torch.device) -> list[dict]:
    """All ways, one network."""
    rows, table = speed(name, device, matmul_rate(device))
    out.print(table)
    return rows


def four_networks(device: torch.device) -> dict:
    """LeNets together and one by one."""
    found = batched("lenet", device)
    out.print(f"{found['networks']} LeNets together: {found['times_one_by_one']:.2f} times as fast as one by one")
    return found


def peaks(device: torch.device) -> list[dict]:
    """Memory as the steps grow."""
    rows, table = memory(device)
    out.print(table)
    return rows


PART = {
    "lenet": lambda device: one_network("lenet", device),
    "alexcifarnet": lambda device: one_network("alexcifarnet", device),
    "batched": four_networks,
    "memory": peaks,
}

if __name__ == "__main__":
    main(sys.argv[1:])
