"""Instance normalisation for CPUs, with all derivatives written out. docs/LOG.md has the numbers.

PyTorch's gradient of group normalisation is slow for channels-last images with one channel in each group (instance
normalisation), and its second derivative consists of dozens of passes over the images. Here all derivatives are written
out. For each image and channel, let m be the mean, r = 1 / sqrt(variance + eps), y = r (x - m), s = r weight, and

    out = weight y + bias = s (x - m) + bias.

With <.> for means over the pixels, a = <g y>, and b = <u y>, the gradient for x given g is s (g - <g> - y a), and this
linear map is symmetric. The second derivative, along u for x and w for the weight, is

    r [q g - s a u + (s a <u> - q <g>) + y (2 s a b - w a - s c)],   q = w - s b,   c = <u g> - <u> <g> - a b.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .forms import quick

aten = torch.ops.aten
Means = tuple[Tensor, Tensor]
"""<g> and <g y> of images g, for each image and channel (b, c, 1, 1)."""


def computes(images: Tensor) -> bool:
    """Return whether the functions of this file are meant for a batch of images."""
    return images.dim() == 4 and images.device.type == "cpu" and images.dtype in (torch.float32, torch.float64)


def normalised(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return out, and m and r (b, c, 1, 1). The result must not be differentiated."""
    if _one(x):
        out, m, r = aten._native_batch_norm_legit.no_stats(x, weight, bias, True, 0.0, eps)
        return out, _channels(m), _channels(r)
    m = _mean(x)
    centred = x - m
    r = _mean(centred.mul_(centred)).add_(eps).rsqrt_()
    s = r * _channels(weight)
    return torch.addcmul(torch.addcmul(_channels(bias), m, s, value=-1), x, s), m, r


def gradient(g: Tensor, x: Tensor, weight: Tensor, m: Tensor, r: Tensor) -> tuple[Tensor, ...]:
    """Return the gradients for x, weight and bias, given the gradient g for `out`; and the `Means` of g."""
    pixels = x.shape[2] * x.shape[3]
    if _one(x):
        of_one = (None, None, m.view(-1), r.view(-1), True, 0.0, [True] * 3)
        d_x, d_weight, d_bias = aten.native_batch_norm_backward(g, x, weight, *of_one)
        return d_x, d_weight, d_bias, _channels(d_bias) / pixels, _channels(d_weight) / pixels
    s = r * _channels(weight)
    mean, a = _means(g, x, m, r)
    slope = -s * r * a
    constant = torch.addcmul(-s * mean, m, slope, value=-1)
    d_x = torch.addcmul(torch.addcmul(constant, g, s), x, slope)
    return d_x, pixels * a.sum((0, 2, 3)), pixels * mean.sum((0, 2, 3)), mean, a


class _Gradient(torch.autograd.Function):
    """`gradient`. The means serve the derivatives here, and must not be used outside."""

    generate_vmap_rule = True

    @staticmethod
    @quick
    def forward(g: Tensor, x: Tensor, weight: Tensor, m: Tensor, r: Tensor) -> tuple[Tensor, ...]:
        return gradient(g, x, weight, m, r)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: tuple) -> None:
        ctx.save_for_backward(*inputs, *output[3:])
        ctx.save_for_forward(*inputs, *output[3:])

    @staticmethod
    def backward(ctx: Any, *cotangents: Any) -> Any:
        g, x, weight, m, r, *of_g = ctx.saved_tensors
        u, w, b = cotangents[:3]
        of_u = _means(u, x, m, r)
        second = _second(u, w, g, x, weight, m, r, (*of_u, *of_g))
        return moved(u, w, b, x, weight, m, r, of_u), *second, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        g, x, weight, m, r, *of_g = ctx.saved_tensors
        along, u, w, *_ = tangents
        second = _second(u, w, g, x, weight, m, r, (*_means(u, x, m, r), *of_g))
        first = gradient(along, x, weight, m, r)[:3]
        return first[0] + second[0], first[1] + second[1], first[2], *map(torch.zeros_like, of_g)


def differentiable_gradient(g: Tensor, *saved: Tensor) -> tuple[Tensor, ...]:
    """Return the gradients for x, weight and bias; autograd knows their derivatives."""
    compute = _Gradient.apply if torch.is_grad_enabled() else gradient
    return compute(g, *saved)[:3]


def moved(
    u: Tensor, w: Tensor, b: Tensor, x: Tensor, weight: Tensor, m: Tensor, r: Tensor, of_u: Means | None = None
) -> Tensor:
    """Return how `out` moves if x, weight and bias move along u, w and b: s (u - <u> - y <u y>) + w y + b."""
    s, (mean, product) = r * _channels(weight), of_u or _means(u, x, m, r)
    slope = r * (_channels(w) - s * product)
    constant = torch.addcmul(_channels(b) - s * mean, m, slope, value=-1)
    return torch.addcmul(torch.addcmul(constant, u, s), x, slope)


def _second(
    u: Tensor, w: Tensor, g: Tensor, x: Tensor, weight: Tensor, m: Tensor, r: Tensor, means: tuple[Tensor, ...]
) -> tuple[Tensor, Tensor]:
    """Return how the gradients for x and weight move if x and weight move along u and w.

    `means` are those of u, then those of g.
    """
    mean_u, b, mean_g, a = means
    s, w, pixels = r * _channels(weight), _channels(w), x.shape[2] * x.shape[3]
    c = torch.addcmul(_mean(u * g), mean_u, mean_g, value=-1) - a * b
    q, sa = w - s * b, s * a
    slope = r * r * (2 * sa * b - w * a - s * c)
    constant = r * (sa * mean_u - q * mean_g) - m * slope
    d_x = torch.addcmul(torch.addcmul(torch.addcmul(constant, u, -r * sa), g, r * q), x, slope)
    return d_x, pixels * (r * c).sum((0, 2, 3))


def _means(g: Tensor, x: Tensor, m: Tensor, r: Tensor) -> Means:
    mean = _mean(g)
    return mean, r * torch.addcmul(_mean(g * x), m, mean, value=-1)


def _one(images: Tensor) -> bool:
    """Return whether this is a single image: then instance normalisation is batch normalisation, which is one pass."""
    return len(images) == 1 and not torch.jit.is_tracing()  # a recorded form must suit other batches


def _mean(images: Tensor) -> Tensor:
    return images.mean((2, 3), keepdim=True)


def _channels(weight: Tensor) -> Tensor:
    return weight.view(1, -1, 1, 1)


class _InstanceNorm(torch.autograd.Function):
    """(x, weight, bias, eps) -> out, m, r. Only `out` may be used outside; m and r serve the derivatives here."""

    generate_vmap_rule = True

    @staticmethod
    @quick
    def forward(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        return normalised(x, weight, bias, eps)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: tuple) -> None:
        ctx.save_for_backward(*inputs[:2], *output[1:])
        ctx.save_for_forward(*inputs[:2], *output[1:])

    @staticmethod
    def backward(ctx: Any, *cotangents: Any) -> Any:
        return *differentiable_gradient(cotangents[0], *ctx.saved_tensors), None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        return moved(*tangents[:3], *ctx.saved_tensors), *map(torch.zeros_like, ctx.saved_tensors[2:])


def group_norm(
    input: Tensor,  # noqa: A002
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *more: Any,
    **others: Any,
) -> Tensor:
    """Compute `torch.nn.functional.group_norm`; instance normalisation on a CPU by the functions of this file."""
    if computes(input) and num_groups == input.shape[1] and weight is not None and bias is not None:
        compute = _InstanceNorm.apply if torch.is_grad_enabled() else normalised
        return compute(input, weight, bias, eps)[0]
    return F.group_norm(input, num_groups, weight, bias, eps, *more, **others)


FORMS: dict[Callable[..., Any], Callable[..., Any]] = {F.group_norm: group_norm}
"""From a function of PyTorch to its form that is faster on CPUs, for networks that call it themselves."""


class InstanceNorm(nn.GroupNorm):
    """Group normalisation with one channel in each group, and a learned scale and shift for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (as in GroupNorm)
        """Return the normalised images (b, channels, h, w)."""
        return group_norm(input, self.num_groups, self.weight, self.bias, self.eps)
