"""Random real images."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from ...rng import generator
from ..base import Task
from .base import Sized


@dataclass(frozen=True, kw_only=True)
class RandomReal(Sized):
    """Random real images of each class."""

    name: ClassVar[str] = "random"

    def images(self, task: Task) -> Float[Tensor, "classes each *shape"]:
        """Return images drawn from the train split; no image is drawn twice."""
        data = task.data
        index = data.by_class(self.chosen_per_class, generator(task.seed, "random real set"))
        return data.normalise(data.train.images[index.flatten()]).unflatten(0, index.shape)
