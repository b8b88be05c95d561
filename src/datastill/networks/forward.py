"""Operations in a form that has a forward derivative in every memory layout.

`F.group_norm` has no forward derivative for channels-last images ("view size is not compatible"). Without this module,
forward over reverse would fail for each wide network with group or instance normalisation.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .forms import OtherForms


class ForwardDifferentiable(OtherForms):
    """A context that computes group normalisation from means and variances, which is slower than PyTorch's kernel."""

    def __init__(self) -> None:
        super().__init__(FORMS)


def group_norm(
    input: Tensor,  # noqa: A002
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,  # noqa: ARG001
) -> Tensor:
    """Compute `torch.group_norm` of images (b, c, ...), with its arguments; in float32 for 16-bit images."""
    images = input.to(torch.promote_types(input.dtype, torch.float32))
    grouped = images.unflatten(1, (num_groups, images.shape[1] // num_groups))
    within = tuple(range(2, grouped.dim()))
    variance, mean = torch.var_mean(grouped, within, correction=0, keepdim=True)
    out = ((grouped - mean) * (variance + eps).rsqrt()).flatten(1, 2)
    channels = (-1, *[1] * (input.dim() - 2))
    out = out if weight is None else out * weight.view(channels)
    return (out if bias is None else out + bias.view(channels)).to(input.dtype)


FORMS: dict[Callable[..., Any], Callable[..., Any]] = {F.group_norm: group_norm, torch.group_norm: group_norm}
"""From a function of PyTorch to its form that has a forward derivative."""
