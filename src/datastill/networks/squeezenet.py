"""SqueezeNet 1.1 as in torchvision (Iandola et al. 2016, arXiv 1602.07360), with random or given weights."""

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from .weights import must_take, pretrained

MIN_SIDE = 17
"""Smallest height and width in pixels. The last pooling of a smaller image has no output."""


class Fire(nn.Module):
    """A 1x1 convolution to `few` channels, then a 1x1 and a 3x3 convolution in parallel, to `many` channels each."""

    def __init__(self, inputs: int, few: int, many: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, few, 1)
        self.expand1x1 = nn.Conv2d(few, many, 1)
        self.expand3x3 = nn.Conv2d(few, many, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return features of 2 x `many` channels."""
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
        """Return the logits of a batch of images. No logit is negative, because a ReLU comes before the pooling."""
        return self.classifier(self.features(x)).flatten(1)


def squeezenet(*, shape: tuple[int, int, int], classes: int, weights: str = "", adapt: str = "all") -> nn.Module:
    """Make SqueezeNet 1.1 for 224x224 images. weights=FILE loads weights; adapt=classifier trains the last layer only.

    Args:
        shape: (channels, height, width) of an image, at least 17x17.
        classes: number of outputs.
        weights: a ``.safetensors`` file or a state dictionary saved by PyTorch, with torchvision's names: a path, or a
            bare name in the folder `weights` of `$DATASTILL_DATA`. Empty: PyTorch's default random weights. With a
            file, the last convolution is new and starts with weights 0 and biases 1.
        adapt: ``all`` trains every layer; ``classifier`` trains the last convolution only.

    Raises:
        UserError: the images, the weights or a setting do not fit.
    """
    must_take("squeezenet", shape, least=MIN_SIDE, channels=3 if weights else None)
    return pretrained(SqueezeNet(shape[0], classes), weights, adapt, last="classifier.1")
