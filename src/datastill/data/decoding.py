"""Encoded images and image files as one uint8 tensor, read one by one within a bound of memory.

Only the formats in `FORMATS` are opened, whatever a file is called, and no image of more than `LARGEST` pixels. An
image above `LARGE` pixels that is to be resized is made smaller at once, and of the images above `HUGE` pixels only one
is open at a time: beside the result, reading takes at most ten bytes for each pixel of the largest image, and 200 MiB
in each of at most eight threads.
"""

import os
import stat
import threading
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from io import BufferedIOBase, BytesIO
from pathlib import Path
from typing import IO, cast

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from ..errors import UserError
from ..runlog import say
from .images import BATCH, Reading, match, resize
from .labels import shown

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
"""The formats that are opened, by content; of an animation, the first frame."""

SUFFIXES = frozenset(
    ["png", "jpg", "jpeg", "jpe", "jfif", "webp", "gif", "bmp", "dib", "tif", "tiff", "ppm", "pgm", "pbm", "pnm"]
)
"""Ends of the names of image files in a folder, in any case."""

LARGEST = 89_478_485
"""Pixels of the largest image that is read: where PIL begins to warn of decompression bombs."""

HUGE = 2**24
"""Pixels of an image above which it is read alone."""

LARGE = 2**20
"""Pixels of an image above which it must be resized, and is made smaller before it is resized exactly."""

MARGIN = 4
"""Such an image keeps at least this many times the pixels of a side that are wanted."""

CHUNK = 256
"""Images that one thread reads at a time."""

LISTED = 10
"""Unreadable images that a message lists."""

_alone = threading.Lock()


@dataclass(frozen=True, kw_only=True, eq=False)
class Decoded:
    """Images that were read."""

    images: Tensor
    """(n, c, h, w) bytes: grey if all are grey, else RGB."""
    kept: np.ndarray
    """Where each of them was among the items: ascending, and with gaps where unreadable ones were skipped."""


@dataclass(kw_only=True, eq=False)
class _Piece:
    """What one thread has read."""

    images: list[Tensor] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)


def decode(items: Sequence[bytes | str | Image.Image], where: str, reading: Reading | None = None) -> Decoded:
    """Encoded images, paths of image files or PIL images as one tensor.

    Args:
        items: the images. Palettes, alpha and other colour spaces become RGB; 16-bit grey is scaled to 8 bits.
        where: names the images in an error, e.g. "split 'train'"; an image file is named by its path.
        reading: the size to give them, and whether to skip what cannot be read.

    Raises:
        UserError: images cannot be read (all of them are counted, the first ten listed), or the sizes differ and are
            kept.
    """
    if not len(items):
        raise UserError(f"{where} has no images")
    reading = reading or Reading()
    with warnings.catch_warnings(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        starts = range(0, len(items), CHUNK)
        pieces = list(pool.map(lambda start: _read_piece(items, start, reading, where), starts))
    _tell_unreadable([line for piece in pieces for line in piece.unreadable], len(items), where, reading)
    kept = np.array([i for piece in pieces for i in piece.kept], dtype=np.int64)
    return Decoded(images=torch.cat(match([images for piece in pieces for images in piece.images])), kept=kept)


def _read_piece(items: Sequence[bytes | str | Image.Image], start: int, reading: Reading, where: str) -> _Piece:
    piece, batch = _Piece(), []
    for i in range(start, min(start + CHUNK, len(items))):
        item = items[i]
        name = shown(item) if isinstance(item, str) else f"image {i} of {where}"
        try:
            batch.append(_read(item, reading.side))
        except UserError as error:
            raise UserError(f"{name} {error}") from error
        except Exception as error:  # PIL's readers raise whatever their parsing runs into
            piece.unreadable.append(f"{name} ({_reason(error)})")
            continue
        piece.kept.append(i)
        if sum(array.nbytes for array in batch) > BATCH:
            piece.images += _resized(batch, reading)
            batch = []
    piece.images += _resized(batch, reading)
    piece.images = [torch.cat(match(piece.images))] if piece.images else []
    return piece


def _resized(batch: list[np.ndarray], reading: Reading) -> list[Tensor]:
    alike = len({array.shape for array in batch}) == 1
    stacks = [np.stack(batch)] if alike else [array[None] for array in batch]
    return [resize(_channels_first(stack), reading.side, reading.fit) for stack in stacks]


def _tell_unreadable(lines: list[str], total: int, where: str, reading: Reading) -> None:
    """Raise a `UserError` that lists the unreadable images, or say what is skipped."""
    if not lines:
        return
    more = f" and {len(lines) - LISTED} more" if len(lines) > LISTED else ""
    listed = f"{len(lines)} of {total} images of {where} cannot be read: {', '.join(lines[:LISTED])}{more}"
    if not reading.skip_unreadable:
        raise UserError(
            f"{listed}; mend or remove them, or skip them with --data.skip-unreadable (skip_unreadable=True)"
        )
    if len(lines) == total:
        raise UserError(f"{listed}; there is no image left")
    say(f"skipped: {listed}")


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return f"not one of the formats {', '.join(FORMATS)}"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"more than the {LARGEST / 1e6:.0f} million pixels that are allowed"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def _read(item: bytes | str | Image.Image, side: int | None) -> np.ndarray:
    """One image as (h, w) or (h, w, 3) bytes; a large one that is to be resized is made smaller."""
    if isinstance(item, Image.Image):
        return _pixels(item, side)
    with _opened(item) as file:
        image = Image.open(cast(IO[bytes], file), formats=_formats())
        large = image.width * image.height > LARGE
        if large and side is None:
            raise UserError(
                f"has {image.width}x{image.height} pixels, too many to keep; set resize to one side in pixels, e.g. "
                "resize=32"
            )
        if large and side is not None:
            image.draft(None, (MARGIN * side, MARGIN * side))  # a JPEG is decoded at 1/2, 1/4 or 1/8 of its size
        with _alone if image.width * image.height > HUGE else nullcontext():
            return _pixels(image, side)


def _opened(item: bytes | str) -> BufferedIOBase:
    if isinstance(item, bytes):
        if not item:
            raise ValueError("empty")
        return BytesIO(item)
    path = Path(item)
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):  # to open a pipe would wait for ever
        raise ValueError("not a file")
    if not found.st_size:
        raise ValueError("empty")
    return path.open("rb")


def _formats() -> list[str]:
    """Those of `FORMATS` that the installed PIL was built with."""
    Image.init()
    return [form for form in FORMATS if form in Image.OPEN]


def _pixels(image: Image.Image, side: int | None) -> np.ndarray:
    if "exif" in image.info:
        image = ImageOps.exif_transpose(image)
    pixels = _eight_bits(image)
    height, width = pixels.shape[:2]
    factor = min(height, width) // (MARGIN * side) if side and height * width > LARGE else 1
    if factor > 1:
        size = (round(width / factor), round(height / factor))
        return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))
    return pixels


def _eight_bits(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I"):  # 16 bits, which PIL would clip instead of scaling
        values = np.asarray(image)
        if values.min() >= 0 and values.max() <= 65535:
            return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if image.mode[0] in "IF":
        raise ValueError(f"pixels of more than 16 bits, mode {image.mode!r}: save it with 8 or 16 bits")
    if image.mode in ("L", "1"):
        return np.asarray(image if image.mode == "L" else image.convert("L"))
    if "transparency" in image.info:  # straight to RGB, PIL warns about a palette with transparency
        image = image.convert("RGBA")
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))  # `convert` would copy


def _channels_first(stack: np.ndarray) -> Tensor:
    return torch.tensor(stack[:, None] if stack.ndim == 3 else stack.transpose(0, 3, 1, 2))
