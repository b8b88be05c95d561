"""A multilayer perceptron, for images of any size."""

from math import prod

from torch import nn


def mlp(*, shape: tuple[int, ...], classes: int, width: int = 128, depth: int = 2) -> nn.Module:
    """Make `depth` hidden layers of `width` ReLU units, then one linear layer."""
    layers: list[nn.Module] = [nn.Flatten()]
    size = prod(shape)
    for _ in range(depth):
        layers += [nn.Linear(size, width), nn.ReLU()]
        size = width
    return nn.Sequential(*layers, nn.Linear(size, classes))
