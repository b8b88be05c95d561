"""The real data of an outer iteration: a batch for each network, changed by an augmentation or as it is."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ..program import Augmentation, Program, Step
from ..rng import generator
from .task import Task

Images = Float[Tensor, "networks b *shape"]


def real_batches(task: Task, iteration: int, which: range, size: int) -> tuple[Images, Int64[Tensor, "networks b"]]:
    """Return a batch of `size` real examples for each network in `which`, normalised, with the labels that are wanted.

    Network i has an equal batch however many networks there are, in one process or in several.
    """
    draws = (generator(task.seed, "real batch", iteration, i) for i in which)
    images, labels = (
        torch.stack(parts) for parts in zip(*(task.data.batch(draw, size) for draw in draws), strict=True)
    )
    return images, task.objective.wanted(labels)


def changed_alone(task: Task, iteration: int, which: range, images: Images, augmentation: Augmentation) -> Images:
    """Return real images, each changed by its own numbers."""
    *_, channels, height, width = images.shape
    draws = (generator(task.seed, "augmentation of real images", iteration, i) for i in which)
    changes = [augmentation.draw(images.shape[1], (channels, height, width), draw) for draw in draws]
    return torch.stack([change(each) for change, each in zip(changes, images, strict=True)])


def step_of(program: Program, count: int, seed: int, t: int) -> Step:
    """Return gradient step t of a program on `count` examples."""
    return next(step for i, step in enumerate(program.steps(count, seed)) if i == t)
