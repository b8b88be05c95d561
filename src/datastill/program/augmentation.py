"""The contract of an augmentation, and shifts and mirror images drawn for each image alone."""

import abc
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ..errors import UserError

Change = Callable[[Tensor], Tensor]
"""A differentiable change of images (..., b, c, h, w) that returns images of this shape."""

SHIFT_DIVISOR = 8
"""The largest shift in pixels is the side divided by this number, rounded down: 3 of 28, 4 of 32."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Draw:
    """One draw of an augmentation: fixed changes, which can be applied to any batch, real or synthetic."""

    changes: tuple[Change, ...]
    count: int | None = None
    """The number of images b that the draw is for, if each image has its own numbers; None: it is for any number."""

    def __call__(self, images: Float[Tensor, "*some b c h w"]) -> Float[Tensor, "*some b c h w"]:
        """Return the changed images; every change is differentiable with respect to them.

        Raises:
            UserError: each image has its own numbers, and there are more or fewer images than numbers.
        """
        if self.count not in (None, images.shape[-4]):
            raise UserError(
                f"the augmentation was drawn for {self.count} images, each with its own numbers, but is applied to "
                f"{images.shape[-4]}; draw it for all images together (shared=True)"
            )
        for change in self.changes:
            images = change(images)
        return images


class Augmentation(abc.ABC):
    """Random changes of images, drawn anew for each gradient step. Subclasses are frozen dataclasses of settings."""

    @property
    @abc.abstractmethod
    def words(self) -> str:
        """The augmentation in words."""

    @abc.abstractmethod
    def draw(self, count: int, shape: tuple[int, ...], generator: torch.Generator) -> Draw:
        """Return one draw.

        Args:
            count: the number of images of the batch.
            shape: (channels, height, width) of an image.
            generator: a generator on the CPU.
        """

    def of_each(
        self, images: Float[Tensor, "networks b c h w"], generators: Iterable[torch.Generator]
    ) -> Float[Tensor, "networks b c h w"]:
        """Return the batch of each network, changed by a draw of its own; there is a generator for each network."""
        count, shape = images.shape[1], tuple(images.shape[2:])
        draws = [self.draw(count, shape, generator) for generator in generators]
        return torch.stack([draw(batch) for draw, batch in zip(draws, images, strict=True)])


@dataclass(frozen=True, kw_only=True)
class ShiftFlip(Augmentation):
    """Each image is shifted by whole pixels, up to an eighth of its side, repeating the pixels of its border."""

    flip: bool = True
    """Whether half of the images are mirrored left to right, too. Not for digits or letters."""

    @property
    def words(self) -> str:
        """The augmentation in words."""
        return "shifted and mirrored images" if self.flip else "shifted images"

    def draw(self, count: int, shape: tuple[int, ...], generator: torch.Generator) -> Draw:
        """Return one draw with its own shift for each image."""
        _, height, width = shape
        reach_y, reach_x = max(height // SHIFT_DIVISOR, 1), max(width // SHIFT_DIVISOR, 1)
        top = torch.randint(2 * reach_y + 1, (count,), generator=generator) - reach_y
        left = torch.randint(2 * reach_x + 1, (count,), generator=generator) - reach_x
        mirrored = torch.rand(count, generator=generator) < (0.5 if self.flip else 0.0)
        columns = torch.arange(width).expand(count, -1)
        columns = (torch.where(mirrored[:, None], columns.flip(1), columns) + left[:, None]).clamp(0, width - 1)
        rows = (torch.arange(height) + top[:, None]).clamp(0, height - 1)
        return Draw(changes=(lambda images: picked(images, rows, columns),), count=count)


def mirrored(images: Float[Tensor, "b c h w"], generator: torch.Generator) -> Float[Tensor, "b c h w"]:
    """Return images of which half, drawn at random, are mirrored left to right."""
    chosen = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(chosen.to(images.device)[:, None, None, None], images.flip(3), images)


def picked(
    images: Float[Tensor, "*some b c h w"], rows: Int64[Tensor, "k new_h"], columns: Int64[Tensor, "k new_w"]
) -> Float[Tensor, "*some b c new_h new_w"]:
    """Return images with these rows and columns of pixels; row k is for image k, or for all images if k = 1."""
    b, c = images.shape[-4:-2]
    rows, columns = rows.to(images.device), columns.to(images.device)
    if len(rows) == 1:
        return images[..., rows[0], :][..., columns[0]]
    each, channel = torch.arange(b, device=images.device), torch.arange(c, device=images.device)
    return images[
        ..., each[:, None, None, None], channel[:, None, None], rows[:, None, :, None], columns[:, None, None, :]
    ]
