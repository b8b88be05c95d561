"""Who answers for real images after a set was used: networks that are trained on it, or its nearest examples."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from ..artifact import DistilledSet
from ..data import Split
from ..errors import UserError, at_least, unknown
from ..networks import build, parse

BATCH = 1000
"""Real images at a time: their distances to all examples are in memory."""


@dataclass(frozen=True, kw_only=True)
class Networks:
    """Networks of one architecture, which are trained on the set."""

    trains: ClassVar[bool] = True
    architecture: str

    def check(self, distilled: DistilledSet) -> None:
        """Raise a `UserError` unless the network exists and takes the examples."""
        build(self.architecture, shape=distilled.shape, classes=distilled.classes)


@dataclass(frozen=True, kw_only=True)
class NearestNeighbours:
    """The k nearest examples of the set, by the p-norm of the difference of two images with p = norm, at least 1."""

    name: ClassVar[str] = "nearest-neighbours"
    trains: ClassVar[bool] = False
    k: int = 1
    norm: float = 2.0

    def __post_init__(self) -> None:
        at_least("norm", self.norm, 1)
        at_least("k", self.k, 1)

    @classmethod
    def of(cls, arguments: dict[str, Any]) -> "NearestNeighbours":
        """Return the record with these arguments, as `parse` reads them."""
        for name in arguments:
            if name not in ("k", "norm"):
                raise unknown("argument", name, ("k", "norm"), f"of {cls.name}")
        k, norm = arguments.get("k", cls.k), arguments.get("norm", cls.norm)
        if not isinstance(k, int) or isinstance(k, bool) or not isinstance(norm, int | float):
            raise UserError(f"{cls.name} takes whole numbers as k and numbers as norm, not k={k}, norm={norm}")
        return cls(k=k, norm=float(norm))

    def check(self, distilled: DistilledSet) -> None:
        """Raise a `UserError` if the set has fewer than k examples."""
        if self.k > distilled.size:
            raise UserError(f"k is {self.k}, but the set has {distilled.size} examples; take k up to {distilled.size}")

    def answers(self, distilled: DistilledSet, real: Split) -> Int64[Tensor, " n"]:
        """Return the classes that scikit-learn's classifier answers for real images, which are normalised as examples.

        Args:
            distilled: the examples and their labels; a soft label counts as its most probable class.
            real: the split to classify.

        Raises:
            UserError: the set has fewer than k examples.
        """
        from sklearn.neighbors import KNeighborsClassifier  # two seconds to import

        self.check(distilled)
        classifier = KNeighborsClassifier(n_neighbors=self.k, p=self.norm, algorithm="brute")
        classifier.fit(distilled.inputs.float().flatten(1), distilled.class_of_each)
        pieces = real.images.cpu().split(BATCH)
        parts = [classifier.predict(distilled.normalise(images).flatten(1)) for images in pieces]
        return torch.from_numpy(np.concatenate(parts)).to(real.labels)


Answerer = Networks | NearestNeighbours


def answerer(network: str) -> Answerer:
    """Return who answers where a protocol has this ``network``: an architecture, or ``nearest-neighbours(k=1,norm=2)``.

    Nothing is imported or opened.

    Raises:
        UserError: an argument of nearest neighbours is unknown or out of range.
    """
    name, arguments = parse(network)
    return NearestNeighbours.of(arguments) if name == NearestNeighbours.name else Networks(architecture=network)
