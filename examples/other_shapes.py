"""Distil signals, and images of five channels that are not square: `python examples/other_shapes.py [--quick]`."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import torch
import tyro

import datastill
from datastill import Config, DatasetDistillation, LoopSettings, Protocol

Arrays = tuple[np.ndarray, np.ndarray]


def signals(count: int, seed: int) -> Arrays:
    """Draw sines, triangles, squares or single pulses, and each again a little later: (count, 2, 64) and classes."""
    draw = np.random.default_rng(seed)
    labels, start = draw.integers(0, 4, count), draw.uniform(0, 0.25, (count, 1, 1))
    turns = np.linspace(0, 2, 64) * draw.uniform(0.9, 1.1, (count, 1, 1)) + start - np.array([[[0.0], [0.1]]])
    sine = np.sin(2 * np.pi * turns)
    shapes = np.stack([sine, 2 / np.pi * np.arcsin(sine), np.sign(sine), 2.0 * (turns % 2 < 0.2) - 0.5])
    found = shapes[labels, np.arange(count)] + 0.7 * draw.standard_normal((count, 2, 64))
    return found.astype(np.float32), labels


def images(count: int, seed: int) -> Arrays:
    """Draw a spot that is bright in two neighbours of five channels: bytes (count, 5, 12, 20), and which two."""
    draw = np.random.default_rng(seed)
    labels, rows, columns = draw.integers(0, 4, count), draw.integers(3, 9, count), draw.integers(6, 14, count)
    found = draw.integers(0, 200, (count, 5, 12, 20))
    for image, label, row, column in zip(found, labels, rows, columns, strict=True):
        image[label : label + 2, row - 2 : row + 2, column - 3 : column + 3] += 55
    return found.astype(np.uint8), labels


KINDS: dict[str, tuple[Callable[[int, int], Arrays], str]] = {
    "signals of 2 channels and 64 steps": (signals, "mlp(width=64,depth=1)"),
    "images of 5 channels, 12 x 20": (images, "convnet(width=16,depth=1)"),
}


def measured(
    draw: Callable[[int, int], Arrays], network: str, seed: int, *, count: int, iterations: int, networks: int
) -> dict:
    """Return the accuracies of unseen networks that learned from one example per class, and from everything."""
    load = datastill.load_rows if draw is signals else datastill.load_data
    data = load({"train": draw(2 * count, 2 * seed), "test": draw(count, 2 * seed + 1)})
    method = DatasetDistillation(ipc=1, steps=1, epochs=20, step_size=0.05, real_batch=128)
    config = Config(network=network, method=method, loop=LoopSettings(iterations=iterations), seed=seed)
    distilled = datastill.distill(config, data=data)
    random = datastill.baseline("random", distilled, data, seed=seed)
    protocol = Protocol(networks=networks, seed=seed)
    both = {"distilled examples": distilled, "random real examples": random}
    return {name: datastill.score(each, data, protocol).mean for name, each in both.items()} | {
        "all real examples": with_everything(data, network, seed)
    }


def with_everything(data: datastill.RealData, network: str, seed: int) -> float:
    torch.manual_seed(seed)
    model = datastill.build_network(network, shape=data.shape, classes=data.classes).factory()
    inputs, optimiser = data.normalise(data.train.images), torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(10):
        for which in torch.randperm(len(inputs)).split(50):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(model(inputs[which]), data.train.labels[which]).backward()
            optimiser.step()
    return float((model(data.normalise(data.test.images)).argmax(1) == data.test.labels).double().mean())


def table(record: dict) -> str:
    names = list(next(iter(record["kinds"].values()))[0])
    lines = [f"| data | {' | '.join(names)} | n |", "|---|" + "---|" * (len(names) + 1)]
    for kind, runs in record["kinds"].items():
        values = [[100 * run[name] for run in runs] for name in names]
        lines.append(f"| {kind} | {' | '.join(f'{fmean(v):.1f} ± {stdev(v):.1f}' for v in values)} | {len(runs)} |")
    return "\n".join(lines)


def main(out: Path = Path("results/use-shapes/shapes.json"), quick: bool = False) -> dict:
    small, usual = {"count": 100, "iterations": 2, "networks": 2}, {"count": 1000, "iterations": 300, "networks": 10}
    sets, settings = (2, small) if quick else (5, usual)
    began = time.process_time()
    names = list(KINDS)[:1] if quick else list(KINDS)
    kinds = {name: [measured(*KINDS[name], seed, **settings) for seed in range(sets)] for name in names}
    record = {"command": "python examples/other_shapes.py", "kinds": kinds}
    record["processor_seconds"] = round(time.process_time() - began)
    print(table(record))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return record


if __name__ == "__main__":
    tyro.cli(main)
