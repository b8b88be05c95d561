"""Convolution with all derivatives as convolutions that PyTorch has fast kernels for. docs/LOG.md has the numbers.

For PyTorch, the derivative of the input gradient for the weights is a convolution with kernels as large as the images,
which takes twice as long on CPUs. Let out = x * w. For a gradient g for out, the gradients are dx(g, w) for x and
dw(g, x) for w. Each is linear in both arguments, so that the derivatives along u for x and v for w are

    of out: x * v + u * w,        of dx(g, w): dx(g, v),        of dw(g, x): dw(g, u).
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from .forms import quick


def convolution(x: Tensor, weight: Tensor, padding: int) -> Tensor:
    """Return the convolution of stride 1 of images (b, c, h, w) with kernels (d, c, k, k), twice differentiable.

    It is PyTorch's own unless both arguments need a gradient: then its second derivatives are fast too.
    """
    if x.requires_grad and weight.requires_grad:
        return _Convolution.apply(x, weight, padding)
    return conv2d(x, weight, padding=padding)


def _keep(ctx: Any, inputs: tuple, output: Any) -> None:  # noqa: ARG001
    """Keep the arguments of an autograd function, the last of which is the padding, for its derivatives."""
    *tensors, ctx.padding = inputs
    ctx.save_for_backward(*tensors)
    ctx.save_for_forward(*tensors)


class _Convolution(torch.autograd.Function):
    """(x, weight, padding) -> out."""

    generate_vmap_rule = True

    @staticmethod
    @quick
    def forward(x: Tensor, weight: Tensor, padding: int) -> Tensor:
        return conv2d(x, weight, padding=padding)

    setup_context = staticmethod(_keep)

    @staticmethod
    def backward(ctx: Any, *cotangents: Any) -> Any:
        compute = _Gradients.apply if torch.is_grad_enabled() else _Gradients.forward
        return *compute(*cotangents, *ctx.saved_tensors, ctx.padding), None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        (u, v, _), (x, weight) = tangents, ctx.saved_tensors
        return conv2d(x, v, padding=ctx.padding) + conv2d(u, weight, padding=ctx.padding)


class _Gradients(torch.autograd.Function):
    """(g, x, weight, padding) -> dx(g, weight), dw(g, x)."""

    generate_vmap_rule = True

    @staticmethod
    @quick
    def forward(g: Tensor, x: Tensor, weight: Tensor, padding: int) -> tuple[Tensor, Tensor]:
        return _gradients(g, x, weight, padding)

    setup_context = staticmethod(_keep)

    @staticmethod
    def backward(ctx: Any, *cotangents: Any) -> Any:
        (u, v), (g, x, weight), padding = cotangents, ctx.saved_tensors, ctx.padding
        d_g = conv2d(x, v, padding=padding) + conv2d(u, weight, padding=padding)
        return d_g, *_gradients(g, u, v, padding), None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        (along, u, v, _), (g, x, weight) = tangents, ctx.saved_tensors
        first, second = _gradients(along, x, weight, ctx.padding), _gradients(g, u, v, ctx.padding)
        return first[0] + second[0], first[1] + second[1]


def _gradients(g: Tensor, x: Tensor, weight: Tensor, padding: int) -> Any:
    """Return dx(g, weight) and dw(g, x); `x` and `weight` also give the shapes."""
    place = ([1, 1], [padding, padding], [1, 1], False, [0, 0], 1)
    return torch.ops.aten.convolution_backward(g, x, weight, None, *place, [True, True, False])[:2]
