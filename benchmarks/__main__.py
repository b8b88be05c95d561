"""Speed and memory of the hypergradient, side by side in one run: ``python -m benchmarks``.

Prints tables and keeps the numbers in results/benchmarks-<hardware>/. Close all other programs: the ways of computing
take turns, but a busy machine still makes the medians inexact. All parts take about fifteen minutes on two CPU cores.
"""

import argparse
import functools
import platform
from pathlib import Path

import torch
from rich.console import Console

from datastill.errors import UserError
from datastill.evaluation import hardware
from datastill.heap import keep_freed_memory
from datastill.storage.files import write_json

from .large import large
from .memory import memory
from .peers import peers
from .processes import processes
from .speed import ROUNDS, batched, matmul_rate, speed

out = Console(width=110)


def main(words: list[str] | None = None) -> None:
    """Measure the parts that are named on the command line (default: all); print and keep the results."""
    if words is None:  # the process is ours, as in the command line
        keep_freed_memory()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "parts", nargs="*", help=f"parts to measure (default: all but large and peers): {', '.join(PART)}"
    )
    asked = parser.parse_args(words).parts
    if wrong := [part for part in asked if part not in PART]:
        parser.error(f"there is no part {wrong[0]!r}; take some of: {', '.join(PART)}")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = hardware(device)
    folder = Path("results") / f"benchmarks-{name.lower().replace(' ', '-')}"
    folder.mkdir(parents=True, exist_ok=True)
    for part in asked or [name for name in PART if name not in ASKED_ONLY]:
        file = folder / f"{part}.json"
        rate = matmul_rate(device)
        try:
            found = PART[part](device, rate)
        except UserError as error:
            parser.error(str(error))
        write_json(file, about(name, rate) | {"found": found})
        out.print(f"kept in {file}")


def about(name: str, rate: float) -> dict:
    """Print and return the facts about the machine that every file holds."""
    threads = torch.get_num_threads()
    out.print(f"{name}, {threads} threads, torch {torch.__version__}, {rate / 1e9:.0f} GFLOP/s in matrix products")
    versions = {"torch": torch.__version__, "python": platform.python_version()}
    return versions | {"hardware": name, "threads": threads, "matmul_gflops": rate / 1e9, "rounds": ROUNDS}


def one_network(name: str, device: torch.device, rate: float) -> list[dict]:
    """Measure all ways of computing with one network."""
    rows, table = speed(name, device, rate)
    out.print(table)
    return rows


def four_networks(device: torch.device, _: float) -> dict:
    """Measure several LeNets in one batch, and one by one."""
    found = batched("lenet", device)
    out.print(f"{found['networks']} LeNets together: {found['times_one_by_one']:.2f} times as fast as one by one")
    return found


def peaks(device: torch.device, _: float) -> list[dict]:
    """Measure peak memory for growing numbers of steps."""
    rows, table = memory(device)
    out.print(table)
    return rows


def shared(_device: torch.device, _rate: float) -> list[dict]:
    """Measure two processes and one process."""
    rows, table = processes()
    out.print(table)
    return rows


def a_million(_device: torch.device, _rate: float) -> list[dict]:
    """Measure a million images on disk, and in memory."""
    rows, table = large()
    out.print(table)
    return rows


def others(device: torch.device, _: float) -> list[dict]:
    """Measure a truncated unroll with the library and with `higher`."""
    rows, table = peers(device)
    out.print(table)
    return rows


PART = {
    "lenet": functools.partial(one_network, "lenet"),
    "alexcifarnet": functools.partial(one_network, "alexcifarnet"),
    "batched": four_networks,
    "memory": peaks,
    "processes": shared,
    "large": a_million,
    "peers": others,
}
ASKED_ONLY = ("large", "peers")
"""Parts that are measured only if they are named: they need 4 GB of disk, or what is not installed with the library."""

if __name__ == "__main__":
    main()
