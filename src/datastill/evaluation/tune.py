"""Step size, epochs and optimiser for a set in which none were learned: those of a grid that validate best."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from ..artifact import DistilledSet
from ..data import RealData
from .protocol import Protocol
from .score import score


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What is tried; as in Wang et al. 2018, section 4.1."""

    step_sizes: Sequence[float] = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
    epochs: Sequence[int] = (1, 3, 5)
    optimisers: Sequence[Literal["sgd", "momentum", "adam"]] = ("sgd",)
    networks: int = 4
    """Networks that each pair is tried with."""
    images: int = 500
    """Validation images that each is tried on."""

    def with_those_of(self, distilled: DistilledSet) -> "Grid":
        """The grid with the number of epochs and the optimiser of a set that is to be compared with fairly."""
        return self.also(len(distilled.step_sizes), distilled.header.optimiser)

    def also(self, epochs: int, optimiser: Any) -> "Grid":
        """The grid with one more number of epochs and one more optimiser, where it has not got them."""
        optimisers = dict.fromkeys((*self.optimisers, optimiser))
        return replace(self, epochs=sorted({*self.epochs, epochs}), optimisers=list(optimisers))


def tuned(distilled: DistilledSet, data: RealData, protocol: Protocol, grid: Grid | None = None) -> Protocol:
    """The protocol with what validates best of the grid; the test split is not read.

    Equal means go to the first optimiser, then to fewer epochs, then to the smaller step size.
    """
    grid = grid or Grid()
    few = replace(protocol, networks=grid.networks)
    choices = [
        replace(few, optimiser=optimiser, step_size=size, epochs=count)
        for optimiser, count, size in itertools.product(grid.optimisers, sorted(grid.epochs), sorted(grid.step_sizes))
    ]
    best = max(choices, key=lambda one: score(distilled, data, one, split="validation", images=grid.images).mean)
    return replace(best, networks=protocol.networks)
