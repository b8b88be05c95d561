"""Convert a user's images (tensors, arrays, PIL images, lists) to one tensor of pixels in [0, 1]."""

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .errors import UserError, counted

LARGEST_PIXEL = 10.0
"""The largest absolute value of a pixel as float. Pixels of real images are in [0, 1], of synthetic ones in [-4, 4]."""
LOSSLESS_MODES = {1: ("1", "L"), 3: ("1", "L", "P", "RGB")}
"""The modes of PIL images that convert without loss to 1 channel (grey, "L") or 3 channels ("RGB")."""


def as_pixels(images: Any, shape: tuple[int, int, int]) -> Float[Tensor, "... c h w"]:
    """Return pixels in [0, 1] as float32 of shape (..., channels, height, width), from one image or a batch.

    Args:
        images: a tensor, a NumPy array, a PIL image, or a list of these. Integers are in 0..255, floats in [0, 1].
            Channels may come last, and may be left out for grey images. Floats somewhat outside, such as those of
            synthetic images, are taken with a warning, because images that are normalised already look like them.
        shape: (channels, height, width) of an image.

    Raises:
        UserError: the images have other channels or another size than `shape`, or a wrong type or range.
    """
    if isinstance(images, list | tuple):
        if not images:
            raise UserError("there are no images: the list is empty")
        return torch.stack([_sized(_in_unit_range(_as_tensor(one, shape)), shape, one=True) for one in images])
    return _sized(_in_unit_range(_as_tensor(images, shape)), shape, one=_is_picture(images))


def _is_picture(image: object) -> bool:
    """Return whether an image is a PIL image; its methods show it, so that PIL need not be imported."""
    return hasattr(image, "getbands") and hasattr(image, "convert")


def _as_tensor(images: Any, shape: tuple[int, int, int]) -> Tensor:
    if isinstance(images, Tensor):
        return images
    array = _picture_as_array(images, shape) if _is_picture(images) else images
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "buif":
        found = f"an array of {array.dtype}" if isinstance(array, np.ndarray) else f"a {type(array).__name__}"
        raise UserError(f"images are {found}; give a tensor, a NumPy array of numbers, a PIL image, or a list of these")
    kind = {"u": np.int64, "i": np.int64, "f": np.float32, "b": np.bool_}[array.dtype.kind]
    return torch.from_numpy(np.array(array, dtype=array.dtype if array.dtype == np.uint8 else kind))  # a copy


def _picture_as_array(image: Any, shape: tuple[int, int, int]) -> np.ndarray:
    wanted = {1: "L", 3: "RGB"}.get(shape[0], image.mode)
    if image.mode not in (*LOSSLESS_MODES.get(shape[0], ()), wanted):
        raise UserError(
            f"the image is a PIL image of mode {image.mode!r}, but the set's images have "
            f"{counted(shape[0], 'channel')}; convert it: image.convert({wanted!r})"
        )
    return np.asarray(image.convert(wanted))


def _in_unit_range(images: Tensor) -> Float[Tensor, "..."]:
    if images.dtype == torch.uint8:
        return images.float() / 255
    if images.is_complex():
        raise UserError("images are complex numbers; give integers in 0..255 or floats in [0, 1]")
    if images.dtype == torch.bool or not images.numel():
        return images.float()
    images = images if images.is_floating_point() else images.long()
    low, high = (float(value) for value in images.aminmax())
    if not images.is_floating_point():
        if low < 0 or high > 255:
            raise UserError(f"images are integers from {low:.0f} to {high:.0f}, but must be in 0..255")
        return images.float() / 255
    if not (math.isfinite(low) and math.isfinite(high)):
        raise UserError("images hold values that are not finite (NaN or infinity); floats must be in [0, 1]")
    if max(-low, high) > LARGEST_PIXEL or (high > 1 and bool((images == images.round()).all())):
        raise UserError(
            f"images are floats from {low:.4g} to {high:.4g}, but must be in [0, 1]; divide them by 255, or "
            "give them as uint8 if they are in 0..255"
        )
    if low < 0 or high > 1:
        from .runlog import warn  # loading a set does without it

        warn(
            f"images are floats from {low:.4g} to {high:.4g}, and pixels of real images are in [0, 1]; if they are "
            "normalised already, do not normalise them again"
        )
    return images.float()


def _sized(images: Tensor, shape: tuple[int, int, int], *, one: bool) -> Float[Tensor, "... c h w"]:
    channels, height, width = shape
    found, size = tuple(images.shape), (height, width)
    if found[-3:] == shape and not (one and len(found) != 3):
        return images
    if found[-3:] == (*size, channels) and not (one and len(found) != 3):
        return images.movedim(-1, -3)
    if channels == 1 and found[-2:] == size and len(found) <= (2 if one else 3):
        return images.unsqueeze(-3)
    raise UserError(
        f"images have the shape {found}, but must have (channels, height, width) = {shape}, one image or a batch; "
        f"{_fix(found, shape)}"
    )


def _fix(found: tuple[int, ...], shape: tuple[int, int, int]) -> str:
    channels, height, width = shape
    if len(found) >= 2 and found[-2:] == (height, width):
        return "make them grey" if channels == 1 else f"give them {channels} channels"
    return f"resize them to {height}x{width}" + (", grey" if channels == 1 else f" with {channels} channels")
