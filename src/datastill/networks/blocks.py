"""Blocks of convolution, instance normalisation, ReLU and average pooling, in the form that is fastest on CPUs.

A bias of the convolution shifts a channel evenly, so instance normalisation takes it away again: it is not added, and
its gradient is exactly 0. docs/LOG.md has the numbers.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d

from .convolution import convolution
from .forms import quick
from .instance_norm import InstanceNorm, computes, differentiable_gradient, moved, normalised

aten = torch.ops.aten


class Blocks(nn.Sequential):
    """Layers in order: blocks of 3x3 convolution, normalisation, ReLU and 2x2 average pooling, then others."""

    def forward(self, input: Float[Tensor, "b c h w"]) -> Float[Tensor, "b classes"]:  # noqa: A002 (as in Sequential)
        """Return the logits of a batch of images."""
        if not computes(input) or not isinstance(self[1], InstanceNorm):
            return super().forward(input)
        images, layers = input, iter(self)
        for layer in layers:
            if isinstance(layer, nn.Conv2d):
                norm, _, _ = (next(layers) for _ in range(3))
                # PyTorch's own leaves out the input gradient of the first layer where only the weights' is asked for.
                compute = conv2d if images is input else convolution
                images = _pooled(compute(images, layer.weight, padding=1), norm, layer.bias)
            else:
                images = layer(images)
        return images


def _pooled(x: Tensor, norm: Any, before: Tensor | None) -> Tensor:
    """Return images after normalisation, ReLU and pooling; the bias `before` would have no effect."""
    compute = _Pooled.apply if torch.is_grad_enabled() else _Pooled.forward
    return compute(x, norm.weight, norm.bias, before, norm.eps)[0]


class _Pooled(torch.autograd.Function):
    """(x, weight, bias, before, eps) -> images after normalisation, ReLU and pooling, and before pooling; m, r.

    Only the first result may be used outside; the others serve the derivatives here.
    """

    generate_vmap_rule = True

    @staticmethod
    @quick
    def forward(x: Tensor, weight: Tensor, bias: Tensor, before: Tensor, eps: float) -> tuple[Tensor, ...]:  # noqa: ARG004
        out, m, r = normalised(x, weight, bias, eps)
        active = out.relu_()
        return avg_pool2d(active, 2), active, m, r

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: tuple) -> None:
        ctx.set_materialize_grads(False)
        saved = *inputs[:2], *output[2:], output[1], inputs[3]
        ctx.save_for_backward(*saved)
        ctx.save_for_forward(*saved)

    @staticmethod
    def backward(ctx: Any, *cotangents: Any) -> Any:
        if cotangents[0] is None:
            return (None,) * 5
        *norm, active, before = ctx.saved_tensors
        active = active.detach()  # ReLU has no second derivative
        g = aten.avg_pool2d_backward(cotangents[0], active, [2, 2], [2, 2], [0, 0], False, True, None)
        found = differentiable_gradient(aten.threshold_backward(g, active, 0), *norm)
        return *found, torch.zeros_like(before), None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        *norm, active, _ = ctx.saved_tensors
        like = (norm[0], norm[1], norm[1])
        u, w, b = (torch.zeros_like(a) if t is None else t for t, a in zip(tangents, like, strict=False))
        along = moved(u, w, b, *norm)
        others = map(torch.zeros_like, (active, *norm[2:]))
        return avg_pool2d(aten.threshold_backward(along, active, 0), 2), *others
