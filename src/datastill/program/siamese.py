"""Differentiable siamese augmentation (Zhao and Bilen 2021, arXiv 2102.08259, section 3 and appendix).

Siamese: one draw serves a batch of real images and a batch of synthetic ones, so that both are changed alike. Every
change is differentiable with respect to the images. Images may be normalised: what leaves the frame becomes 0.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from ..storage.records import list_of, must_have_types, one_of
from .augmentation import Augmentation, Change, Draw, picked

ALL: tuple[str, ...] = ("colour", "crop", "cutout", "flip", "scale", "rotate")
"""All operations, in the order in which they are applied if all are."""
LARGEST_SHIFT = 0.125
"""Largest shift of ``crop``, as a share of the side."""
HOLE = 0.5
"""Side of the hole of ``cutout``, as a share of the side of the image."""
LARGEST_SCALE = 1.2
"""``scale`` divides each side by a factor from 1 / 1.2 to 1.2."""
LARGEST_ANGLE = 15.0
"""Largest rotation, in degrees."""

Numbers = Float[Tensor, "k 1 1 1"]
"""One number per image, or one for all images (k = 1)."""


@dataclass(frozen=True, kw_only=True)
class Siamese(Augmentation):
    """Colour, crop, cutout, flip, scale and rotation, with the ranges of the paper."""

    operations: Annotated[tuple[str, ...], list_of(one_of(*ALL), 1, len(ALL))] = ALL
    """The operations to draw from. Leave ``flip`` out for digits and letters."""
    one: bool = True
    """Whether one of the operations is drawn for each batch, as in the paper; otherwise all of them are applied."""
    shared: bool = True
    """Whether all images of a batch get equal numbers, which a siamese use needs. Otherwise each image gets its own,
    which makes more different images of few: for training on a finished set."""

    def __post_init__(self) -> None:
        must_have_types(self)

    @property
    def words(self) -> str:
        """The augmentation in words."""
        which = "one of " if self.one and len(self.operations) > 1 else ""
        whose = "" if self.shared else ", with its own numbers for each image"
        return f"siamese augmentation ({which}{', '.join(self.operations)}{whose})"

    def draw(self, count: int, shape: tuple[int, ...], generator: torch.Generator) -> Draw:
        """Return one draw: for batches of any size if it is shared, otherwise for `count` images."""
        names = self.operations
        if self.one:
            names = (names[int(torch.randint(len(names), (), generator=generator))],)
        numbers = 1 if self.shared else count

        def uniform(low: int | float, high: int | float) -> Numbers:
            return low + (high - low) * torch.rand(numbers, 1, 1, 1, generator=generator, dtype=torch.float64)

        changes = [change for name in names for change in DRAWN[name](uniform, shape)]
        return Draw(changes=tuple(changes), count=None if self.shared else count)


Uniform = Callable[[int | float, int | float], Numbers]


def _colour(uniform: Uniform, _: tuple[int, ...]) -> list[Change]:
    return [
        partial(brightness, amount=uniform(-0.5, 0.5)),
        partial(saturation, factor=uniform(0, 2)),
        partial(contrast, factor=uniform(0.5, 1.5)),
    ]


def _crop(uniform: Uniform, shape: tuple[int, ...]) -> list[Change]:
    reach = [int(LARGEST_SHIFT * side + 0.5) for side in shape[1:]]
    down, right = (uniform(-most, most + 1).floor().long().clamp(max=most) for most in reach)
    return [partial(crop, down=down, right=right)]


def _cutout(uniform: Uniform, shape: tuple[int, ...]) -> list[Change]:
    row, column = (uniform(0, side).floor().long() for side in shape[1:])
    return [partial(cutout, row=row, column=column)]


def _flip(uniform: Uniform, _: tuple[int, ...]) -> list[Change]:
    return [partial(flip, mirrored=uniform(0, 1) < 0.5)]


def _scale(uniform: Uniform, _: tuple[int, ...]) -> list[Change]:
    low, high = 1 / LARGEST_SCALE, LARGEST_SCALE
    return [partial(scale, vertical=uniform(low, high), horizontal=uniform(low, high))]


def _rotate(uniform: Uniform, _: tuple[int, ...]) -> list[Change]:
    return [partial(rotate, degrees=uniform(-LARGEST_ANGLE, LARGEST_ANGLE))]


DRAWN: Mapping[str, Callable[[Uniform, tuple[int, ...]], list[Change]]] = {
    "colour": _colour,
    "crop": _crop,
    "cutout": _cutout,
    "flip": _flip,
    "scale": _scale,
    "rotate": _rotate,
}
"""The draw of the numbers of each operation."""

Images = Float[Tensor, "*some b c h w"]


def brightness(images: Images, amount: Numbers) -> Images:
    """Add a number to every pixel."""
    return images + amount.to(images)


def saturation(images: Images, factor: Numbers) -> Images:
    """Multiply the distance of each pixel from the mean of its channels; grey images stay unchanged."""
    mean = images.mean(-3, keepdim=True)
    return (images - mean) * factor.to(images) + mean


def contrast(images: Images, factor: Numbers) -> Images:
    """Multiply the distance of each value from the mean of its image."""
    mean = images.mean((-3, -2, -1), keepdim=True)
    return (images - mean) * factor.to(images) + mean


def crop(images: Images, down: Int64[Tensor, "k 1 1 1"], right: Int64[Tensor, "k 1 1 1"]) -> Images:
    """Move the frame by whole pixels; pixels from outside of the image are 0."""
    height, width = images.shape[-2:]
    rows, columns = torch.arange(height) + down[:, :, 0, 0], torch.arange(width) + right[:, :, 0, 0]
    moved = picked(images, rows.clamp(0, height - 1), columns.clamp(0, width - 1))
    return moved * _frame(rows == rows.clamp(0, height - 1), columns == columns.clamp(0, width - 1)).to(images)


def cutout(images: Images, row: Int64[Tensor, "k 1 1 1"], column: Int64[Tensor, "k 1 1 1"]) -> Images:
    """Set a rectangle of half the height and width to 0, with its centre at a pixel; it may reach over the border."""
    height, width = images.shape[-2:]
    rows, columns = _within(height, row[:, :, 0, 0]), _within(width, column[:, :, 0, 0])
    return images * (1 - _frame(rows, columns).to(images))


def _within(side: int, centre: Int64[Tensor, "k 1"]) -> Bool[Tensor, "k side"]:
    first, length = centre - int(HOLE * side) // 2, int(HOLE * side)
    place = torch.arange(side)
    return (place >= first) & (place < first + length)


def _frame(rows: Bool[Tensor, "k h"], columns: Bool[Tensor, "k w"]) -> Bool[Tensor, "k 1 h w"]:
    return rows[:, None, :, None] & columns[:, None, None, :]


def flip(images: Images, mirrored: Bool[Tensor, "k 1 1 1"]) -> Images:
    """Mirror images left to right where `mirrored` is True."""
    return torch.where(mirrored.to(images.device), images.flip(-1), images)


def scale(images: Images, vertical: Numbers, horizontal: Numbers) -> Images:
    """Divide the height and width of the image content by a factor, about the centre; with bilinear interpolation."""
    zero = torch.zeros_like(vertical)
    return _affine(images, [horizontal, zero, zero, vertical])


def rotate(images: Images, degrees: Numbers) -> Images:
    """Rotate images about the centre, with bilinear interpolation; what comes from outside is 0."""
    angle, (height, width) = degrees * (math.pi / 180), images.shape[-2:]
    sine, cosine = angle.sin(), angle.cos()
    return _affine(images, [cosine, -sine * (height / width), sine * (width / height), cosine])


def _affine(images: Images, matrix: list[Numbers]) -> Images:
    """Return images whose value at p is the image's value at M p, with p in [-1, 1] in both directions."""
    flat = images.flatten(0, -4)
    rows = torch.cat([each[:, 0, 0] for each in matrix], 1).to(images).view(-1, 2, 2)
    with_shift = torch.cat([rows, torch.zeros_like(rows[:, :, :1])], 2)
    each = with_shift.expand(images.shape[-4], -1, -1).repeat(len(flat) // images.shape[-4], 1, 1)
    grid = affine_grid(each, list(flat.shape), align_corners=False)
    return grid_sample(flat, grid, mode="bilinear", padding_mode="zeros", align_corners=False).view(images.shape)
