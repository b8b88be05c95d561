"""Distribution matching (Zhao and Bilen 2021, arXiv 2110.04181): examples with the mean features of real images."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from .. import distributed
from ..errors import at_least
from ..networks import Network
from ..parts import enlarged
from ..program import alike
from ..rng import generator
from .base import State, Task, Update
from .class_matching import ClassMatching


@dataclass(frozen=True, kw_only=True)
class DistributionMatching(ClassMatching):
    """Learn examples whose features in new random networks have the class means of the features of real images.

    Real and synthetic images are changed by one draw of the siamese augmentation; rows and sentences are not. No
    network is trained, and labels are hard. Deviations: fewer real images of each class by default (the paper: 256),
    one draw of the augmentation for all classes of an iteration (the authors' code: one for each class), and an outer
    rate that falls along a cosine, unless the loop says otherwise (theirs: constant).
    """

    name: ClassVar[str] = "distribution-matching"
    known_as: ClassVar[Sequence[str]] = ("DM",)

    networks: int = 1
    """Random networks in an outer iteration."""
    compare: Literal["means", "characteristic-functions"] = "means"
    """What is compared, for each class:
    - means: the mean features.
    - characteristic-functions: the characteristic functions of the features at random frequencies, which tell all
      moments of their distribution (after arXiv 2502.20653, but with the mean squared distance without its root, new
      random networks only, no network that chooses frequencies, and no term for the classes)."""
    frequencies: int = 1024
    """With characteristic-functions: random frequencies for each network."""
    examples_rate: float = 1.0
    """Outer learning rate of the examples, of gradient descent (the paper: 1). 10 is faster (docs/LOG.md)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("networks", "frequencies"):
            at_least(name, getattr(self, name), 1)

    @property
    def without_effect(self) -> Mapping[str, str]:
        """The number of frequencies, if means are compared."""
        return {"frequencies": "means are compared"} if self.compare == "means" else {}

    def check(self, task: Task) -> None:
        """Raise a `UserError` if the images or the network do not fit the settings."""
        super().check(task)
        task.features()

    def step(self, task: Task, state: State, iteration: int) -> Update:
        """Return the gradient of the squared distance for each network that this process computes."""
        mine = distributed.rank_slice(self.networks)
        thetas = task.draws(task.seed, iteration, mine).to(task.data.like)
        found = [
            self._matched(task, state.learned["examples"], t, (iteration, i)) for t, i in zip(thetas, mine, strict=True)
        ]
        objectives, gradients = zip(*found, strict=True)
        return Update(objective=sum(objectives) / len(objectives), gradients={"examples": torch.stack(gradients)})

    def _matched(
        self, task: Task, examples: Tensor, theta: Tensor, index: tuple[int, int]
    ) -> tuple[float, Float[Tensor, "n *shape"]]:
        """Return the squared distance in one network, and its gradient with respect to the examples."""
        data, seed, count = task.data, task.seed, task.data.classes
        chosen = data.by_class(self.real_per_class, generator(seed, "real batch", *index)).flatten()
        changed = alike(data.shape, generator(seed, "augmentation", *index), mirror=self.mirror)
        embedded = self._embedding(task.features(), theta, generator(seed, "frequencies", *index))
        with torch.no_grad():
            images = changed(data.normalise(data.train.images[chosen]))
            real = class_means(embedded(images), data.train.labels[chosen], count)
        examples = examples.clone().requires_grad_()
        synthetic = class_means(embedded(changed(enlarged(examples, self.factor))), self.classes(task), count)
        distance = squared_distance(real, synthetic)
        (gradient,) = torch.autograd.grad(distance, examples)
        return float(distance.detach()), gradient

    def _embedding(self, features: Network, theta: Tensor, draw: torch.Generator) -> Callable[[Tensor], Tensor]:
        """Return what is averaged: the features of images, or waves of them at random frequencies."""
        if self.compare == "means":
            return partial(features.in_pieces, theta)
        normal = torch.randn(features.classes, self.frequencies, generator=draw).to(theta)
        return lambda images: waves(features.in_pieces(theta, images), normal)


def class_means(
    values: Float[Tensor, "n size"], labels: Int64[Tensor, " n"], classes: int
) -> Float[Tensor, "classes size"]:
    """Return the mean value of the examples of each class; 0 for a class without examples."""
    members = one_hot(labels, classes).to(values)
    return (members / members.sum(0).clamp(min=1)).T @ values


def waves(features: Float[Tensor, "n size"], frequencies: Float[Tensor, "size waves"]) -> Float[Tensor, "n two_waves"]:
    """Return the cosine and sine of the products of features, scaled to norm 1, and frequencies.

    Their mean over examples is the empirical characteristic function of the features, E exp(i <t, f>), at each
    frequency t (Wang et al. 2025, arXiv 2502.20653, eq. 3). The scale makes squared distances a mean over frequencies.
    """
    phase = normalize(features) @ frequencies
    return torch.cat([phase.cos(), phase.sin()], 1) / frequencies.shape[1] ** 0.5


def squared_distance(
    real: Float[Tensor, "classes size"], synthetic: Float[Tensor, "classes size"]
) -> Float[Tensor, ""]:
    """Return the sum over the classes of the squared distance of their means (2110.04181, eq. 4)."""
    return (real - synthetic).square().sum()
