"""Speed of two processes that share the networks of an iteration, and of one process with two threads or with one."""

import itertools
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from rich.table import Table

from datastill import DistilledSet
from datastill.runlog import read_lines

NETWORKS, ITERATIONS, ROUNDS = 4, 12, 3
SETTINGS = [
    "distill", "mnist-random", "--method.networks", str(NETWORKS), "--loop.iterations", str(ITERATIONS),
    "--method.engine.mode", "stored", "--method.engine.execution", "traced", "--method.engine.together", "1",
    "--method.engine.precision", "float32", "--protocol.networks", "2",
]  # fmt: skip
TORCHRUN = ["-m", "torch.distributed.run", "--nproc-per-node=2"]
WAYS = {"one process, one thread": ([], 1), "one process, two threads": ([], 2), "two processes": (TORCHRUN, 1)}


def processes() -> tuple[list[dict], Table]:
    """Measure the median seconds of an outer iteration of LeNet, 10 steps x 3 epochs, and how much examples differ."""
    taken: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as place:
        for turn in range(ROUNDS):
            for way in WAYS:
                taken[way] += _seconds(way, Path(place) / f"{way} {turn}")
        learned = {way: _first_steps(way, Path(place) / f"{way} start") for way in WAYS}
    one = statistics.median(taken["one process, two threads"])
    reference = learned["one process, one thread"]
    table = Table(title=f"LeNet, 10 steps x 3 epochs, {NETWORKS} networks per iteration")
    for column in ("way", "seconds", "times as fast as two threads", "difference after 2 iterations"):
        table.add_column(column, justify="left" if column == "way" else "right")
    rows = []
    for way, times in taken.items():
        median, error = statistics.median(times), float((learned[way] - reference).abs().max())
        rows.append({"way": way, "median": median, "times_two_threads": one / median, "difference": error})
        table.add_row(way, f"{median:.3f}", f"{one / median:.2f}", f"{error:.0e}")
    return rows, table


def _start(way: str, folder: Path, *more: str) -> None:
    runner, threads = WAYS[way]
    command = [sys.executable, *runner, "-m", "datastill", *SETTINGS, "--out", str(folder), *more]
    subprocess.run(command, check=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": str(threads)})


def _seconds(way: str, folder: Path) -> list[float]:
    """Return the seconds of each iteration but the first, which also traces."""
    _start(way, folder)
    at = [line["seconds"] for line in read_lines(folder / "metrics.jsonl") if "objective" in line]
    return [after - before for before, after in itertools.pairwise(at)]


def _first_steps(way: str, folder: Path) -> torch.Tensor:
    """Return the examples after two iterations; after more iterations, differences of rounding would grow."""
    _start(way, folder, "--loop.iterations", "2", "--loop.average", "0")
    return DistilledSet.load(folder / "distilled.safetensors").inputs
