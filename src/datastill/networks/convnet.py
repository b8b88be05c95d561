"""ConvNet-D, the usual network of the later literature (Gidaris & Komodakis 2018; Zhao et al. 2021)."""

from torch import nn

from ..errors import UserError, unknown
from .blocks import Blocks
from .instance_norm import InstanceNorm

NORMS = ("instance", "group", "batch", "none")


def normalisation(norm: str, width: int) -> nn.Module:
    """Make a normalisation layer by name. ``instance`` has learned scale and shift, as in Zhao et al. 2021."""
    if norm == "instance":
        return InstanceNorm(width)
    if norm == "group":
        return nn.GroupNorm(min(4, width), width)
    if norm == "batch":
        return nn.BatchNorm2d(width)
    if norm == "none":
        return nn.Identity()
    raise unknown("norm", norm, NORMS)


def convnet(
    *, shape: tuple[int, int, int], classes: int, width: int = 128, depth: int = 3, norm: str = "instance"
) -> nn.Module:
    """Make `depth` blocks of 3x3 convolution, normalisation, ReLU and 2x2 average pooling, then one linear layer.

    Images of 28x28 have 9 places before the linear layer; in the code of the papers on MNIST, whose first convolution
    pads them to 32x32, there are 16.
    """
    channels, height, small = shape[0], shape[1], min(shape[1:])
    if small >> depth < 1:
        raise UserError(
            f"network 'convnet' of depth {depth} halves the image {depth} times, so it takes images of at least "
            f"{2**depth}x{2**depth}, not {height}x{shape[2]}; lower the depth"
        )
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Conv2d(channels, width, 3, padding=1), normalisation(norm, width), nn.ReLU(), nn.AvgPool2d(2)]
        channels = width
    return Blocks(*layers, nn.Flatten(), nn.Linear(width * (height >> depth) * (shape[2] >> depth), classes))
