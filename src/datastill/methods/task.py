"""What every method is given: real data, a network, initial weights and a purpose."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from jaxtyping import Float
from torch import Tensor

from ..data import RealData
from ..data.duplicates import must_differ
from ..errors import UserError
from ..networks import Network
from ..networks.head import features_of
from ..networks.start import Draws
from ..objectives import Classification, Objective
from ..rng import generator
from ..synthetic import StartFrom, SyntheticData, start_examples

Made = TypeVar("Made")
"""What is made only once for a task."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """The data, network, initial weights and purpose that every method is given."""

    data: RealData
    """The real data, in the type `Method.dtype`."""
    network: Network
    draws: Draws
    """Initial weights: ``draws(seed, iteration, which)`` returns those of each network in `which`, on the CPU."""
    seed: int
    objective: Objective = field(default_factory=Classification)
    """What networks are to answer: ``objective.wanted(labels)`` for real data with these labels."""
    warm_start: SyntheticData | None = None
    """Synthetic data (normalised by the mean and sd of `data`) to start from; None: start afresh."""
    _made: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        self.network.must_see_images()
        must_differ(self.data.name, self.data.train, self.data.space.noun)

    def once(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """Return what `make` returned when this task was first asked for `key`, e.g. compiled steps.

        It must follow from the task and from `key`, because it is not saved: it is made again when a run is resumed.
        """
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def first_examples(
        self, *, ipc: int, start: StartFrom, factor: int = 1, steps: int = 1
    ) -> Float[Tensor, "steps b *part"]:
        """Return the examples to start learning from, as `start_examples` draws them from the seed of the task."""
        draw = generator(self.seed, "start of the examples")
        return start_examples(self.data, ipc=ipc, steps=steps, start=start, generator=draw, factor=factor)

    def must_have_classes(self, names: Sequence[str], whose: str, what: str) -> None:
        """Raise a `UserError` unless networks were trained on the classes of the data, in their order.

        Args:
            names: the classes that they were trained on.
            whose: who was trained, and the verb, e.g. ``the teacher pool.safetensors was``.
            what: what to give instead, e.g. ``a teacher``.
        """
        if tuple(names) != self.data.class_names:
            raise UserError(
                f"{whose} trained on the classes {', '.join(names[:10])}, but the data has "
                f"{', '.join(self.data.class_names[:10])}; give {what} of these classes, in this order"
            )

    def features(self) -> Network:
        """Return the network without its last linear layer, from images to features.

        Raises:
            UserError: the network does not end in a trained linear layer.
        """
        return self.once("features", lambda: features_of(self.network))
