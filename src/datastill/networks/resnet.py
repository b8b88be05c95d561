"""ResNet-18 for small images (He et al. 2016, the CIFAR variant: 3x3 stem, no stem pooling)."""

from torch import Tensor, nn
from torch.nn.functional import relu

from .convnet import normalisation


class Block(nn.Module):
    """Two 3x3 convolutions with a shortcut; the shortcut has a 1x1 convolution if the shape changes."""

    def __init__(self, inputs: int, width: int, stride: int, norm: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride=stride, padding=1, bias=False)
        self.norm1 = normalisation(norm, width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = normalisation(norm, width)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != width:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, width, 1, stride=stride, bias=False), normalisation(norm, width)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return the features after this block."""
        out = self.norm2(self.conv2(relu(self.norm1(self.conv1(x)))))
        return relu(out + self.shortcut(x))


def resnet18(*, shape: tuple[int, int, int], classes: int, norm: str = "batch", width: int = 64) -> nn.Module:
    """Make four stages of two blocks, of `width` to 8 x `width` channels, global average pooling, one linear layer."""
    layers: list[nn.Module] = [
        nn.Conv2d(shape[0], width, 3, padding=1, bias=False),
        normalisation(norm, width),
        nn.ReLU(),
    ]
    inputs = width
    for stage in range(4):
        for block in range(2):
            layers.append(Block(inputs, width << stage, 2 if stage and not block else 1, norm))
            inputs = width << stage
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes))
