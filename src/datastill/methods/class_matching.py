"""What methods share that match the real images of each class, and move the examples by gradient descent."""

import abc
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..data import RealData
from ..errors import at_least
from .base import OuterRate, State, Task, Update
from .in_class_order import InClassOrder


@dataclass(frozen=True, kw_only=True)
class ClassMatching(InClassOrder, abc.ABC):
    """Learn examples that do, class by class, what real images do in a network."""

    real_per_class: int = 64
    """Real images of each class in an outer iteration (the papers: 256), or those of the smallest class if it has
    fewer."""
    examples_rate: float = 1.0
    """Outer learning rate of the examples, of gradient descent."""
    momentum: float = 0.5
    """Momentum of gradient descent on the examples, in [0, 1)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("real_per_class", self.real_per_class, 1)
        at_least("examples_rate", self.examples_rate, 0)

    def fitted(self, data: RealData) -> "ClassMatching":
        """Return the settings with no more real images per class than the smallest class has."""
        return replace(self, real_per_class=min(self.real_per_class, data.smallest_class))

    def rates(self) -> Mapping[str, OuterRate]:
        """Return the outer learning rate of the examples."""
        return {"examples": OuterRate(rate=self.examples_rate, rule="sgd", momentum=self.momentum)}

    @abc.abstractmethod
    def step(self, task: Task, state: State, iteration: int) -> Update:
        """Return the gradient of the distance of real and synthetic images."""
