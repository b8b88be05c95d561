"""Peak memory of a hypergradient for growing numbers of steps of the inner training."""

import torch
from rich.table import Table

from datastill.costs import Peak
from datastill.networks import build
from datastill.planner import free_bytes, size
from datastill.training import OnReal, hypergradient, mean_loss

LENGTHS = (10, 30, 100, 300)


def memory(device: torch.device) -> tuple[list[dict], Table]:
    """Measure peak bytes of tensors by mode and number of steps T: ConvNet-3, 10 examples a step, 64 real images."""
    table = Table(title="ConvNet-3 (128 wide), 10 examples a step: peak memory of an outer iteration")
    for column in ("steps T", "stored", "recomputed", "recomputed, kept every sqrt(T)"):
        table.add_column(column, justify="right")
    rows: list[dict] = []
    for length in LENGTHS:
        row: dict = {"steps": length, "stored": stored(length, rows, device)}
        row["recomputed"] = peak(length, "recomputed", 1, device)
        row["kept"] = peak(length, "recomputed", round(length**0.5), device)
        rows.append(row)
        sizes = [size(row[way]) if row[way] else "does not fit" for way in ("stored", "recomputed", "kept")]
        table.add_row(str(length), *sizes)
    return rows, table


def stored(length: int, shorter: list[dict], device: torch.device) -> int | None:
    """Measure the peak bytes with stored graphs; return None if they would not fit in memory."""
    free = free_bytes(device)
    if shorter and free and shorter[-1]["stored"] * length / shorter[-1]["steps"] > 0.7 * free:
        return None
    return peak(length, "stored", 1, device)


def peak(length: int, mode: str, every: int, device: torch.device) -> int:
    """Measure the peak bytes of one hypergradient through `length` steps."""
    network = build("convnet", shape=(3, 32, 32), classes=10).to(device)
    draw = torch.Generator().manual_seed(0)
    thetas = network.init("xavier", [torch.Generator().manual_seed(0)])
    examples = torch.randn(10, 10, 3, 32, 32, generator=draw)
    labels, sizes = torch.arange(10).repeat(10, 1), torch.full((length // 10, 10), 0.01)
    images, truth = torch.randn(1, 64, 3, 32, 32, generator=draw), torch.randint(10, (1, 64), generator=draw)
    objective = OnReal(mean_loss(network), images.to(device), truth.to(device), network.images_of_training(device))
    given = (each.to(device) for each in (thetas, examples, labels, sizes))
    with Peak() as follower:
        hypergradient(mean_loss(network), objective, *given, mode=mode, keep_every=every)
    return follower.peak
