"""Seconds of a hypergradient for each way of computing, compared with the naive way (one graph for everything)."""

import statistics
import time
from collections.abc import Callable

import torch
from rich.table import Table
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from datastill.networks import Network, build
from datastill.training import Engine, OnReal, hypergradient, mean_loss

from . import naive

SHAPES = {"lenet": (1, 28, 28), "alexcifarnet": (3, 32, 32)}
STEP_SIZE = {
    "lenet": 0.02,
    "alexcifarnet": 0.001,
}  # initial values of the paper; with larger ones, rounding errors in float32 grow
STEPS, EPOCHS, BATCH, REAL = 10, 3, 10, 1024
ROUNDS = 3
WAYS = {
    "stored": Engine(mode="stored", execution="eager", together=1),
    "recomputed": Engine(mode="recomputed", execution="eager", together=1),
    "forward over reverse": Engine(mode="recomputed", execution="forward", together=1),
    "traced": Engine(mode="stored", execution="traced", together=1),
    "compiled": Engine(mode="stored", execution="compiled", together=1),
    "compiled, recomputed": Engine(mode="recomputed", execution="compiled", together=1),
    "compiled, bfloat16": Engine(mode="stored", execution="compiled", together=1, precision="bfloat16"),
}
Run = Callable[[], tuple[Tensor, Tensor]]
"""Function that returns the objective and its derivatives by the examples."""


def matmul_rate(device: torch.device, n: int = 2048) -> float:
    """Measure the floating-point operations per second of a large matrix product in float32."""
    a = torch.randn(n, n, device=device)
    return 2 * n**3 / min(seconds(lambda: a @ a, device) for _ in range(6))


def seconds(run: Callable[[], object], device: torch.device) -> float:
    """Measure the seconds of one call."""
    began = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def speed(name: str, device: torch.device, rate: float) -> tuple[list[dict], Table]:
    """Measure all ways and the naive way with one network; the ways take turns."""
    runs = {"naive": naive_run(name, device)} | {way: run(name, engine, 1, device) for way, engine in WAYS.items()}
    first = {way: seconds(each, device) for way, each in runs.items()}
    taken: dict[str, list[float]] = {way: [] for way in runs}
    for _ in range(ROUNDS):
        for way, each in runs.items():
            taken[way].append(seconds(each, device))
    reference = runs["naive"]()[1].flatten()
    work = operations(name)
    rows = []
    for way, each in runs.items():
        found = each()[1].flatten()
        median = statistics.median(taken[way])
        rows.append({
            "network": name, "way": way, "median": median, "least": min(taken[way]), "most": max(taken[way]),
            "first": first[way], "times_naive": statistics.median(taken["naive"]) / median,
            "share_of_matmul": work / median / rate,
            "error": float((found - reference).norm() / reference.norm()),
        })  # fmt: skip
    title = f"{name}, {STEPS} steps x {EPOCHS} epochs of {BATCH} examples, real batch {REAL}, one network"
    table = Table(title=title)
    for column in ("way", "seconds", "times as fast as naive", "share of matmul rate", "first call", "difference"):
        table.add_column(column, justify="left" if column == "way" else "right")
    for row in rows:
        table.add_row(
            row["way"], f"{row['median']:.3f}", f"{row['times_naive']:.2f}", f"{row['share_of_matmul']:.0%}",
            f"{row['first']:.1f} s", f"{row['error']:.0e}",
        )  # fmt: skip
    return rows, table


def batched(name: str, device: torch.device, networks: int = 4) -> dict:
    """Compare several networks in one batched program with one network after the other."""
    ways = {
        "one by one": [run(name, WAYS["stored"], 1, device, first=i) for i in range(networks)],
        "together": [run(name, WAYS["stored"], networks, device)],
    }
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(1 + ROUNDS):
        for way, runs in ways.items():
            taken[way].append(seconds(lambda runs=runs: [each() for each in runs], device))
    medians = {way: statistics.median(times[1:]) for way, times in taken.items()}
    ratio = medians["one by one"] / medians["together"]
    return {"network": name, "networks": networks, "seconds": medians, "times_one_by_one": ratio}


def problem(name: str, networks: int, device: torch.device, first: int = 0) -> tuple[Network, dict[str, Tensor]]:
    """Make the network and the tensors that all ways compute with."""
    network = build(name, shape=SHAPES[name], classes=10).to(device)
    draw = torch.Generator().manual_seed(0)
    given = {
        "examples": torch.randn(STEPS, BATCH, *SHAPES[name], generator=draw),
        "labels": torch.arange(10).repeat(STEPS, 1),
        "step_sizes": torch.full((EPOCHS, STEPS), STEP_SIZE[name]),
        "images": torch.randn(1, REAL, *SHAPES[name], generator=draw).expand(networks, -1, -1, -1, -1),
        "truth": torch.randint(10, (1, REAL), generator=draw).expand(networks, -1),
        "thetas": network.init("xavier", [torch.Generator().manual_seed(first + i) for i in range(networks)]),
    }
    return network, {key: value.to(device) for key, value in given.items()}


def run(name: str, engine: Engine, networks: int, device: torch.device, first: int = 0) -> Run:
    """Return a function that computes a hypergradient with the library."""
    network, given = problem(name, networks, device, first)
    network = network.computing(engine.layers)
    steps, objective = engine.steps(mean_loss(network)), mean_loss(network)
    most = network.images_of_training(device)

    def once() -> tuple[Tensor, Tensor]:
        found = hypergradient(
            steps, OnReal(objective, given["images"], given["truth"], most), given["thetas"], given["examples"],
            given["labels"], given["step_sizes"], mode=engine.mode,
        )  # fmt: skip
        return found.objective, found.examples

    return once


def naive_run(name: str, device: torch.device) -> Run:
    """Return a function that computes a hypergradient in the naive way."""
    network, given = problem(name, 1, device)
    module = naive.MODULES[name]().to(device)
    theta = network.named(given["thetas"][0])
    arguments = (given["examples"], given["labels"], given["step_sizes"], given["images"][0], given["truth"][0])
    return lambda: naive.hypergradient(module, theta, *arguments)[:2]


def operations(name: str) -> int:
    """Count the floating-point operations of the naive way."""
    once = naive_run(name, torch.device("cpu"))
    with FlopCounterMode(display=False) as counter:
        once()
    return counter.get_total_flops()
