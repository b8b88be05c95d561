"""Checks, crops, resizes, converts and pads images as uint8 tensors."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.nn.functional import interpolate, pad

from ..errors import UserError

Channels = Literal["keep", "grey", "colour"]

Fit = Literal["stretch", "crop", "pad"]

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


def from_array(images: object, where: str, reading: Reading | None = None) -> UInt8[Tensor, "n c h w"]:
    """Copy an array of images into one tensor.

    Args:
        images: (n, h, w), (n, c, h, w) or (n, h, w, c); integers in 0..255, or floats in [0, 1]. An array, a tensor,
            or a list of arrays of one shape. Where channels are is found as `_channels_are_last` says.
        where: what to call the images in an error, e.g. "split 'train'".
        reading: the size of the result; None keeps the size.

    Raises:
        UserError: the images have another shape, type or range of values.
    """
    array, reading = _as_numpy(images, where), reading or Reading()
    shape = tuple(array.shape)
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4 and _channels_are_last(shape):
        array = array.transpose(0, 3, 1, 2)
    if array.ndim != 4:
        raise UserError(f"images of {where} have shape {shape}, but must be (n, h, w), (n, c, h, w) or (n, h, w, c)")
    if array.size == 0:
        raise UserError(f"{where} has no images: shape {shape}")
    try:
        copied = torch.from_numpy(np.array(_to_bytes(array, where), order="C"))  # torch has no negative strides
    except MemoryError as error:
        raise UserError(
            f"images of {where} take {array.size / 2**30:.3g} GiB of memory, which this machine does not give; make "
            "them smaller first, or give a folder of images with resize"
        ) from error
    return resize(copied, reading.side, reading.fit)


def _channels_are_last(shape: tuple[int, ...]) -> bool:
    """Whether images of this shape are (n, h, w, c), and not (n, c, h, w).

    What decides, in this order: one of the two has 1 or 3 channels; one of the two is square; one has fewer channels.
    Channels are first if all this does not decide.
    """
    first, last = shape[1], shape[3]
    if first in (1, 3) or last in (1, 3):
        return first not in (1, 3)
    if (shape[2] == last) != (first == shape[2]):
        return first == shape[2]
    return last < first


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


def must_be_converted(images: UInt8[Tensor, "n c h w"], channels: Channels) -> None:
    """Raise a `UserError` if images that are neither grey nor colour are to be converted."""
    if channels != "keep" and images.shape[1] not in (1, 3):
        raise UserError(
            f"channels is {channels!r}, but the images have {images.shape[1]} channels, and only images with 1 (grey) "
            "or 3 (colour) can be converted; leave out --data.channels"
        )


def match(pieces: list[Tensor]) -> list[Tensor]:
    """Give all pieces equal channels: if one piece is RGB, convert grey ones to RGB.

    Raises:
        UserError: the sizes or the numbers of channels differ.
    """
    sizes = list(dict.fromkeys(tuple(piece.shape[2:]) for piece in pieces))
    if len(sizes) > 1:
        (h1, w1), (h2, w2) = sizes[:2]
        raise UserError(
            f"images have different sizes, e.g. {h1}x{w1} and {h2}x{w2} (height x width); "
            "set resize to one side in pixels, e.g. resize=32"
        )
    if any(piece.shape[1] == 3 for piece in pieces):
        pieces = [convert(piece, "colour") for piece in pieces]
    channels = sorted({piece.shape[1] for piece in pieces})
    if len(channels) > 1:
        raise UserError(f"some images have {channels[0]} channels, others {channels[1]}; give all images equal ones")
    return pieces


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


def _as_numpy(images: object, where: str) -> np.ndarray:
    try:
        if not isinstance(images, Tensor):
            return np.asarray(images)
        images = images.detach().cpu()
        return (images.float() if images.is_floating_point() else images).numpy()  # NumPy has no bfloat16
    except (ValueError, TypeError, RuntimeError, NotImplementedError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"images of {where} are no array of numbers ({reason}); give one array (n, h, w, c)") from error


def _to_bytes(array: np.ndarray, where: str) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind == "f":
        levels, unit = np.rint(array * array.dtype.type(255)), "floats must be in [0, 1] (before any normalisation)"
    elif array.dtype.kind in "iu":
        levels, unit = array, "integers must be in 0..255"
    else:
        raise UserError(f"images of {where} are {array.dtype}, but must be uint8, or floats in [0, 1]")
    if not (levels.min() >= 0 and levels.max() <= 255):  # false for NaN too
        raise UserError(f"images of {where} have values from {array.min():g} to {array.max():g}, but {unit}")
    return levels.astype(np.uint8)


def _luma(images: UInt8[Tensor, "n 3 h w"]) -> UInt8[Tensor, "n 1 h w"]:
    red, green, blue = images.to(torch.int32).unbind(1)
    # 0.299, 0.587 and 0.114 of 2^16, rounded to nearest: bit for bit what PIL's convert("L") gives
    return ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16).to(torch.uint8)[:, None]
