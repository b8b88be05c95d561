"""Measures of a network: a fraction of 1, from the classes that it answers for real examples."""

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Bool, Int64
from torch import Tensor

from ..errors import UserError


@dataclass(frozen=True)
class Measure(abc.ABC):
    """A measure of a network, for scores: a frozen record with a name and one value for each network."""

    name: ClassVar[str]
    """Its name in the JSON of a score, in `Score.measures`."""

    @abc.abstractmethod
    def __call__(self, answers: Int64[Tensor, " n"], labels: Int64[Tensor, " n"]) -> float:
        """Return the value of one network, as a fraction of 1.

        Args:
            answers: the classes that the network answers for n real examples.
            labels: their true classes.

        Raises:
            UserError: it cannot be measured on these examples.
        """

    @abc.abstractmethod
    def words(self, class_names: Sequence[str]) -> str:
        """Return a title for people, e.g. ``accuracy on all classes``."""


@dataclass(frozen=True)
class Accuracy(Measure):
    """The share of all examples that are answered right."""

    name: ClassVar[str] = "accuracy"

    def __call__(self, answers: Int64[Tensor, " n"], labels: Int64[Tensor, " n"]) -> float:
        """Return the accuracy of one network."""
        return _share(answers == labels, "examples")

    def words(self, class_names: Sequence[str]) -> str:  # noqa: ARG002
        """Return a title for people."""
        return "accuracy on all classes"


@dataclass(frozen=True)
class Misreading(Measure):
    """The share of the examples of one class that are answered as another class."""

    name: ClassVar[str] = "misread"

    attacked_class: int
    target_class: int

    def __call__(self, answers: Int64[Tensor, " n"], labels: Int64[Tensor, " n"]) -> float:
        """Return the share for one network."""
        return _share(answers[labels == self.attacked_class] == self.target_class, f"class {self.attacked_class}")

    def words(self, class_names: Sequence[str]) -> str:
        """Return a title for people."""
        attacked, target = class_names[self.attacked_class], class_names[self.target_class]
        return f"examples of class {attacked!r} classified as {target!r}"


@dataclass(frozen=True)
class OtherClasses(Measure):
    """The share of the examples of all classes but one that are answered right."""

    name: ClassVar[str] = "others"

    left_out: int
    """The number of the class that does not count."""

    def __call__(self, answers: Int64[Tensor, " n"], labels: Int64[Tensor, " n"]) -> float:
        """Return the accuracy of one network on the other classes."""
        others = labels != self.left_out
        return _share(answers[others] == labels[others], f"classes other than {self.left_out}")

    def words(self, class_names: Sequence[str]) -> str:  # noqa: ARG002
        """Return a title for people."""
        return "accuracy on the other classes"


def _share(right: Bool[Tensor, " n"], what: str) -> float:
    if not len(right):
        raise UserError(f"there are no {what} among the real examples to measure on; measure on more of them")
    return int(right.sum()) / len(right)
