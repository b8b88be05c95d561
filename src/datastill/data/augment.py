"""Augmentation: each image is moved and mirrored at random."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

Augmentation = Literal["none", "shift", "shift-flip"]

SHIFT_DIVISOR = 8
"""The largest shift in pixels is the side divided by this number, rounded down: 3 of 28, 4 of 32."""


def augmented(
    images: Float[Tensor, "n c h w"], kind: Augmentation, generator: torch.Generator
) -> Float[Tensor, "n c h w"]:
    """Shift images by whole pixels, repeating the pixels of the border; for ``shift-flip``, mirror half of them.

    Args:
        images: normalised images or pixels.
        kind: ``none`` returns the images unchanged.
        generator: a generator on the CPU, from which shifts and mirrored images are drawn.
    """
    if kind == "none":
        return images
    height, width = images.shape[2:]
    reach_y, reach_x = max(height // SHIFT_DIVISOR, 1), max(width // SHIFT_DIVISOR, 1)
    padded = pad(images, (reach_x, reach_x, reach_y, reach_y), mode="replicate")
    top = torch.randint(2 * reach_y + 1, (len(images),), generator=generator)
    left = torch.randint(2 * reach_x + 1, (len(images),), generator=generator)
    mirrored = torch.rand(len(images), generator=generator) < (0.5 if kind == "shift-flip" else 0.0)
    columns = torch.arange(width).expand(len(images), -1)
    columns = torch.where(mirrored[:, None], columns.flip(1), columns) + left[:, None]
    rows = torch.arange(height) + top[:, None]
    each = torch.arange(len(images))[:, None, None, None]
    channel = torch.arange(images.shape[1])[None, :, None, None]
    return padded[each, channel, rows[:, None, :, None], columns[:, None, None, :]]
