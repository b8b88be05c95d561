"""A convolution over the words of a sentence and maxima over time (Kim 2014, arXiv 1408.5882, with one window)."""

from torch import Tensor, nn

from ..errors import UserError


class TextCNN(nn.Module):
    """A convolution over the words of a sentence, the maximum of each of its outputs, and a linear layer."""

    def __init__(self, *, dim: int, classes: int, width: int, window: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(dim, width, window, padding=window // 2)
        self.classifier = nn.Linear(width, classes)

    def forward(self, sentences: Tensor) -> Tensor:
        """Return the logits of sentences (n, length, dim)."""
        return self.classifier(self.convolution(sentences.transpose(1, 2)).amax(2).relu())


def textcnn(*, shape: tuple[int, ...], classes: int, width: int = 64, window: int = 3) -> nn.Module:
    """Make a convolution of `width` outputs over each `window` words, their maxima over time, and one linear layer."""
    if len(shape) != 2:
        raise UserError(
            f"network 'textcnn' takes sentences of shape (length, dim), not examples of shape {shape}; take another "
            "network, such as 'mlp'"
        )
    return TextCNN(dim=shape[1], classes=classes, width=width, window=window)
