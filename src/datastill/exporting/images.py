"""The examples as 8-bit images, the error of these images, and the names of their folders."""

import re
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from ..artifact import DistilledSet

SPLIT_WORDS = "train|training|validation|valid|dev|val|test|testing|eval|evaluation"
"""Words in a folder name that loaders of image folders mistake for the name of a split; a regular expression."""
RESERVED = r"con|prn|aux|nul|com\d|lpt\d"
"""Names that Windows reserves for devices; a regular expression."""


@dataclass(frozen=True)
class Loss:
    """The error of 8-bit images, compared with the exact examples; 1 is the distance from black to white."""

    max_error: float
    mean_error: float
    outside: float
    """Fraction of the pixels that lie outside [0, 1] and are therefore cut to 0 or 1."""

    def __str__(self) -> str:
        return (
            f"8-bit images differ from the exact values by {self.mean_error:.3g} on average and {self.max_error:.3g} "
            f"at most (1 is the distance from black to white); {100 * self.outside:.1f} % of the pixels lie outside "
            "[0, 1] and were cut to 0 or 1"
        )


def png_loss(distilled: DistilledSet) -> Loss:
    """Measure how far 8-bit images are from the exact examples; see `Loss`."""
    pixels = distilled.original().detach().cpu().double()
    error = (pixels - torch.from_numpy(as_bytes(distilled)).permute(0, 3, 1, 2).double() / 255).abs()
    outside = ((pixels < 0) | (pixels > 1)).double().mean()
    return Loss(error.max().item(), error.mean().item(), outside.item())


def as_bytes(distilled: DistilledSet) -> UInt8[np.ndarray, "n h w c"]:
    """Return the examples as 8-bit images: cut to [0, 1] and rounded to multiples of 1/255."""
    values = (distilled.original().detach().cpu().double().clamp(0, 1) * 255).round()
    return values.to(torch.uint8).permute(0, 2, 3, 1).numpy()


def as_png(image: UInt8[np.ndarray, "h w c"]) -> bytes:
    """Return one image as the bytes of a PNG file; grey if it has one channel."""
    buffer = BytesIO()
    Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(buffer, format="PNG")
    return buffer.getvalue()


def class_folders(names: tuple[str, ...]) -> list[str]:
    """Return a folder name for each class: valid on every system, not the name of a split, sorted in class order.

    Loaders of image folders number the classes in alphabetical order. If that differs from the order of the classes, or
    if two classes would get one folder, each folder name begins with the number of its class.
    """
    safe = [re.sub(r"[^\w\-+]+", "_", name).strip("_")[:60] or "class" for name in names]
    safe = [re.sub(rf"(?i)(?<![^\W\d_])({SPLIT_WORDS})(?![^\W\d_])|^({RESERVED})$", r"\g<0>+", name) for name in safe]
    if sorted(safe) == safe and len({name.casefold() for name in safe}) == len(safe):
        return safe
    digits = len(str(len(names) - 1))
    return [f"{number:0{digits}d}-{name}" for number, name in enumerate(safe)]


def file_names(distilled: DistilledSet) -> list[str]:
    """Return the relative path of each example, named by its place; numbers have leading zeros, so that paths sort.

    The place is the number of its step and its index in the batch, if the steps are ordered.
    """
    folders, batch = class_folders(distilled.header.class_names), distilled.size // distilled.batches
    wide, deep = len(str(distilled.batches - 1)), len(str(batch - 1))
    return [
        f"{folders[label]}/{place // batch:0{wide}d}-{place % batch:0{deep}d}.png"
        for place, label in enumerate(distilled.class_of_each.tolist())
    ]
