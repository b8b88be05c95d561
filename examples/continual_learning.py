"""Learn classes two by two; a distilled set keeps the old ones: `python examples/continual_learning.py [--quick]`."""

import json
import sys
import time
from pathlib import Path
from statistics import fmean, stdev
from typing import Literal

import torch
import tyro
from torch.nn.functional import cross_entropy

import datastill
from datastill.program import PROGRAMS

# A memory may hold only what was known when its class was seen. Distribution matching learns the examples of a class
# from real images of this class alone, so one finished set can serve for all tasks. For kernel ridge this is not so.
SETS = {"mnist": "mnist-100-matching", "cifar10": "results/matching-cifar10", "digits": "results/digits"}
NETWORK = "convnet(width=8)"


def memories(data: datastill.RealData, seeds: int) -> dict[str, list[datastill.DistilledSet | None]]:
    """Return a memory of each kind for each seed. All have 8 bits for each number, and equally many of them."""
    distilled = datastill.load(SETS[data.name]).with_program(PROGRAMS["shuffled-300"])  # which replay does not use
    return {
        "no memory": [None] * seeds,
        "random real images": [datastill.baseline("random", distilled, data, seed=seed) for seed in range(seeds)],
        "herded real images": [datastill.baseline("herding", distilled, data)] * seeds,
        "distilled set": [distilled.packed()] * seeds,
    }


def accuracy(data: datastill.RealData, memory: datastill.DistilledSet | None, images: int, seed: int) -> float:
    """Train one epoch on each task, with replay; return the accuracy on the test images of all classes at the end."""
    torch.manual_seed(seed)
    model = datastill.build_network(NETWORK, shape=data.shape, classes=data.classes).factory()
    optimiser, train = torch.optim.Adam(model.parameters(), 1e-3), data.train.spaced(images)
    for first in range(0, data.classes, 2):
        task = train.take((train.labels // 2 == first // 2).nonzero()[:, 0])
        for which in torch.randperm(len(task)).split(20):
            inputs, labels = data.normalise(task.images[which]), task.labels[which]
            if memory and first:  # and as many examples of old classes
                old = (memory.targets < first).nonzero()[:, 0]
                old = old[torch.randint(len(old), (20,))]
                inputs, labels = torch.cat([inputs, memory.inputs[old]]), torch.cat([labels, memory.targets[old]])
            optimiser.zero_grad()
            cross_entropy(model(inputs), labels).backward()
            optimiser.step()
    with torch.no_grad():
        answers = [model(data.normalise(some)).argmax(1) for some in data.test.images.split(1000)]
    return float((torch.cat(answers) == data.test.labels).double().mean())


def table(record: dict) -> str:
    lines = ["| replay of | bytes | accuracy at the end, all classes | n |", "|---|---|---|---|"]
    for row in record["rows"]:
        accuracy = f"{fmean(row['accuracy']) * 100:.1f} ± {stdev(row['accuracy']) * 100:.1f} %"
        lines.append(f"| {row['memory']} | {row['bytes']} | {accuracy} | {len(row['accuracy'])} |")
    return "\n".join(lines)


def main(
    *, data: Literal["mnist", "cifar10", "digits"] = "mnist", out: Path | None = None, quick: bool = False
) -> dict:
    began, real = time.process_time(), datastill.load_data("digits" if quick else data)
    rows = []
    for name, kept in memories(real, seeds=2 if quick else 5).items():
        found = [accuracy(real, memory, 200 if quick else 10000, seed) for seed, memory in enumerate(kept)]
        rows.append({"memory": name, "bytes": kept[0].nbytes if kept[0] else 0, "accuracy": found})
    record = {"command": " ".join(["python", *sys.argv]), "processor": torch.backends.cpu.get_cpu_capability()}
    record |= {"processor_seconds": round(time.process_time() - began), "rows": rows}
    print(table(record))
    if out:
        out.write_text(json.dumps(record) + "\n")
    return record


if __name__ == "__main__":
    tyro.cli(main)
