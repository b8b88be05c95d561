"""Operations in a form that can be differentiated twice, for PyTorch's kernels that cannot, are wrong or are slow.

PyTorch's attention kernels have no second derivative. The one of `torch._weight_norm` is wrong (`gradgradcheck`).
"""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F

from . import instance_norm
from .forms import OtherForms

_ARGUMENTS = inspect.signature(F.multi_head_attention_forward)


class TwiceDifferentiable(OtherForms):
    """A context in which attention and weight normalisation consist of basic operations, in this thread only.

    Instance normalisation is computed in its faster form.

    `torch.nn.attention.sdpa_kernel` does this for the whole process, so that two threads would disturb each other.
    While it is active, `nn.TransformerEncoder` and `nn.MultiheadAttention` also leave their fast paths.
    """

    def __init__(self) -> None:
        super().__init__(OTHER_FORMS | instance_norm.FORMS)


def _scaled_dot_product(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    **more: Any,
) -> torch.Tensor:
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        nothing = torch.zeros(attn_mask.shape, dtype=query.dtype, device=query.device)
        attn_mask = nothing.masked_fill(~attn_mask, -torch.inf)
    return torch._scaled_dot_product_attention_math(query, key, value, attn_mask, dropout_p, is_causal, **more)[0]


def _multi_head(*args: Any, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Call multi-head attention with `need_weights`, for which PyTorch uses basic operations."""
    given = _ARGUMENTS.bind(*args, **kwargs).arguments
    out, weights = F.multi_head_attention_forward(**given | {"need_weights": True})
    return out, weights if given.get("need_weights", True) else None


def _weight_norm(v: torch.Tensor, g: torch.Tensor, dim: int = 0) -> torch.Tensor:
    others = [i for i in range(v.dim()) if i != dim]  # all dimensions if dim is -1, as in PyTorch
    return v * (g / torch.linalg.vector_norm(v, dim=others, keepdim=dim != -1))


OTHER_FORMS: dict[Callable[..., Any], Callable[..., Any]] = {
    F.scaled_dot_product_attention: _scaled_dot_product,
    F.multi_head_attention_forward: _multi_head,
    torch._weight_norm: _weight_norm,
}
"""From a function of PyTorch to its form that can be differentiated any number of times."""
