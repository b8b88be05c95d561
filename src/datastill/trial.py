"""What a plan is made for: an outer iteration that can be run as a trial, before a run begins."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from .training import Unroll

Iteration = Callable[[], object]
"""Runs an outer iteration."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """An outer iteration as it is, of which nothing can be chosen."""

    device: torch.device
    parameters: int
    """Parameters of the network."""
    make: Callable[[], Iteration]
    """Makes what an iteration needs, such as a first state, and returns the iteration."""


@dataclass(frozen=True, kw_only=True)
class Unrolled(Trial):
    """An outer iteration that unrolls the training of networks by a program of ordered steps.

    Every gradient step takes as much as any other, so that a few of them tell what a long program takes.
    """

    unroll: Unroll
    """As it was asked for: the engine may leave settings open."""
    steps: int
    """Gradient steps in an epoch, each on different examples."""
    epochs: int
    """Passes over the steps."""
    variant: Callable[[Unroll, int, int], Iteration]
    """Function of `unroll`, `steps` and `epochs`: makes an iteration that has these instead, with equally large steps.
    What is made only once for a run, such as compiled steps, is made for each of these iterations."""
