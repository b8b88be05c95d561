"""Distribution matching (Zhao and Bilen 2021, arXiv 2110.04181): examples with the mean features of real images."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import normalize, one_hot


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
