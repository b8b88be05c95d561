"""The losses of a gradient step: records that return the loss of each example from logits and targets."""

import abc
from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax, one_hot

from ..errors import UserError, at_least
from ..storage.records import must_have_types, number

SHARPNESS = 8.0
"""How certain the probabilities are that stand for targets of the squared error (docs/LOG.md): with ten classes, those
of a hard target give 0.997 to its class."""


class Loss(abc.ABC):
    """The loss of single examples. Subclasses are frozen dataclasses of settings."""

    @abc.abstractmethod
    def __call__(
        self, logits: Float[Tensor, "b classes"], targets: Shaped[Tensor, "b *classes"]
    ) -> Float[Tensor, " b"]:
        """Return the loss of each example.

        Args:
            logits: outputs of a network.
            targets: integer classes (b,), hard; or one number per class (b, classes), soft.
        """

    @property
    @abc.abstractmethod
    def words(self) -> str:
        """The loss in words."""

    def targets_of(self, logits: Float[Tensor, "b classes"]) -> Float[Tensor, "b classes"]:
        """Return the soft targets that the logits of a teacher stand for."""
        return logits

    def means(
        self, logits: Float[Tensor, "networks b classes"], targets: Shaped[Tensor, "networks b *classes"]
    ) -> Float[Tensor, " networks"]:
        """Return the mean loss of each network over its batch."""
        each = self(logits.flatten(0, 1), targets.flatten(0, 1))
        return each.view(logits.shape[:2]).mean(1)


@dataclass(frozen=True, kw_only=True)
class CrossEntropy(Loss):
    """-log p_y for a hard target y, and -sum_c y_c log p_c for a soft target, with p = softmax(logits)."""

    def __call__(
        self, logits: Float[Tensor, "b classes"], targets: Shaped[Tensor, "b *classes"]
    ) -> Float[Tensor, " b"]:
        """Return the cross-entropy of each example."""
        return cross_entropy(logits, targets, reduction="none")

    def targets_of(self, logits: Float[Tensor, "b classes"]) -> Float[Tensor, "b classes"]:
        """Return the probabilities of a teacher."""
        return logits.softmax(1)

    @property
    def words(self) -> str:
        """The loss in words."""
        return "cross-entropy"


@dataclass(frozen=True, kw_only=True)
class Divergence(Loss):
    """T^2 KL(softmax(targets / T) || softmax(logits / T)): targets are the logits of a teacher (Hinton et al. 2015).

    The factor T^2 makes the size of the gradient independent of T, to first order. With probabilities as labels, give
    their logarithms as targets.
    """

    temperature: Annotated[float, number(1e-6, 1e6)] = 1.0
    """T: a high temperature makes all classes count."""

    def __post_init__(self) -> None:
        must_have_types(self)

    def __call__(
        self, logits: Float[Tensor, "b classes"], targets: Shaped[Tensor, "b *classes"]
    ) -> Float[Tensor, " b"]:
        """Return the divergence of each example.

        Raises:
            UserError: the targets are hard.
        """
        if targets.shape != logits.shape:
            raise UserError("the divergence needs the logits of a teacher as targets; take cross-entropy for classes")
        teacher, ours = (log_softmax(each / self.temperature, 1) for each in (targets, logits))
        return self.temperature**2 * kl_div(ours, teacher, reduction="none", log_target=True).sum(1)

    @property
    def words(self) -> str:
        """The loss in words."""
        return f"divergence from a teacher at temperature {self.temperature:g}"


@dataclass(frozen=True, kw_only=True)
class SquaredError(Loss):
    """Half the squared distance of logits and targets, 1/2 sum_c (logit_c - y_c)^2 (Nguyen et al. 2021, 2011.00050).

    A hard target becomes `scale` times its centred vector: 1 - 1 / C for its class and -1 / C for all others, with C
    classes. Soft targets are taken as they are; learned ones are centred already, and as large as they should be.
    """

    scale: Annotated[float, number(1e-6, 1e6)] = 1.0
    """How large hard targets are: networks learn large targets in fewer steps (docs/LOG.md)."""

    def __post_init__(self) -> None:
        must_have_types(self)

    def __call__(
        self, logits: Float[Tensor, "b classes"], targets: Shaped[Tensor, "b *classes"]
    ) -> Float[Tensor, " b"]:
        """Return the squared error of each example."""
        scale = 1.0 if targets.is_floating_point() else self.scale
        return (logits - scale * centred(targets, logits.shape[1]).to(logits)).square().sum(1) / 2

    def probabilities(self, targets: Float[Tensor, "n classes"]) -> Float[Tensor, "n classes"]:
        """Return the probabilities that stand for soft targets where the loss is cross-entropy."""
        return (SHARPNESS / self.scale * targets.double()).softmax(1).to(targets)

    @property
    def words(self) -> str:
        """The loss in words."""
        return "squared error"


def centred(targets: Shaped[Tensor, "b *classes"], classes: int) -> Float[Tensor, "b classes"]:
    """Return hard targets as vectors that sum to 0: one-hot minus 1 / classes; soft targets are returned unchanged."""
    at_least("classes", classes, 1)
    return targets if targets.is_floating_point() else one_hot(targets, classes).to(torch.float64) - 1 / classes
