"""Forms of layers that are faster on CPUs; the definitions of networks stay plain. docs/LOG.md has the numbers.

PyTorch's gradient of group normalisation is slow for channels-last images with one channel in each group (instance
normalisation), and its second derivative consists of dozens of passes over the images. Here all derivatives are written
out. For each image and channel, let m be the mean, r = 1 / sqrt(variance + eps), s = r weight, y = r (x - m), and

    out = s (x - m) + bias.

With <.> for means over the pixels, a = <g y>, and b = <u y>, the gradient for x given g is s (g - <g> - y a), and this
linear map is symmetric. The second derivative, along u for x and w for the weight, is

    r [q g - s a u + (s a <u> - q <g>) + y (2 s a b - w a - s c)],   q = w - s b,   c = <u g> - <u> <g> - a b.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.functional import conv2d, pad


def _total(images: Tensor) -> Tensor:
    """Return sums over pixels. Derivatives of `mean` would change the memory layout, which is slow."""
    return images.sum((2, 3), keepdim=True)


def _line(first: Tensor, *terms: tuple[Tensor, Tensor]) -> Tensor:
    """Return first + the sum of the products in `terms`."""
    for images, factor in terms:
        first = torch.addcmul(first, images, factor)
    return first


def _channels(weight: Tensor) -> Tensor:
    return weight.view(1, -1, 1, 1)


class _InstanceNorm(torch.autograd.Function):
    """(x, weight, bias, eps) -> out, m, r. Only `out` may be used outside; m and r serve the derivatives here."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        pixels = x.shape[2] * x.shape[3]
        m = _total(x) / pixels
        centred = x - m
        r = (_total(centred * centred) / pixels + eps).rsqrt()
        s = r * _channels(weight)
        return _line(_channels(bias) - m * s, (x, s)), m, r

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: tuple) -> None:
        _, m, r = output
        ctx.save_for_backward(*inputs[:2], m, r)
        ctx.save_for_forward(*inputs[:2], m, r)

    @staticmethod
    def backward(ctx: Any, *cotangents: Any) -> Any:
        return *_Gradient.apply(cotangents[0], *ctx.saved_tensors), None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        x, weight, bias, _ = tangents
        m, r = ctx.saved_tensors[2:]
        return _moved(x, weight, bias, *ctx.saved_tensors), torch.zeros_like(m), torch.zeros_like(r)


def _moved(u: Tensor, w: Tensor, b: Tensor, x: Tensor, weight: Tensor, m: Tensor, r: Tensor) -> Tensor:
    """Return how `out` moves if x, weight and bias move along u, w and b: s (u - <u> - y <u y>) + w y + b."""
    pixels = x.shape[2] * x.shape[3]
    s, mean = r * _channels(weight), _total(u) / pixels
    slope = r * (_channels(w) - s * r * (_total(u * x) / pixels - m * mean))
    return _line(_channels(b) - s * mean - m * slope, (u, s), (x, slope))


def _second(u: Tensor, w: Tensor, g: Tensor, x: Tensor, weight: Tensor, m: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
    """Return how the gradients for x and weight move if x and weight move along u and w."""
    pixels = x.shape[2] * x.shape[3]
    s, of_g, of_u = r * _channels(weight), _total(g) / pixels, _total(u) / pixels
    a, b = (r * (_total(each * x) / pixels - m * mean) for each, mean in ((g, of_g), (u, of_u)))
    c, q = _total(u * g) / pixels - of_u * of_g - a * b, _channels(w) - s * b
    slope = r * r * (2 * s * a * b - _channels(w) * a - s * c)
    constant = r * (s * a * of_u - q * of_g) - m * slope
    return _line(constant, (u, -r * s * a), (g, r * q), (x, slope)), pixels * (r * c).sum((0, 2, 3))


class _Gradient(torch.autograd.Function):
    """(g, x, weight, m, r) -> the gradients for x, weight and bias, given the gradient g for `out`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(g: Tensor, x: Tensor, weight: Tensor, m: Tensor, r: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        pixels = x.shape[2] * x.shape[3]
        s, total = r * _channels(weight), _total(g)
        a = r * (_total(g * x) - m * total)
        slope = -s * r * a / pixels
        return _line(-m * slope - s * total / pixels, (g, s), (x, slope)), a.sum((0, 2, 3)), total.sum((0, 2, 3))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: tuple) -> None:  # noqa: ARG004
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, *cotangents: Any) -> Any:
        (u, w, b), (g, *rest) = cotangents, ctx.saved_tensors
        return _moved(u, w, b, *rest), *_second(u, w, g, *rest), None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        (u, x, weight, *_), (g, *rest) = tangents, ctx.saved_tensors
        d_x, d_weight = _second(x, weight, g, *rest)
        first, second, third = _Gradient.forward(u, *rest)
        return first + d_x, second + d_weight, third


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
    instance = input.dim() == 4 and num_groups == input.shape[1] and weight is not None and bias is not None
    if instance and input.device.type == "cpu" and input.dtype in (torch.float32, torch.float64):
        compute = _InstanceNorm.apply if torch.is_grad_enabled() else _InstanceNorm.forward
        return compute(input, weight, bias, eps)[0]
    return F.group_norm(input, num_groups, weight, bias, eps, *more, **others)


class InstanceNorm(nn.GroupNorm):
    """Group normalisation with one channel in each group, and a learned scale and shift for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (as in GroupNorm)
        """Return the normalised images (b, channels, h, w)."""
        return group_norm(input, self.num_groups, self.weight, self.bias, self.eps)


FORMS: dict[Callable[..., Any], Callable[..., Any]] = {F.group_norm: group_norm}
"""From a function of PyTorch to its form that is faster on CPUs, for networks that call it themselves."""


class PooledFirst(nn.Sequential):
    """Layers in order, a 2x2 max-pooling after each convolution. On the CPU, both are one operation if that is faster.

    It is faster for all layers without a gradient, and for the first layer with one (docs/LOG.md).
    """

    def forward(self, input: Float[Tensor, "b c h w"]) -> Float[Tensor, "b classes"]:  # noqa: A002 (as in Sequential)
        """Return the logits of a batch of images."""
        if input.device.type != "cpu":
            return super().forward(input)
        images, layers = input, iter(self)
        for layer in layers:
            if isinstance(layer, nn.Conv2d) and (images is input or not torch.is_grad_enabled()):
                images = _convolved_and_pooled(images, layer)
                next(layers)  # the pooling
            else:
                images = layer(images)
        return images


def _convolved_and_pooled(images: Float[Tensor, "b c h w"], layer: nn.Conv2d) -> Float[Tensor, "b d h2 w2"]:
    """Return a convolution after 2x2 max-pooling: compute it at the four places of each window, take the maximum.

    If places are equal, the gradient goes to the first of them, as in max-pooling.
    """
    kernels = torch.cat([pad(layer.weight, (x, 1 - x, y, 1 - y)) for y in (0, 1) for x in (0, 1)])
    bias = None if layer.bias is None else layer.bias.repeat(4)
    places = conv2d(images, kernels, bias, stride=2, padding=layer.padding)
    if torch.is_grad_enabled():
        return places.unflatten(1, (4, -1)).max(1).values
    one, two, three, four = places.chunk(4, 1)  # twice as fast, but with a slow gradient
    return torch.maximum(torch.maximum(one, two), torch.maximum(three, four))


class LocalResponseNorm(nn.Module):
    """x / (1 + alpha m)^(3/4), where m is the mean of the squares of `size` neighbouring channels.

    It equals torch.nn.LocalResponseNorm and is faster: the sum over channels is one product with a banded matrix, and
    so is each derivative. PyTorch's layer took a seventh of the time of distillation (docs/LOG.md).
    """

    def __init__(self, channels: int, size: int, alpha: float) -> None:
        super().__init__()
        self.alpha = alpha
        near = torch.arange(channels)[None, :] - torch.arange(channels)[:, None]  # offsets of channels
        band = (near >= -((size - 1) // 2)) & (near <= size // 2)
        self.register_buffer("band", band.float() / size, persistent=False)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return the normalised features. In half precision, the squares are summed in float32."""
        wide = x if x.dtype == torch.float64 else x.float()
        mean = (wide.square().permute(0, 2, 3, 1) @ self.band.to(wide.dtype)).permute(0, 3, 1, 2)
        root = (1 + self.alpha * mean).rsqrt()
        return (wide * root * root.sqrt()).to(x.dtype)
