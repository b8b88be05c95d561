"""Core-sets: real images chosen so that they represent their class in a feature space."""

import abc
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ...rng import generator
from ..base import Task
from .base import Sized
from .features import PIXELS, features, must_give_features


@dataclass(frozen=True, kw_only=True)
class CoreSet(Sized, abc.ABC):
    """Real images of each class, chosen one after another by their features."""

    features: str = PIXELS
    """The features by which images are compared: pixels, or the name of a network, e.g. lenet, which is first trained
    on the data."""

    def check(self, task: Task) -> None:
        """Raise a `UserError` if a class has too few images, or a network cannot give the features."""
        super().check(task)
        must_give_features(self.features, task.data)

    def images(self, task: Task) -> Float[Tensor, "classes each *shape"]:
        """Return the images of each class that `chosen` picks."""
        data, space = task.data, features(task.data, self.features, task.seed)
        picked = []
        for label in range(data.classes):
            members = (data.train.labels == label).nonzero()[:, 0]
            draw = generator(task.seed, "core-set", label)
            picked.append(members[self.chosen(space[members], self.chosen_per_class, draw)])
        return data.normalise(data.train.images[torch.cat(picked)]).unflatten(0, (data.classes, -1))

    @abc.abstractmethod
    def chosen(self, space: Float[Tensor, "n features"], count: int, draw: torch.Generator) -> Int64[Tensor, " count"]:
        """Return the indices of the chosen images, in the order of choice; none is chosen twice."""


@dataclass(frozen=True, kw_only=True)
class KCenter(CoreSet):
    """k-center greedy (Sener & Savarese 2018, algorithm 1): each next image is the farthest from all chosen before.

    Deviation: each class is treated separately and begins with a random image, so that all classes have equally many.
    """

    name: ClassVar[str] = "k-center"

    def chosen(self, space: Float[Tensor, "n features"], count: int, draw: torch.Generator) -> Int64[Tensor, " count"]:
        """Choose the image whose distance to the nearest chosen image is largest, again and again."""
        index = [int(torch.randint(len(space), (), generator=draw))]
        nearest = torch.full((len(space),), torch.inf, device=space.device)
        while len(index) < count:
            nearest = nearest.minimum((space - space[index[-1]]).norm(dim=1))
            nearest[index[-1]] = -1.0  # chosen: never again, not even among equal images
            index.append(int(nearest.argmax()))
        return torch.tensor(index, device=space.device)


@dataclass(frozen=True, kw_only=True)
class Herding(CoreSet):
    """Herding (Welling 2009): each next image moves the mean of the chosen images closest to the mean of the class."""

    name: ClassVar[str] = "herding"

    @property
    def varies(self) -> bool:
        """True only for features of a network, which depend on the seed that it is trained with."""
        return self.features != PIXELS

    def chosen(self, space: Float[Tensor, "n features"], count: int, draw: torch.Generator) -> Int64[Tensor, " count"]:  # noqa: ARG002
        """Choose the image that makes the distance of the two means smallest, again and again."""
        mean, total = space.mean(0), torch.zeros_like(space[0])
        free, index = torch.ones(len(space), dtype=torch.bool, device=space.device), []
        for done in range(count):
            distances = ((total + space) / (done + 1) - mean).norm(dim=1)
            index.append(int(distances.where(free, torch.inf).argmin()))
            free[index[-1]] = False
            total = total + space[index[-1]]
        return torch.tensor(index, device=space.device)
