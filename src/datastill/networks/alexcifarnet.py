"""AlexCifarNet as in Wang et al. 2018 (after Krizhevsky's cuda-convnet model for CIFAR-10)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import UserError


class LocalResponseNorm(nn.Module):
    """x / (1 + alpha m)^(3/4), where m is the mean of the squares of `size` neighbouring channels.

    It equals torch.nn.LocalResponseNorm and is faster: the sum over channels is one product with a banded matrix, and
    so is each derivative. PyTorch's layer took a seventh of the time of distillation (docs/LOG.md).
    """

    def __init__(self, channels: int, size: int, alpha: float) -> None:
        super().__init__()
        self.alpha = alpha
        near = torch.arange(channels)[None, :] - torch.arange(channels)[:, None]  # offsets of channels
        band = (near >= -((size - 1) // 2)) & (near <= size // 2)
        self.register_buffer("band", band.float() / size, persistent=False)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return the normalised features. In half precision, the squares are summed in float32."""
        wide = x if x.dtype == torch.float64 else x.float()
        mean = (wide.square().permute(0, 2, 3, 1) @ self.band.to(wide.dtype)).permute(0, 3, 1, 2)
        root = (1 + self.alpha * mean).rsqrt()
        return (wide * root * root.sqrt()).to(x.dtype)


def alexcifarnet(*, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Make AlexCifarNet: two 5x5 convolutions of 64 channels with normalisation, then linear layers of 384 and 192."""
    channels, height, width = shape
    if (height, width) != (32, 32):
        raise UserError(
            f"network 'alexcifarnet' takes images of 32x32, not {height}x{width}; resize the data (resize=32)"
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
