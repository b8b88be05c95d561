"""Reads encoded images and image files into one uint8 tensor or file, with limited memory.

Only formats in `FORMATS` are opened, whatever the name of a file, and only images of at most `MAX_PIXELS` pixels. If
images are resized, an image above `SHRINK_ABOVE` pixels is made smaller as soon as it is read. Only one image above
`ALONE_ABOVE` pixels is open at a time. In addition to its result, reading takes at most ten bytes for each pixel of the
largest image, and 200 MiB in each of at most eight threads.
"""

import contextlib
import math
import os
import stat
import threading
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from io import BufferedIOBase, BytesIO
from pathlib import Path
from typing import IO, cast

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from ..errors import UserError
from ..runlog import say
from .images import BYTES_AT_ONCE, Reading, match, resize
from .labels import shown
from .pixel_cache import Decoded, Piece, belongs_on_disk, from_cache, key_of

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
"""The formats that are opened, recognised by their content. Only the first frame of an animation is read."""

IMAGE_SUFFIXES = frozenset(
    ["png", "jpg", "jpeg", "jpe", "jfif", "webp", "gif", "bmp", "dib", "tif", "tiff", "ppm", "pgm", "pbm", "pnm"]
)
"""Suffixes of image files in a folder, in upper or lower case."""

MAX_PIXELS = 89_478_485
"""Largest number of pixels of an image: PIL warns of decompression bombs above this number."""

ALONE_ABOVE = 2**24
"""An image with more pixels is read alone."""

SHRINK_ABOVE = 2**20
"""An image with more pixels must be resized, and is made smaller before it is resized exactly."""

SHRINK_MARGIN = 4
"""Making an image smaller keeps its sides at least this many times longer than the final side."""

IMAGES_PER_TASK = 256
"""How many images a thread reads in one task."""

SMALL_BYTES = 2**14
"""Length of an encoded image in bytes below which several threads make reading slower (a PNG of 32x32 pixels takes
165 microseconds of processor time in two threads, 127 in one)."""

MAX_LISTED = 10
"""Largest number of unreadable images that a message lists."""

Items = Sequence[bytes | str | Image.Image]
"""Bytes of image files, paths, or PIL images."""

_alone = threading.Lock()


@dataclass(kw_only=True, eq=False)
class _Piece:
    """The images that one task has read."""

    done: int
    images: list[Tensor] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)


def decode(items: Items, where: str, reading: Reading | None = None) -> Decoded:
    """Read encoded images, image files or PIL images into one tensor, or into a file if they belong on disk.

    Args:
        items: bytes of image files, paths, or PIL images. Palettes, alpha and other colour spaces become RGB; 16-bit
            grey is scaled to 8 bits.
        where: what to call the images in an error, e.g. "split 'train'"; an image file is named by its path.
        reading: the size of the result, and whether to skip unreadable images.

    Raises:
        UserError: images cannot be read (the error counts them all and lists the first ten), or sizes differ and no
            resizing was asked for.
    """
    if not len(items):
        raise UserError(f"{where} has no images")
    reading, count = reading or Reading(), len(items)
    each = _bytes_of(items, reading)
    if each and belongs_on_disk(reading, count, each):
        key = key_of(reading, count, map(_mark, _each(items)))
        return from_cache(where, key, count, each, partial(_pieces, items, where, reading))
    pieces = list(_pieces(items, where, reading))
    kept = np.array([i for piece in pieces for i in piece.kept], dtype=np.int64)
    return Decoded(images=torch.cat(match([piece.images for piece in pieces if piece.images is not None])), kept=kept)


def _bytes_of(items: Items, reading: Reading) -> int:
    """Return the bytes of the pixels of the first image, as it is kept; 0 if it cannot be read."""
    try:
        shape = _read(items[0], reading.side).shape
    except Exception:  # reading all images says what is wrong, or skips it
        return 0
    pixels = math.prod(shape[:2]) if reading.side is None else reading.side**2
    return pixels * math.prod(shape[2:])


def _each(items: Items) -> Iterator[bytes | str | Image.Image]:
    for start in range(0, len(items), IMAGES_PER_TASK):
        yield from items[start : start + IMAGES_PER_TASK]


def _mark(item: bytes | str | Image.Image) -> bytes:
    """Return what distinguishes an image from others: its contents, or path, size and time of a file."""
    if isinstance(item, bytes):
        return len(item).to_bytes(8) + item
    if isinstance(item, Image.Image):
        return repr((item.mode, item.size)).encode() + item.tobytes()
    with contextlib.suppress(OSError):
        found = Path(item).stat()
        return repr((item, found.st_size, found.st_mtime_ns)).encode()
    return item.encode("utf-8", "surrogateescape")


def _pieces(items: Items, where: str, reading: Reading) -> Iterator[Piece]:
    """Read all images in order; at the end, raise a `UserError` or say so if some cannot be read."""
    threads, unreadable = _threads(items), []
    with warnings.catch_warnings(), ThreadPoolExecutor(threads) as pool:
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        waiting: deque[Future[_Piece]] = deque()
        for start in (*range(0, len(items), IMAGES_PER_TASK), *[None] * threads):
            if start is not None:
                waiting.append(pool.submit(_read_piece, items, start, reading, where))
            if waiting and (len(waiting) > threads or start is None):
                piece = waiting.popleft().result()
                unreadable += piece.unreadable
                yield Piece(images=piece.images[0] if piece.images else None, done=piece.done, kept=piece.kept)
    _report_unreadable(unreadable, len(items), where, reading)


def _threads(items: Items) -> int:
    """One thread for small encoded images: Python's lock is then held most of the time, and waiting for it costs."""
    small = all(isinstance(item, bytes) and len(item) < SMALL_BYTES for item in items[:IMAGES_PER_TASK])
    return 1 if small else min(8, os.cpu_count() or 1)


def _read_piece(items: Items, start: int, reading: Reading, where: str) -> _Piece:
    some = items[start : start + IMAGES_PER_TASK]
    piece, batch, held = _Piece(done=start + len(some)), [], 0
    for i, item in enumerate(some, start):
        name = shown(item) if isinstance(item, str) else f"image {i} of {where}"
        try:
            batch.append(_read(item, reading.side))
        except UserError as error:
            raise UserError(f"{name} {error}") from error
        except Exception as error:  # PIL's readers raise errors of any kind
            piece.unreadable.append(f"{name} ({_reason(error)})")
            continue
        piece.kept.append(i)
        held += batch[-1].nbytes
        if held > BYTES_AT_ONCE:
            piece.images += _resized(batch, reading)
            batch, held = [], 0
    piece.images += _resized(batch, reading)
    piece.images = [torch.cat(match(piece.images))] if piece.images else []
    return piece


def _resized(batch: list[np.ndarray], reading: Reading) -> list[Tensor]:
    alike = len({array.shape for array in batch}) == 1
    stacks = [np.stack(batch)] if alike else [array[None] for array in batch]
    return [resize(_channels_first(stack), reading.side, reading.fit) for stack in stacks]


def _report_unreadable(lines: list[str], total: int, where: str, reading: Reading) -> None:
    """Raise a `UserError` that lists the unreadable images, or print which images are skipped."""
    if not lines:
        return
    more = f" and {len(lines) - MAX_LISTED} more" if len(lines) > MAX_LISTED else ""
    listed = f"{len(lines)} of {total} images of {where} cannot be read: {', '.join(lines[:MAX_LISTED])}{more}"
    if not reading.skip_unreadable:
        raise UserError(f"{listed}; mend or remove them, or set skip_unreadable of the real data")
    if len(lines) == total:
        raise UserError(f"{listed}; there is no image left")
    say(f"skipped: {listed}")


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return f"not one of the formats {', '.join(FORMATS)}"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"more than the {MAX_PIXELS / 1e6:.0f} million pixels that are allowed"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def _read(item: bytes | str | Image.Image, side: int | None) -> np.ndarray:
    """Read one image as (h, w) or (h, w, 3) bytes; make it smaller if it is large and `side` is given."""
    if isinstance(item, Image.Image):
        return _pixels(item, side)
    with _opened(item) as file:
        image = Image.open(cast(IO[bytes], file), formats=_formats())
        large = image.width * image.height > SHRINK_ABOVE
        if large and side is None:
            raise UserError(
                f"has {image.width}x{image.height} pixels, too many to keep; set resize to one side in pixels, "
                "such as 32"
            )
        if large and side is not None:
            least = SHRINK_MARGIN * side
            image.draft(None, (least, least))  # a JPEG is decoded at 1/2, 1/4 or 1/8 of its size
        with _alone if image.width * image.height > ALONE_ABOVE else nullcontext():
            return _pixels(image, side)


def _opened(item: bytes | str) -> BufferedIOBase:
    if isinstance(item, bytes):
        if not item:
            raise ValueError("empty")
        return BytesIO(item)
    path = Path(item)
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):  # opening a pipe would wait for ever
        raise ValueError("not a file")
    if not found.st_size:
        raise ValueError("empty")
    return path.open("rb")


def _formats() -> list[str]:
    """Return the `FORMATS` that the installed PIL can open."""
    Image.init()
    return [form for form in FORMATS if form in Image.OPEN]


def _pixels(image: Image.Image, side: int | None) -> np.ndarray:
    if "exif" in image.info:
        image = ImageOps.exif_transpose(image)
    pixels = _eight_bits(image)
    height, width = pixels.shape[:2]
    factor = min(height, width) // (SHRINK_MARGIN * side) if side and height * width > SHRINK_ABOVE else 1
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
    if "transparency" in image.info:  # without this step, PIL warns about a palette with transparency
        image = image.convert("RGBA")
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))  # `convert` would copy an RGB image


def _channels_first(stack: np.ndarray) -> Tensor:
    return torch.tensor(stack[:, None] if stack.ndim == 3 else stack.transpose(0, 3, 1, 2))
