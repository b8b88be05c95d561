"""Choose step size, epochs and optimiser from a grid, on validation images, for a set without learned step sizes."""

import itertools
from dataclasses import dataclass, replace
from typing import Any

from ..artifact import DistilledSet
from ..data import RealData
from ..errors import UserError, at_least, at_most
from ..program import OptimiserName, Program, known_name
from ..runlog import ProgressLine
from ..storage.records import LARGEST_VALUE, must_have_types
from .matching import matched
from .protocol import MOST_EPOCHS, Protocol
from .score import score

CHOSEN = ("step_size", "epochs", "optimiser")
"""The settings of a protocol that a grid chooses."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The values to try; the defaults are those of Wang et al. 2018, section 4.1."""

    step_sizes: tuple[float, ...] = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
    """Step sizes to choose from, one for all gradient steps. Empty: those of the program."""
    epochs: tuple[int, ...] = (1, 3, 5)
    """Numbers of epochs to choose from. Empty: that of the program."""
    optimisers: tuple[OptimiserName, ...] = ("sgd",)
    """Optimisers to choose from. Empty: that of the program."""
    networks: int = 4
    """How many networks measure each combination."""
    images: int = 500
    """How many validation images, at most, each combination is measured on."""

    def __post_init__(self) -> None:
        must_have_types(self)
        for name in ("networks", "images"):
            at_least(name, getattr(self, name), 1)
        for size in self.step_sizes:
            if size <= 0:
                raise UserError(f"step_sizes has {size:g}, but each must be above 0; leave it out")
            at_most("one of step_sizes", size, LARGEST_VALUE)
        for count in self.epochs:
            at_least("one of epochs", count, 1)
            at_most("one of epochs", count, MOST_EPOCHS)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to choose from."""
        return not (self.step_sizes or self.epochs or self.optimisers)

    def filled(self) -> "Grid":
        """Return the grid with the usual values where it has none."""
        usual = {name: values for name in LISTS if not getattr(self, name) and (values := getattr(Grid(), name))}
        return replace(self, **usual)

    def including(self, epochs: int, optimiser: Any) -> "Grid":
        """Return the grid, extended by a number of epochs and an optimiser unless it already has them."""
        optimisers = dict.fromkeys((*self.optimisers, *filter(None, [optimiser])))
        return replace(self, epochs=tuple(sorted({*self.epochs, epochs})), optimisers=tuple(optimisers))

    def matching(self, distilled: DistilledSet) -> "Grid":
        """Return the grid, extended by the epochs and the optimiser of a set, so that comparing with it is fair."""
        return self.including(distilled.program.order.epochs, known_name(distilled.program.optimiser))

    def protocols(self, base: Protocol) -> list[Protocol]:
        """Return a protocol for each combination: fewer epochs first, and among equally many the smaller step size."""
        few = replace(base, networks=self.networks)
        combinations = itertools.product(
            self.optimisers or ("",), sorted(self.epochs) or (0,), sorted(self.step_sizes) or (0.0,)
        )
        return [
            replace(few, optimiser=rule, epochs=count, step_size=size)  # type: ignore[arg-type]
            for rule, count, size in combinations
        ]


LISTS = ("step_sizes", "epochs", "optimisers")
"""The settings of a grid that are lists of values to choose from."""
NOTHING = Grid(step_sizes=(), epochs=(), optimisers=())
"""The grid that chooses nothing."""


def tuned(
    distilled: DistilledSet, data: RealData, protocol: Protocol, grid: Grid | None = None, *, progress: bool = False
) -> Protocol:
    """The protocol with the combination of the grid that has the best validation accuracy; the test split is not read.

    The accuracy counts the answers that the objective of the set asks for, e.g. those of an attack. Among equal
    accuracies the first optimiser wins, then fewer epochs, then the smaller step size. A grid of a single combination
    measures nothing. With `progress`, progress is shown on the terminal.

    Raises:
        UserError: the protocol has a value for what the grid chooses, or trains no network.
    """
    must_leave_open(protocol)
    grid, objective = grid or Grid(), distilled.header.objective
    data = matched(distilled, data).relabelled(objective.wanted, objective.counts)

    combinations = grid.protocols(protocol)
    if len(combinations) == 1:
        return replace(combinations[0], networks=protocol.networks)
    means: list[float] = []
    with ProgressLine("tune", total=len(combinations), unit="combination", quiet=not progress) as line:
        for one in combinations:
            means.append(score(distilled, data, one, split="validation", images=grid.images, measures=()).mean)
            line.update(len(means), f"best {max(means):.2%}")
    return replace(combinations[means.index(max(means))], networks=protocol.networks)


def chosen_program(distilled: DistilledSet, data: RealData, protocol: Protocol, grid: Grid) -> Program:
    """Return the program of a set with the combination of the grid that `tuned` chooses; nothing else is changed."""
    found = tuned(distilled, data, protocol, grid, progress=True)
    return Protocol(**{name: getattr(found, name) for name in CHOSEN}).program_of(distilled)


def must_leave_open(protocol: Protocol) -> None:
    """Raise a `UserError` if a protocol has a value for what a grid chooses, or trains no network."""
    protocol.must_train("step size to tune")
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
