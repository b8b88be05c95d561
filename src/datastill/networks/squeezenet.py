"""SqueezeNet 1.1 as torchvision has it (Iandola et al. 2016, arXiv 1602.07360), trained on ImageNet or not."""

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from .weights import must_take, pretrained

LEAST = 17
"""Height and width of the smallest images of which the last pooling leaves something."""


class Fire(nn.Module):
    """A 1x1 convolution to few channels, then 1x1 and 3x3 convolutions beside each other."""

    def __init__(self, inputs: int, few: int, many: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, few, 1)
        self.expand1x1 = nn.Conv2d(few, many, 1)
        self.expand3x3 = nn.Conv2d(few, many, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Features in, features of twice `many` channels out."""
        x = relu(self.squeeze(x))
        return torch.cat([relu(self.expand1x1(x)), relu(self.expand3x3(x))], 1)


class SqueezeNet(nn.Module):
    """Eight fire modules and a 1x1 convolution to the classes; parameters have torchvision's names."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, 64, 3, stride=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
            Fire(64, 16, 64),
            Fire(128, 16, 64),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
            Fire(128, 32, 128),
            Fire(256, 32, 128),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
            Fire(256, 48, 192),
            Fire(384, 48, 192),
            Fire(384, 64, 256),
            Fire(512, 64, 256),
        )
        self.classifier = nn.Sequential(nn.Dropout(), nn.Conv2d(512, classes, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1))

    def forward(self, x: Tensor) -> Tensor:
        """Images in, logits out; none is negative, as there is a ReLU before the pooling."""
        return self.classifier(self.features(x)).flatten(1)


def squeezenet(*, shape: tuple[int, int, int], classes: int, weights: str = "", adapt: str = "all") -> nn.Module:
    """SqueezeNet 1.1 for 224x224; weights=FILE: trained before, adapt=classifier: all but the last layer frozen.

    Args:
        shape: (channels, height, width) of an image, at least 17x17.
        classes: number of outputs.
        weights: as of `alexnet`; the last convolution is new and starts with zero weights and ones as bias.
        adapt: ``all``, or ``classifier``: the last convolution alone.

    Raises:
        UserError: the images, the weights or a setting do not fit.
    """
    must_take("squeezenet", shape, least=LEAST, channels=3 if weights else None)
    return pretrained(SqueezeNet(shape[0], classes), weights, adapt, last="classifier.1")
