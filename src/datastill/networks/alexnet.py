"""AlexNet for large images as in torchvision (Krizhevsky 2014, arXiv 1404.5997), with random or given weights."""

from torch import Tensor, nn

from ..errors import unknown
from .weights import must_take, pretrained

HEADS = ("linear", "full")
FEATURES, WIDTH = 256 * 6 * 6, 4096
MIN_SIDE = 63
"""Smallest height and width in pixels. The last pooling of a smaller image has no output."""


class AlexNet(nn.Module):
    """Five convolutions and a classifier; parameters have torchvision's names."""

    def __init__(self, channels: int, classes: int, head: str) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, 64, 11, stride=4, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
        )
        self.pool = nn.AdaptiveAvgPool2d(6)
        hidden = (
            ()
            if head == "linear"
            else (  # 55 million weights, made only if needed
                nn.Dropout(),
                nn.Linear(FEATURES, WIDTH),
                nn.ReLU(),
                nn.Dropout(),
                nn.Linear(WIDTH, WIDTH),
                nn.ReLU(),
            )
        )
        self.classifier = nn.Sequential(*hidden, nn.Linear(WIDTH if hidden else FEATURES, classes))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of a batch of images."""
        return self.classifier(self.pool(self.features(x)).flatten(1))


def alexnet(
    *, shape: tuple[int, int, int], classes: int, weights: str = "", adapt: str = "all", head: str = "linear"
) -> nn.Module:
    """Make AlexNet for 224x224 images. weights=FILE loads weights; adapt=classifier freezes the convolutions.

    Args:
        shape: (channels, height, width) of an image, at least 63x63.
        classes: number of outputs.
        weights: a ``.safetensors`` file or a state dictionary saved by PyTorch, with torchvision's names: a path, or a
            bare name in the folder `weights` of `$DATASTILL_DATA`. Empty: PyTorch's default random weights.
        adapt: ``all`` trains every layer; ``classifier`` freezes the convolutions.
        head: ``linear`` is one new layer on the pooled 256x6x6 features; ``full`` is fc6 and fc7 of the file, then a
            new layer. With `weights`, the new layer starts with weights 0 and biases 1 (Wang et al. 2018).

    Raises:
        UserError: the images, the weights or a setting do not fit.
    """
    if head not in HEADS:
        raise unknown("head", head, HEADS)
    must_take("alexnet", shape, least=MIN_SIDE, channels=3 if weights else None)
    module, last = AlexNet(shape[0], classes, head), "classifier.6" if head == "full" else "classifier.0"
    hint = "without fc6 and fc7 take head=linear" if head == "full" else "with fc6 and fc7 take head=full"
    return pretrained(module, weights, adapt, last=last, hint=hint)
