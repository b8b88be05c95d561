"""Images of any kind as one uint8 tensor: decode, check, resize, convert, pad."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn.functional import interpolate, pad

from ..errors import UserError

Channels = Literal["keep", "grey", "colour"]

CHUNK = 256
"""Images decoded or resized at a time, so that float copies stay small."""

MAGIC = {b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG", b"RIFF": "WEBP"}
"""First bytes of the usual formats; without them PIL tries forty formats in turn, which costs more than decoding."""


def decode(items: Sequence[bytes | str | Image.Image], side: int | None, where: str) -> UInt8[Tensor, "n c h w"]:
    """Encoded images, paths of image files or PIL images as one tensor: grey if all are grey, else RGB.

    Args:
        items: the images. Palettes, alpha and other colour spaces become RGB; 16-bit grey is scaled to 8 bits.
        side: height and width to resize to; None keeps the size.
        where: names the images in an error, e.g. "split 'train'".

    Raises:
        UserError: an image cannot be read, or the sizes differ and `side` is None.
    """

    def piece(start: int) -> Tensor:
        chunk = enumerate(items[start : start + CHUNK], start)
        arrays = [_read(item, f"image {i} of {where}") for i, item in chunk]
        stacks = [np.stack(arrays)] if len({array.shape for array in arrays}) == 1 else [a[None] for a in arrays]
        return torch.cat(match([resize(_channels_first(stack), side) for stack in stacks]))

    if not len(items):
        raise UserError(f"{where} has no images")
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return torch.cat(match(list(pool.map(piece, range(0, len(items), CHUNK)))))


def from_array(images: np.ndarray | Tensor, side: int | None, where: str) -> UInt8[Tensor, "n c h w"]:
    """A copy of an array of images, as one tensor.

    Args:
        images: (n, h, w), (n, c, h, w) or (n, h, w, c) with 1 or 3 channels (channels first where both fit);
            integers in 0..255, or floats in [0, 1].
        side: height and width to resize to; None keeps the size.
        where: names the images in an error.

    Raises:
        UserError: another shape, kind or range of values.
    """
    array = _as_numpy(images)
    shape = tuple(array.shape)
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4 and shape[1] not in (1, 3) and shape[3] in (1, 3):
        array = array.transpose(0, 3, 1, 2)
    if array.ndim != 4 or array.shape[1] not in (1, 3):
        raise UserError(
            f"images of {where} have shape {shape}, but must be (n, h, w), (n, c, h, w) or (n, h, w, c) "
            "with 1 or 3 channels"
        )
    if array.size == 0:
        raise UserError(f"{where} has no images: shape {shape}")
    return resize(torch.tensor(_to_bytes(array, where)), side)


def resize(images: UInt8[Tensor, "n c h w"], side: int | None) -> UInt8[Tensor, "n c h2 w2"]:
    """Images of `side` x `side` pixels (bilinear, antialiased; the aspect ratio is not kept); None changes nothing."""
    if side is None or tuple(images.shape[2:]) == (side, side):
        return images
    pieces = []
    for piece in images.split(CHUNK):
        sized = interpolate(piece.float(), size=(side, side), mode="bilinear", antialias=True)
        pieces.append(sized.round_().clamp_(0, 255).to(torch.uint8))
    return torch.cat(pieces)


def padded(images: UInt8[Tensor, "n c h w"], margin: int) -> UInt8[Tensor, "n c h2 w2"]:
    """Images with `margin` black pixels on each side."""
    return pad(images, (margin,) * 4) if margin else images


def convert(images: UInt8[Tensor, "n c h w"], channels: Channels) -> UInt8[Tensor, "n d h w"]:
    """Grey images as ITU-R 601 luma, colour images by repeating the grey channel, or the images as they are."""
    if channels == "grey" and images.shape[1] == 3:
        return torch.cat([_luma(piece) for piece in images.split(CHUNK)])
    if channels == "colour" and images.shape[1] == 1:
        return images.repeat(1, 3, 1, 1)
    return images


def match(pieces: list[Tensor]) -> list[Tensor]:
    """Tensors of images with the same channels (grey becomes RGB where any piece is RGB).

    Raises:
        UserError: the sizes differ.
    """
    sizes = list(dict.fromkeys(tuple(piece.shape[2:]) for piece in pieces))
    if len(sizes) > 1:
        (h1, w1), (h2, w2) = sizes[:2]
        raise UserError(
            f"images have different sizes, e.g. {h1}x{w1} and {h2}x{w2} (height x width); "
            "set resize to one side in pixels, e.g. resize=32"
        )
    colour = any(piece.shape[1] == 3 for piece in pieces)
    return [convert(piece, "colour") for piece in pieces] if colour else pieces


def _read(item: bytes | str | Image.Image, what: str) -> np.ndarray:
    """One image as (h, w) or (h, w, 3) bytes."""
    try:
        if isinstance(item, str):
            item = Path(item).read_bytes()
        if isinstance(item, bytes):
            forms = [form for magic, form in MAGIC.items() if item.startswith(magic)]
            image = Image.open(BytesIO(item), formats=forms or None)
        else:
            image = item
        if "exif" in image.info:
            image = ImageOps.exif_transpose(image)
        return _eight_bits(image, what)
    except (OSError, SyntaxError, EOFError) as error:  # PIL raises a SyntaxError for a broken PNG
        reason = " ".join(str(error).split())
        raise UserError(f"{what} cannot be read: {reason}; mend it or leave it out") from error


def _eight_bits(image: Image.Image, what: str) -> np.ndarray:
    if image.mode.startswith("I"):  # 16 bits, which PIL would clip instead of scaling
        values = np.asarray(image).astype(np.int64)
        if values.min() >= 0 and values.max() <= 65535:
            return np.rint(values / 257).astype(np.uint8)
    if image.mode[0] in "IF":
        raise UserError(f"{what} has pixels of more than 16 bits (mode {image.mode!r}); save it with 8 or 16 bits")
    if image.mode in ("L", "1"):
        return np.asarray(image if image.mode == "L" else image.convert("L"))
    if "transparency" in image.info:  # straight to RGB, PIL warns about a palette with transparency
        image = image.convert("RGBA")
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))  # `convert` would copy


def _channels_first(stack: np.ndarray) -> UInt8[Tensor, "n c h w"]:
    return torch.tensor(stack[:, None] if stack.ndim == 3 else stack.transpose(0, 3, 1, 2))


def _as_numpy(images: np.ndarray | Tensor) -> np.ndarray:
    if not isinstance(images, Tensor):
        return np.asarray(images)
    images = images.detach().cpu()
    return (images.float() if images.is_floating_point() else images).numpy()  # NumPy knows no bfloat16


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
