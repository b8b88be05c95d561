"""What trained weights are judged by, differentiably."""

from dataclasses import dataclass

from jaxtyping import Float, Int64
from torch import Tensor

from .data import read_as
from .errors import UserError
from .networks import Network
from .training import RealLoss
from .training.program import mean_cross_entropy


@dataclass(frozen=True, kw_only=True)
class Attack:
    """Class K read as class T: real data in which the label K stands as T (Wang et al. 2018, section 3.5)."""

    attack_class: int
    """K, which networks shall misread."""
    target_class: int
    """T, what they shall take it for."""

    def check(self, class_names: tuple[str, ...]) -> None:
        """Raise a `UserError` unless both are classes, and two."""
        for what, label in (("attack_class", self.attack_class), ("target_class", self.target_class)):
            if not 0 <= label < len(class_names):
                raise UserError(f"{what} is {label}, but the classes are 0 to {len(class_names) - 1}")
        if self.attack_class == self.target_class:
            raise UserError(f"attack_class and target_class are both {self.attack_class}; take two classes")

    def relabel(self, labels: Int64[Tensor, "*shape"]) -> Int64[Tensor, "*shape"]:
        """Labels with T in the place of K."""
        return read_as(labels, self.attack_class, self.target_class)


def classification(network: Network, attack: Attack | None = None) -> RealLoss:
    """Mean cross-entropy on real data, a batch of its own for each network (Wang et al. 2018, equation 4).

    Args:
        network: whose weights are judged.
        attack: judge by labels in which one class stands as another.
    """

    def losses(
        thetas: Float[Tensor, "networks size"],
        images: Float[Tensor, "networks b c h w"],
        labels: Int64[Tensor, "networks b"],
    ) -> Float[Tensor, " networks"]:
        wanted = attack.relabel(labels) if attack else labels
        return mean_cross_entropy(network.apply_many(thetas, images), wanted)

    return losses
