"""Choose step size, epochs and optimiser from a grid, on validation images, for a set without learned step sizes."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..artifact import DistilledSet
from ..data import RealData
from ..errors import UserError
from ..program import OptimiserName, known_name
from . import neighbours
from .protocol import Protocol
from .score import score

CHOSEN = ("step_size", "epochs", "optimiser")
"""The settings of a protocol that a grid chooses."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The values to try; the defaults are those of Wang et al. 2018, section 4.1."""

    step_sizes: Sequence[float] = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
    epochs: Sequence[int] = (1, 3, 5)
    optimisers: Sequence[OptimiserName] = ("sgd",)
    networks: int = 4
    """How many networks measure each combination."""
    images: int = 500
    """How many validation images each combination is measured on."""

    def matching(self, distilled: DistilledSet) -> "Grid":
        """The grid, extended by the epochs and the optimiser of a set, so that the comparison with this set is fair."""
        return self.including(distilled.program.order.epochs, known_name(distilled.program.optimiser))

    def including(self, epochs: int, optimiser: Any) -> "Grid":
        """The grid, extended by a number of epochs and an optimiser unless it already has them."""
        optimisers = dict.fromkeys((*self.optimisers, *filter(None, [optimiser])))
        return replace(self, epochs=sorted({*self.epochs, epochs}), optimisers=list(optimisers))


def tuned(distilled: DistilledSet, data: RealData, protocol: Protocol, grid: Grid | None = None) -> Protocol:
    """The protocol with the combination of the grid that has the best validation accuracy; the test split is not read.

    Among equal accuracies the first optimiser wins, then fewer epochs, then the smaller step size.

    Raises:
        UserError: the protocol has a value for what the grid chooses, or trains no network.
    """
    _must_leave_open(protocol)
    grid = grid or Grid()
    few = replace(protocol, networks=grid.networks)
    choices = [
        replace(few, optimiser=optimiser, step_size=size, epochs=count)
        for optimiser, count, size in itertools.product(grid.optimisers, sorted(grid.epochs), sorted(grid.step_sizes))
    ]

    def accuracy(one: Protocol) -> float:
        return score(distilled, data, one, split="validation", images=grid.images, measures=()).mean

    best = max(choices, key=accuracy)
    return replace(best, networks=protocol.networks)


def _must_leave_open(protocol: Protocol) -> None:
    neighbours.must_train(protocol, "step size to tune")
    if protocol.program not in ("", "own"):
        raise UserError(
            f"program is {protocol.program}, but tuning chooses the step size and the epochs of a set's own program; "
            "leave program out, or do not tune"
        )
    for name in CHOSEN:
        if value := getattr(protocol, name):
            raise UserError(
                f"{name} is {value}, but has no effect: tuning chooses it; leave {name} out, or do not tune"
            )
