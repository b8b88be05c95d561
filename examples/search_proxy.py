"""Rank 20 networks by training them on a distilled set only: `python examples/search_proxy.py [--quick]`."""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean, stdev

import torch
import tyro
from scipy.stats import kendalltau, spearmanr
from torch import nn
from torch.nn.functional import cross_entropy

import datastill
from datastill.program import PROGRAMS, suited

CANDIDATES = [
    *(f"mlp(width={width},depth={depth})" for width in (8, 16, 32, 64, 128) for depth in (1, 2)),
    *(f"convnet(width={width},depth={depth},norm=none)" for width in (2, 4, 8) for depth in (1, 2, 3)),
    "lenet",
]
EPOCHS, SEEDS = 25, 5


def on_images(model: nn.Module, data: datastill.RealData, count: int, batch: int) -> None:
    """Train on `count` different real images, once."""
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    for which in torch.randperm(len(data.train))[:count].split(batch):
        optimiser.zero_grad()
        cross_entropy(model(data.normalise(data.train.images[which])), data.train.labels[which]).backward()
        optimiser.step()


def accuracies(
    data: datastill.RealData, candidates: list[str], seed: int, train: Callable[[nn.Module], object]
) -> dict:
    """Return the validation accuracy of each candidate, and the seconds of the processor for all trainings."""
    found, seconds = [], 0.0
    for name in candidates:
        torch.manual_seed(seed)
        model = datastill.build_network(name, shape=data.shape, classes=data.classes).factory()
        began = time.process_time()
        train(model)
        seconds += time.process_time() - began
        with torch.no_grad():
            answers = [model(data.normalise(images)).argmax(1) for images in data.validation.images.split(1000)]
        found.append(float((torch.cat(answers) == data.validation.labels).double().mean()))
    return {"accuracies": found, "seconds": round(seconds, 1)}


def table(record: dict) -> str:
    full = record["everything"]["accuracies"]
    lines = ["| trained on | Spearman | Kendall | accuracy of its choice | seconds | n |", "|---|---|---|---|---|---|"]
    for name, runs in record["proxies"].items():
        ranks = [[float(f(run["accuracies"], full).statistic) for run in runs] for f in (spearmanr, kendalltau)]
        choices = [full[run["accuracies"].index(max(run["accuracies"]))] * 100 for run in runs]
        cells = [f"{fmean(values):.2f} ± {stdev(values):.2f}" for values in (*ranks, choices)]
        seconds = fmean(run["seconds"] for run in runs)
        lines.append(f"| {name} | {' | '.join(cells)} | {seconds:.0f} | {len(runs)} |")
    everything = f"{max(full) * 100:.2f} | {record['everything']['seconds']:.0f} | 1"
    return "\n".join([*lines, f"| every real image | 1 | 1 | {everything} |"])


def main(*, out: Path | None = None, quick: bool = False) -> dict:
    began, data = time.process_time(), datastill.load_data("digits" if quick else "mnist")
    candidates, seeds = (CANDIDATES[:4], range(2)) if quick else (CANDIDATES, range(SEEDS))
    distilled = datastill.load("results/digits" if quick else "mnist-100-matching")
    program = suited(PROGRAMS["shuffled-300-adam"], data.shape, mirror=False)
    program = replace(program, order=replace(program.order, epochs=EPOCHS))
    count = EPOCHS * distilled.size  # real images that take as many gradient steps
    proxies = {"distilled set": [], "random real images": [], f"{count} real images, once": []}
    for seed in seeds:
        random = datastill.baseline("random", distilled.with_program(program), data, seed=seed)
        trainings = (
            partial(distilled.fit, program=program, seed=seed),
            partial(random.fit, program=program, seed=seed),
            partial(on_images, data=data, count=count, batch=25),
        )
        for runs, train in zip(proxies.values(), trainings, strict=True):
            runs.append(accuracies(data, candidates, seed, train))
    everything = accuracies(data, candidates, SEEDS, partial(on_images, data=data, count=len(data.train), batch=64))
    record = {"command": " ".join(["python", *sys.argv]), "processor": torch.backends.cpu.get_cpu_capability()}
    record |= {"processor_seconds": round(time.process_time() - began), "candidates": candidates}
    record |= {"proxies": proxies, "everything": everything}
    print(table(record))
    if out:
        out.write_text(json.dumps(record) + "\n")
    return record


if __name__ == "__main__":
    tyro.cli(main)
