"""The examples as 8-bit images, what that loses of them, and names for their folders."""

import re
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from ..artifact import DistilledSet

SPLIT_WORDS = "train|training|validation|valid|dev|val|test|testing|eval|evaluation"
"""Words in a folder name that loaders of image folders take for the name of a split."""
RESERVED = r"con|prn|aux|nul|com\d|lpt\d"
"""Names that Windows keeps for devices."""


@dataclass(frozen=True)
class Loss:
    """How far 8-bit images are from the examples. In pixel units: 1 is the distance from black to white."""

    max_error: float
    mean_error: float
    outside: float
    """Fraction of the pixels that lie outside [0, 1] and are cut."""

    def __str__(self) -> str:
        return (
            f"8-bit images are off by {self.mean_error:.3g} on average and {self.max_error:.3g} at most (1 is black to "
            f"white); {100 * self.outside:.1f} % of the pixels lie outside [0, 1] and were cut"
        )


def png_loss(distilled: DistilledSet) -> Loss:
    """What 8-bit images lose of the examples; see `Loss`."""
    pixels = distilled.pixels().detach().cpu().double()
    error = (pixels - torch.from_numpy(as_bytes(distilled)).permute(0, 1, 4, 2, 3).double() / 255).abs()
    outside = ((pixels < 0) | (pixels > 1)).double().mean()
    return Loss(error.max().item(), error.mean().item(), outside.item())


def as_bytes(distilled: DistilledSet) -> UInt8[np.ndarray, "steps b h w c"]:
    """The examples as 8-bit images: cut to [0, 1] and rounded to multiples of 1/255."""
    values = (distilled.pixels().detach().cpu().double().clamp(0, 1) * 255).round()
    return values.to(torch.uint8).permute(0, 1, 3, 4, 2).numpy()


def as_png(image: UInt8[np.ndarray, "h w c"]) -> bytes:
    """One image as the bytes of a PNG file; grey where it has one channel."""
    buffer = BytesIO()
    Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(buffer, format="PNG")
    return buffer.getvalue()


def class_folders(names: tuple[str, ...]) -> list[str]:
    """A folder name for each class: valid on every system, never the name of a split, and sorting in class order.

    Loaders of image folders number the classes in alphabetic order; where that is another order, or two names would
    get one folder, the folders begin with the number of the class.
    """
    safe = [re.sub(r"[^\w\-+]+", "_", name).strip("_")[:60] or "class" for name in names]
    safe = [re.sub(rf"(?i)(?<![^\W\d_])({SPLIT_WORDS})(?![^\W\d_])|^({RESERVED})$", r"\g<0>+", name) for name in safe]
    if sorted(safe) == safe and len({name.casefold() for name in safe}) == len(safe):
        return safe
    digits = len(str(len(names) - 1))
    return [f"{number:0{digits}d}-{name}" for number, name in enumerate(safe)]


def file_names(distilled: DistilledSet) -> list[list[str]]:
    """Relative path of each example, by step and index; numbers are as wide as they must be to sort."""
    steps, batch = distilled.labels.shape[:2]
    folders = class_folders(distilled.header.class_names)
    classes = distilled.labels if distilled.hard else distilled.labels.argmax(-1)
    wide, deep = len(str(steps - 1)), len(str(batch - 1))
    return [
        [f"{folders[label]}/{step:0{wide}d}-{index:0{deep}d}.png" for index, label in enumerate(row)]
        for step, row in enumerate(classes.tolist())
    ]
