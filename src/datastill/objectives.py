"""Objectives: differentiable measures of trained weights on real data."""

from dataclasses import dataclass

from jaxtyping import Float, Int64
from torch import Tensor

from .data import read_as
from .errors import UserError
from .networks import Network
from .program import CrossEntropy
from .training import RealLoss


@dataclass(frozen=True, kw_only=True)
class Attack:
    """The two classes of an attack: networks learn to answer class T for images of class K (Wang et al. 2018, 3.5)."""

    attack_class: int
    """K, the number of the class that networks misread."""
    target_class: int
    """T, the number of the class that networks answer for images of class K."""

    def check(self, class_names: tuple[str, ...]) -> None:
        """Raise a `UserError` unless both numbers are classes of the data, and differ."""
        for what, label in (("attack_class", self.attack_class), ("target_class", self.target_class)):
            if not 0 <= label < len(class_names):
                raise UserError(f"{what} is {label}, but the classes are 0 to {len(class_names) - 1}")
        if self.attack_class == self.target_class:
            raise UserError(f"attack_class and target_class are both {self.attack_class}; take two classes")

    def relabel(self, labels: Int64[Tensor, "*shape"]) -> Int64[Tensor, "*shape"]:
        """Return the labels with T instead of K."""
        return read_as(labels, self.attack_class, self.target_class)


def classification(network: Network, attack: Attack | None = None) -> RealLoss:
    """Return a function that computes the mean cross-entropy of each network (Wang et al. 2018, equation 4).

    Each network is measured on a different batch of real data.

    Args:
        network: the network whose weights are measured.
        attack: replace the label of the attacked class by the target class.
    """

    def losses(
        thetas: Float[Tensor, "networks size"],
        images: Float[Tensor, "networks b *shape"],
        labels: Int64[Tensor, "networks b"],
    ) -> Float[Tensor, " networks"]:
        wanted = attack.relabel(labels) if attack else labels
        return CrossEntropy().means(network.apply_many(thetas, images), wanted)

    return losses
