"""What trained weights are judged by, differentiably."""

from collections.abc import Callable

from jaxtyping import Float, Int64
from torch import Tensor

from .networks import Network
from .training.program import mean_cross_entropy

Objective = Callable[[Tensor], Tensor]
"""Final weights (networks, size) -> objective of each network (networks,)."""


def classification(
    network: Network, images: Float[Tensor, "networks b c h w"], labels: Int64[Tensor, "networks b"]
) -> Objective:
    """Mean cross-entropy on real data, a batch of its own for each network (Wang et al. 2018, equation 4)."""
    return lambda thetas: mean_cross_entropy(network.apply_many(thetas, images), labels)
