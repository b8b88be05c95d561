"""LeNet as in Wang et al. 2018: 6-16-120-84 with 5x5 convolutions and max-pooling."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

from ..errors import UserError


def lenet(*, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Make LeNet for 28x28 (padded by 2) or 32x32 images; its weights fit both sizes."""
    channels, height, width = shape
    if (height, width) not in ((28, 28), (32, 32)):
        raise UserError(
            f"network 'lenet' takes images of 28x28 or 32x32, not {height}x{width}; "
            "resize the data (resize=28) or take 'mlp' or 'convnet'"
        )
    return _LeNet(
        nn.Conv2d(channels, 6, 5, padding=2 if height == 28 else 0),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Conv2d(6, 16, 5),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * 5 * 5, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, classes),
    )


class _LeNet(nn.Sequential):
    """Layers in order. On the CPU, convolution and pooling are one operation if that is faster (docs/LOG.md).

    It is faster for all layers without a gradient, and for the first layer with one.
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
