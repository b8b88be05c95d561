"""AlexCifarNet as in Wang et al. 2018 (after Krizhevsky's cuda-convnet model for CIFAR-10)."""

from torch import nn

from ..errors import UserError
from .fast import LocalResponseNorm


def alexcifarnet(*, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Make AlexCifarNet: two 5x5 convolutions of 64 channels with normalisation, then linear layers of 384 and 192."""
    channels, height, width = shape
    if (height, width) != (32, 32):
        raise UserError(
            f"network 'alexcifarnet' takes images of 32x32, not {height}x{width}; set resize to one side in pixels, 32"
        )

    def norm() -> nn.Module:
        return LocalResponseNorm(64, size=4, alpha=0.001 / 9)

    return nn.Sequential(
        nn.Conv2d(channels, 64, 5, padding=2),
        nn.MaxPool2d(3, stride=2, padding=1),
        nn.ReLU(),
        norm(),
        nn.Conv2d(64, 64, 5, padding=2),
        nn.ReLU(),
        norm(),
        nn.MaxPool2d(3, stride=2, padding=1),
        nn.Flatten(),
        nn.Linear(64 * 8 * 8, 384),
        nn.ReLU(),
        nn.Linear(384, 192),
        nn.ReLU(),
        nn.Linear(192, classes),
    )
