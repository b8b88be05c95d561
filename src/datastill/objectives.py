"""What trained weights are judged by, differentiably."""

from jaxtyping import Float, Int64
from torch import Tensor

from .networks import Network
from .training import RealLoss
from .training.program import mean_cross_entropy


def classification(network: Network) -> RealLoss:
    """Mean cross-entropy on real data, a batch of its own for each network (Wang et al. 2018, equation 4)."""

    def losses(
        thetas: Float[Tensor, "networks size"],
        images: Float[Tensor, "networks b c h w"],
        labels: Int64[Tensor, "networks b"],
    ) -> Float[Tensor, " networks"]:
        return mean_cross_entropy(network.apply_many(thetas, images), labels)

    return losses
