"""Reads arrays of images, in memory or from a file that they are mapped from."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from ..errors import UserError
from .images import BYTES_AT_ONCE, Reading, resize
from .on_disk import OnDisk, let_go
from .pixel_cache import Piece, belongs_on_disk, from_cache, key_of


def from_array(images: object, where: str, reading: Reading | None = None) -> UInt8[Tensor, "n c h w"] | OnDisk:
    """Copy an array of images into one tensor, or into a file if they belong on disk.

    Args:
        images: (n, h, w), (n, c, h, w) or (n, h, w, c); integers in 0..255, or floats in [0, 1]. An array, a tensor,
            or a list of arrays of one shape. Where channels are is found as `_channels_are_last` says.
        where: what to call the images in an error, e.g. "split 'train'".
        reading: the size of the result; None keeps the size.

    Raises:
        UserError: the images have another shape, type or range of values.
    """
    array, reading = _channels_first(images, where), reading or Reading()
    each = array[0].size if reading.side is None else array.shape[1] * reading.side**2
    if array.dtype.kind not in "fiu" or not belongs_on_disk(reading, len(array), each):
        return _copied(array, where, reading)
    with _enough_memory(array, where):
        key, pieces = key_of(reading, len(array), _contents(array)), partial(_pieces, array, where, reading)
        return from_cache(where, key, len(array), each, pieces).images


def tensor_of(images: object, where: str, reading: Reading) -> UInt8[Tensor, "n c h w"]:
    """Copy an array of images into one tensor in memory; see `from_array`."""
    return _copied(_channels_first(images, where), where, reading)


def _copied(array: np.ndarray, where: str, reading: Reading) -> UInt8[Tensor, "n c h w"]:
    with _enough_memory(array, where):
        copied = torch.from_numpy(np.array(_to_bytes(array, where), order="C"))  # torch has no negative strides
    return resize(copied, reading.side, reading.fit)


@contextmanager
def _enough_memory(array: np.ndarray, where: str) -> Iterator[None]:
    try:
        yield
    except MemoryError as error:
        raise UserError(
            f"images of {where} take {array.size / 2**30:.3g} GiB of memory, which this machine does not give; make "
            "them smaller first, or give a folder of images with resize"
        ) from error


def _channels_first(images: object, where: str) -> np.ndarray:
    """Return an array (n, c, h, w) of at least one image, with values as they are."""
    array = _as_numpy(images, where)
    shape = tuple(array.shape)
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4 and _channels_are_last(shape):
        array = array.transpose(0, 3, 1, 2)
    if array.ndim != 4:
        rows = "; load_rows takes rows of numbers (n, columns)" if array.ndim == 2 else ""
        raise UserError(
            f"images of {where} have shape {shape}, but must be (n, h, w), (n, c, h, w) or (n, h, w, c){rows}"
        )
    if array.size == 0:
        raise UserError(f"{where} has no images: shape {shape}")
    return array


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


def _pieces(array: np.ndarray, where: str, reading: Reading) -> Iterator[Piece]:
    done = 0
    for block in _blocks(array):
        images = torch.from_numpy(np.array(_to_bytes(block, where), order="C"))
        let_go(array)
        kept = list(range(done, done + len(block)))
        done += len(block)
        yield Piece(images=resize(images, reading.side, reading.fit), done=done, kept=kept)


def _contents(array: np.ndarray) -> Iterator[bytes]:
    """Yield what distinguishes an array from others."""
    yield repr((array.dtype.str, array.shape)).encode()
    for block in _blocks(array):
        yield block.tobytes()
        let_go(array)


def _blocks(array: np.ndarray) -> Iterator[np.ndarray]:
    size = max(BYTES_AT_ONCE // array[0].nbytes, 1)
    return (array[start : start + size] for start in range(0, len(array), size))


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
        levels = np.rint(array * array.dtype.type(255))
        unit = "floats must be in [0, 1] (before any normalisation; load_rows takes other numbers: rows, signals)"
    elif array.dtype.kind in "iu":
        levels, unit = array, "integers must be in 0..255"
    else:
        raise UserError(f"images of {where} are {array.dtype}, but must be uint8, or floats in [0, 1]")
    if not (levels.min() >= 0 and levels.max() <= 255):  # false for NaN too
        raise UserError(f"images of {where} have values from {array.min():g} to {array.max():g}, but {unit}")
    return levels.astype(np.uint8)
