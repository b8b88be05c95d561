"""LeNet as in Wang et al. 2018: 6-16-120-84 with 5x5 convolutions and max-pooling."""

from torch import nn

from ..errors import UserError
from .fast import PooledFirst


def lenet(*, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Make LeNet for 28x28 (padded by 2) or 32x32 images; its weights fit both sizes."""
    channels, height, width = shape
    if (height, width) not in ((28, 28), (32, 32)):
        raise UserError(
            f"network 'lenet' takes images of 28x28 or 32x32, not {height}x{width}; "
            "set resize to one side in pixels, such as 28, or take 'mlp' or 'convnet'"
        )
    return PooledFirst(
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
