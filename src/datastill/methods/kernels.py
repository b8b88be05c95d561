"""Kernels, and ridge regression with them in closed form; everything is differentiable with respect to the examples."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import at_least

ALMOST_ONE = 1 - 1e-12
"""Largest cosine of an angle between two examples: at 1 the angle has an infinite derivative."""


def ridge_predictions(
    cross: Float[Tensor, "queries n"], square: Float[Tensor, "n n"], targets: Float[Tensor, "n classes"], ridge: float
) -> Float[Tensor, "queries classes"]:
    """Return the predictions of kernel ridge regression, K_qs (K_ss + ridge (tr(K_ss) / n) I)^-1 y (2011.00050, eq. 3).

    The system is solved in float64: kernels of similar examples are close to singular.

    Args:
        cross: the kernel of each query with each of the n examples, K_qs.
        square: the kernel of each two examples, K_ss.
        targets: the targets y of the examples, of any sign.
        ridge: the strength of the regularisation, as a share of the mean of the diagonal of K_ss; above 0.
    """
    square = square.double()
    penalty = ridge * square.diagonal().mean()
    identity = torch.eye(len(square), dtype=square.dtype, device=square.device)
    weights = torch.linalg.solve(square + penalty * identity, targets.double())
    return cross @ weights.to(cross)


def fully_connected(x: Float[Tensor, "n *shape"], z: Float[Tensor, "m *shape"], depth: int = 2) -> Float[Tensor, "n m"]:
    """Return the neural tangent kernel of a fully connected ReLU network of infinite width, without biases.

    With `depth` hidden layers and weights of variance 2 / inputs, and Sigma = Theta = <x, z> / size in the beginning,
    each hidden layer maps (Jacot et al. 2018, arXiv 1806.07572; Cho and Saul 2009), with the cosine c of the angle a
    that Sigma gives:

        Sigma <- sqrt(Sigma_xx Sigma_zz) (sin a + (pi - a) c) / pi,   Theta <- Sigma + Theta (pi - a) / pi.

    Sigma_xx stays unchanged.

    Args:
        x: examples of any shape, flattened here; none of them is 0. In float64: the angle of two similar examples needs
            all digits.
        z: more of them.
        depth: hidden layers; 0 gives the linear kernel <x, z> / size.
    """
    at_least("depth", depth, 0)
    x, z = x.flatten(1), z.flatten(1)
    size = x.shape[1]
    sigma = theta = x @ z.T / size
    length = (x.square().sum(1)[:, None] * z.square().sum(1)).sqrt() / size
    for _ in range(depth):
        cosine = (sigma / length).clamp(-ALMOST_ONE, ALMOST_ONE)
        angle = cosine.acos()
        sigma = length * ((1 - cosine.square()).sqrt() + (math.pi - angle) * cosine) / math.pi
        theta = sigma + theta * (math.pi - angle) / math.pi
    return theta
