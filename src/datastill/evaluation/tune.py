"""Step size and epochs for a set in which none were learned: those of a grid that do best on validation images."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..artifact import DistilledSet
from ..data import RealData
from .protocol import Protocol
from .score import score


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What is tried; as in Wang et al. 2018, section 4.1."""

    step_sizes: Sequence[float] = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
    epochs: Sequence[int] = (1, 3, 5)
    networks: int = 4
    """Networks that each pair is tried with."""
    images: int = 500
    """Validation images that each is tried on."""


def tuned(distilled: DistilledSet, data: RealData, protocol: Protocol, grid: Grid | None = None) -> Protocol:
    """The protocol with the step size and number of epochs of the grid that validate best; the test split is not read.

    Equal means go to fewer epochs, then to the smaller step size.
    """
    grid = grid or Grid()
    few = replace(protocol, networks=grid.networks)
    choices = [replace(few, step_size=size, epochs=count) for count in sorted(grid.epochs) for size in grid.step_sizes]
    best = max(choices, key=lambda one: score(distilled, data, one, split="validation", images=grid.images).mean)
    return replace(protocol, step_size=best.step_size, epochs=best.epochs)
