"""The order of a program: an iterator of gradient steps over a number of examples, each with its step size."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ..errors import UserError, at_least, counted
from ..modes import trainable
from ..rng import derive, generator
from ..storage.records import LARGEST_VALUE, must_have_types, number, one_of, whole

SCHEDULES = {
    "constant": "constant",
    "cosine": "falling to 0 along half a cosine",
    "drop": "in the second half of the epochs a tenth of it",
}
"""How step sizes fall, by name, in words."""
MOST_STEPS = 1_000_000
"""The largest number of gradient steps of a program."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """One gradient step: on which examples, how far, and with which draw of the augmentation."""

    which: slice | Int64[Tensor, " b"]
    """The places of its examples in the inputs; a slice if they lie in a row, so that they need not be copied."""
    size: Float[Tensor, ""]
    """The step size (inner learning rate)."""
    epoch: int
    """The epoch that it belongs to, counted from 0."""
    seed: int
    """The seed of the draw of its augmentation; each step of a program has another one."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Ordered:
    """S ordered steps, repeated for E epochs (Wang et al. 2018): step s always trains on the s-th batch of examples.

    The batches lie one after the other in the inputs, and have equal sizes. Each step of each epoch has its own step
    size, and step sizes may be learned.
    """

    step_sizes: Float[Tensor, "epochs steps"]

    @property
    def epochs(self) -> int:
        """E, the number of passes over the steps."""
        return len(self.step_sizes)

    @property
    def words(self) -> str:
        """The order in words."""
        epochs, steps = self.step_sizes.shape
        return f"{counted(epochs, 'epoch')} of {counted(steps, 'ordered step')}, each with its own step size"

    def length(self, count: int) -> int:
        """Return the number of gradient steps on `count` examples.

        Raises:
            UserError: the steps cannot share the examples evenly.
        """
        steps = self.step_sizes.shape[1]
        if not count or count % steps:
            raise UserError(f"{steps} ordered steps cannot share {count} examples evenly; take another program")
        return self.step_sizes.numel()

    def steps(self, count: int, seed: int = 0) -> Iterator[Step]:
        """Yield every gradient step on `count` examples, in order; `seed` changes only the draws of augmentation."""
        total, sizes = self.length(count), self.step_sizes.flatten()
        steps = self.step_sizes.shape[1]
        batch = count // steps
        for t in range(total):
            epoch, place = divmod(t, steps)
            which = slice(place * batch, (place + 1) * batch)
            yield Step(which=which, size=sizes[t], epoch=epoch, seed=derive(seed, "augmentation", t))

    def sizes(self, count: int) -> Float[Tensor, "epochs steps"]:  # noqa: ARG002
        """Return the step size of each gradient step."""
        return self.step_sizes

    def with_epochs(self, epochs: int) -> "Ordered":
        """Return the order with this number of epochs; any further epoch repeats the step sizes of the last one."""
        at_least("epochs", epochs, 1)
        return replace(self, step_sizes=self.step_sizes[torch.arange(epochs).clamp(max=self.epochs - 1)])

    def with_step_size(self, size: float) -> "Ordered":
        """Return the order with one step size for all gradient steps."""
        return replace(self, step_sizes=torch.full_like(self.step_sizes, size))

    def to(self, like: Tensor) -> "Ordered":
        """Return the order with step sizes on the device and of the type of a tensor, without gradients."""
        return replace(self, step_sizes=trainable(self.step_sizes.detach()).to(like))


@dataclass(frozen=True, kw_only=True)
class Shuffled:
    """Batches of a new random permutation of all examples in each epoch, as most methods since 2020 are used."""

    epochs: Annotated[int, whole(1, MOST_STEPS)] = 300
    """Passes over all examples."""
    batch: Annotated[int, whole(1, 10**9)] = 256
    """Examples of a step; the last step of an epoch takes the rest."""
    step_size: Annotated[float, number(0, LARGEST_VALUE)] = 0.01
    """The first step size."""
    schedule: Annotated[str, one_of(*SCHEDULES)] = "drop"
    """How step sizes fall: constant, cosine (along half a cosine towards 0), drop (a tenth from half of the epochs)."""

    def __post_init__(self) -> None:
        must_have_types(self)

    @property
    def words(self) -> str:
        """The order in words."""
        return (
            f"{counted(self.epochs, 'epoch')} of shuffled batches of {self.batch}, step size {self.step_size:g} "
            f"({SCHEDULES[self.schedule]})"
        )

    def length(self, count: int) -> int:
        """Return the number of gradient steps on `count` examples.

        Raises:
            UserError: there are no examples, or there would be more than `MOST_STEPS` steps.
        """
        at_least("the number of examples", count, 1)
        length = self.epochs * -(-count // self.batch)
        if length > MOST_STEPS:
            raise UserError(
                f"{self.epochs} epochs of {count} examples in batches of {self.batch} are {length} gradient steps, "
                f"but at most {MOST_STEPS} are allowed; take fewer epochs"
            )
        return length

    def steps(self, count: int, seed: int = 0) -> Iterator[Step]:
        """Yield every gradient step on `count` examples; `seed` changes the permutations and draws of augmentation."""
        t, length = 0, self.length(count)
        for epoch in range(self.epochs):
            places = torch.randperm(count, generator=generator(seed, "order of the examples", epoch))
            for which in places.split(self.batch):
                size = torch.tensor(self.step_size * self._factor(t, epoch, length), dtype=torch.float64)
                yield Step(which=which, size=size, epoch=epoch, seed=derive(seed, "augmentation", t))
                t += 1

    def sizes(self, count: int) -> Float[Tensor, "epochs steps"]:
        """Return the step size of each gradient step on `count` examples.

        Raises:
            UserError: there are no examples, or there would be more than `MOST_STEPS` steps.
        """
        length = self.length(count)
        steps = length // self.epochs
        sizes = [self.step_size * self._factor(t, t // steps, length) for t in range(length)]
        return torch.tensor(sizes, dtype=torch.float64).view(self.epochs, steps)

    def _factor(self, t: int, epoch: int, length: int) -> float:
        if self.schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * t / length))
        return 0.1 if self.schedule == "drop" and 2 * epoch >= self.epochs else 1.0

    def with_epochs(self, epochs: int) -> "Shuffled":
        """Return the order with this number of epochs."""
        return replace(self, epochs=epochs)

    def with_step_size(self, size: float) -> "Shuffled":
        """Return the order with another first step size."""
        return replace(self, step_size=size)

    def to(self, like: Tensor) -> "Shuffled":  # noqa: ARG002
        """Return the order itself: its step sizes are numbers, which every device takes."""
        return self
