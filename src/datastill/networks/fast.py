"""Forms of layers that are faster on CPUs; the definitions of networks stay plain. docs/LOG.md has the numbers."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad


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
