"""Random real images."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from ..rng import generator
from .base import Baseline, Setting


@dataclass(frozen=True, kw_only=True)
class RandomReal(Baseline):
    """Random real images of each class."""

    name: ClassVar[str] = "random"

    def images(self, setting: Setting) -> Float[Tensor, "classes each *shape"]:
        """Images drawn from the train split; no image is drawn twice."""
        data = setting.data
        index = data.by_class(setting.ipc, generator(setting.seed, "random real set"))
        return data.normalise(data.train.images[index.flatten()]).unflatten(0, index.shape)
