"""Random real images as the synthetic set, trained on with the step size that validates best."""

from dataclasses import replace

import torch

from ..artifact import DistilledSet, Header
from ..data import RealData
from ..evaluation import Protocol, score
from ..rng import generator
from ..synthetic import start_examples, start_labels

STEP_SIZES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)  # the grid of Wang et al. 2018, section 4.1
EPOCHS = (1, 3, 5)
CHOOSE_NETWORKS = 4
CHOOSE_IMAGES = 500


def random_real(data: RealData, header: Header, *, ipc: int, steps: int, epochs: int, seed: int) -> DistilledSet:
    """One random set of real images, with the step size and number of epochs of the paper's grid that validate best.

    Args:
        data: real data; images come from its train split.
        header: of the set that this is compared with: same network, initialiser and normalisation.
        ipc: images per class.
        steps: batches that the images are divided into.
        epochs: of the set that this is compared with, tried besides those of the grid.
        seed: which random set.
    """
    draw = generator(seed, "random real set")
    examples = start_examples(data, ipc=ipc, steps=steps, start="real", generator=draw)
    labels = start_labels(data, ipc=ipc, steps=steps)
    plain = replace(header, method="random-real", config={}, provenance={"seed": seed}, score=None, initial="random")
    choices = [
        DistilledSet(examples=examples, labels=labels, step_sizes=torch.full((tried, steps), size), header=plain)
        for tried in sorted({*EPOCHS, epochs})
        for size in STEP_SIZES
    ]
    few = Protocol(networks=CHOOSE_NETWORKS, seed=seed)
    return max(choices, key=lambda one: score(one, data, few, split="validation", images=CHOOSE_IMAGES).mean)
