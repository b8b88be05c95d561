"""Crops, resizes, converts and pads images as uint8 tensors."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.nn.functional import interpolate, pad

from ..errors import UserError
from .on_disk import OnDisk

Channels = Literal["keep", "grey", "colour"]

Fit = Literal["stretch", "crop", "pad"]

Store = Literal["auto", "memory", "disk"]

TIE = 1e-6
"""Grey levels added before rounding: a value halfway between two levels is then rounded up on every processor."""
BYTES_AT_ONCE = 2**24
"""How many bytes of pixels are resized or converted at once; as doubles they take eight times this memory."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How images are resized while they are read, and where images, labels and splits are."""

    side: int | None = None
    """Height and width of the result in pixels; None keeps the size."""
    fit: Fit = "stretch"
    """How an image that is not square is resized to a square."""
    skip_unreadable: bool = False
    """Leave out images that cannot be read, instead of raising an error."""
    image: str = ""
    """Column of a table with the images or sentences; empty: it is found."""
    label: str = ""
    """Column of a table with the labels; empty: it is found."""
    categories: tuple[str, ...] = ()
    """Columns of a table that hold categories."""
    splits: tuple[str, str, str] = ("", "", "")
    """Names of the splits for train, validation and test; each empty one is found."""
    store: Store = "auto"
    """Whether the pixels are in memory or in a file that is memory-mapped; see `DataSettings.store`."""


def resize(images: UInt8[Tensor, "n c h w"], side: int | None, fit: Fit = "stretch") -> UInt8[Tensor, "n c h2 w2"]:
    """Resize images to `side` x `side` pixels (bilinear, antialiased); with None, return them unchanged.

    Args:
        images: the images.
        side: height and width in pixels.
        fit: `stretch` changes the aspect ratio, `crop` takes the square in the middle, `pad` adds black borders.
    """
    if side is None or tuple(images.shape[2:]) == (side, side):
        return images
    images = _square(images, fit)
    pieces = []
    for piece in _pieces(images):
        sized = interpolate(piece.double(), size=(side, side), mode="bilinear", antialias=True)
        pieces.append((sized + TIE).round_().clamp_(0, 255).to(torch.uint8))
    return torch.cat(pieces)


def padded(images: UInt8[Tensor, "n c h w"], margin: int) -> UInt8[Tensor, "n c h2 w2"]:
    """Add `margin` black pixels on each side of the images."""
    return pad(images, (margin,) * 4) if margin else images


def convert(images: UInt8[Tensor, "n c h w"], channels: Channels) -> UInt8[Tensor, "n d h w"]:
    """Convert images to grey (ITU-R 601 luma) or to colour (repeat the grey channel); ``keep`` changes nothing."""
    if channels == "grey" and images.shape[1] == 3:
        return torch.cat([_luma(piece) for piece in _pieces(images)])
    if channels == "colour" and images.shape[1] == 1:
        return images.repeat(1, 3, 1, 1)
    return images


def must_be_converted(images: UInt8[Tensor, "n c h w"] | OnDisk, channels: Channels) -> None:
    """Raise a `UserError` if images that are neither grey nor colour are to be converted."""
    if channels != "keep" and images.shape[1] not in (1, 3):
        raise UserError(
            f"channels is {channels!r}, but the images have {images.shape[1]} channels, and only images with 1 (grey) "
            "or 3 (colour) can be converted; leave channels out"
        )


def match(pieces: list[Tensor]) -> list[Tensor]:
    """Give all pieces equal channels: if one piece is RGB, convert grey ones to RGB.

    Raises:
        UserError: the sizes or the numbers of channels differ.
    """
    channels = common_channels(pieces)
    return [convert(piece, channels) for piece in pieces]


def common_channels(pieces: Sequence[Tensor | OnDisk]) -> Channels:
    """Return the conversion that gives all pieces equal channels: to colour, if one of them is RGB.

    Raises:
        UserError: the sizes or the numbers of channels differ.
    """
    sizes = list(dict.fromkeys(tuple(piece.shape[2:]) for piece in pieces))
    if len(sizes) > 1:
        (h1, w1), (h2, w2) = sizes[:2]
        raise UserError(
            f"images have different sizes, e.g. {h1}x{w1} and {h2}x{w2} (height x width); give them one size, or set "
            "resize of the real data to one side in pixels, such as 32"
        )
    colour = any(piece.shape[1] == 3 for piece in pieces)
    channels = sorted({3 if colour and piece.shape[1] == 1 else piece.shape[1] for piece in pieces})
    if len(channels) > 1:
        raise UserError(f"some images have {channels[0]} channels, others {channels[1]}; give all images equal ones")
    return "colour" if colour else "keep"


def _square(images: Tensor, fit: Fit) -> Tensor:
    height, width = images.shape[2:]
    if fit == "crop":
        short = min(height, width)
        top, left = (height - short) // 2, (width - short) // 2
        return images[:, :, top : top + short, left : left + short]
    if fit == "pad":
        rows, columns = max(width - height, 0), max(height - width, 0)
        return pad(images, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
    return images


def _pieces(images: Tensor) -> tuple[Tensor, ...]:
    """Split images into pieces of at most `BYTES_AT_ONCE` bytes, so that copies as floats stay small."""
    return images.split(max(BYTES_AT_ONCE // images[0].numel(), 1))


def _luma(images: UInt8[Tensor, "n 3 h w"]) -> UInt8[Tensor, "n 1 h w"]:
    red, green, blue = images.to(torch.int32).unbind(1)
    # 0.299, 0.587 and 0.114 of 2^16, rounded to nearest: bit for bit what PIL's convert("L") gives
    return ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16).to(torch.uint8)[:, None]
