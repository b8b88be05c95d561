"""Distilled sets of ordered steps, written by step: examples (steps, b, *shape), labels (steps, b) and step sizes."""

from typing import Any

from torch import Tensor

from datastill.artifact import DistilledSet
from datastill.program import Ordered, Program, optimiser


def ordered(step_sizes: Tensor, rule: str = "sgd") -> Program:
    """Plain training in ordered steps with these step sizes (epochs, steps)."""
    return Program(order=Ordered(step_sizes=step_sizes), optimiser=optimiser(rule))


def set_of_steps(examples: Tensor, labels: Tensor, step_sizes: Tensor, rule: str = "sgd", **more: Any) -> DistilledSet:
    return DistilledSet(
        inputs=examples.flatten(0, 1), targets=labels.flatten(0, 1), program=ordered(step_sizes, rule), **more
    )


def in_steps(distilled: DistilledSet, values: Tensor) -> Tensor:
    """Values of the examples of a set, (steps, b, ...)."""
    return values.unflatten(0, (distilled.batches, -1))
