"""Distil arrays of your own with a network of your own: `python examples/your_own_data.py FOLDER`."""

import sys

import numpy as np
from torch import nn

import datastill
from datastill import Config, DatasetDistillation, LoopSettings, Protocol, parse_start


def my_network(*, shape: tuple[int, int, int], classes: int, width: int = 32) -> nn.Module:
    channels, height, _ = shape
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(width * (height // 2) ** 2, classes),
    )


def my_arrays(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw vertical, horizontal or diagonal bars in noise: 8x8 grey images, uint8."""
    rng = np.random.default_rng(seed)
    images, labels = rng.integers(0, 90, (count, 8, 8)), rng.integers(0, 3, count)
    for image, label in zip(images, labels, strict=True):
        at = rng.integers(1, 7)
        line = [(slice(None), at), (at, slice(None)), (range(8), range(8))][label]
        image[line] += 160
    return images.astype(np.uint8), labels


def main(folder: str, iterations: int = 500) -> float:
    data = datastill.load_data({"train": my_arrays(500, seed=0), "test": my_arrays(300, seed=1)})
    config = Config(
        network=f"{__name__}:my_network(width=16)",
        start=parse_start("random(own)"),
        method=DatasetDistillation(ipc=1, steps=1, epochs=5, real_batch=128, step_size=0.05),
        loop=LoopSettings(iterations=iterations),
        protocol=Protocol(networks=50),
        random_sets=5,
    )
    distilled = datastill.distill(config, folder, data=data)
    found = distilled.header.score
    assert found is not None
    print(f"3 synthetic images: {found['mean']:.2%} ± {found['sd'] * 100:.2f} over {found['n']} unseen networks")
    print(f"3 random real ones: {found['baseline']['best']:.2%} for the best of {found['baseline']['sets']}")
    return found["mean"] - found["baseline"]["best"]


if __name__ == "__main__":
    main(sys.argv[1])
