"""Images that stay in a file: what is asked for is read, and nothing else is in memory."""

import mmap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from ..errors import UserError
from ..memory import free_bytes

FLOATS = 5
"""Bytes of memory for each byte of an image that is read: the byte, and a number of float32."""
UNCHECKED_BYTES = 2**26
"""Images of fewer bytes are read without a look at the free memory."""

Change = Callable[[UInt8[Tensor, "n c h w"]], UInt8[Tensor, "n d h2 w2"]]
"""A function of a batch of images, e.g. one that adds a border to each."""


@dataclass(frozen=True, kw_only=True, eq=False)
class OnDisk:
    """Images in a memory-mapped file; a batch of them is read when it is asked for.

    In a `Split` it stands for a tensor (n, channels, height, width) of bytes.
    """

    pixels: np.ndarray
    """The memory map (N, c, h, w), of bytes."""
    index: Int64[Tensor, " n"]
    """The place in the file of each image, on the CPU."""
    changes: tuple[Change, ...] = ()
    """What is done with each batch after it is read, in this order."""
    device: torch.device = field(default=torch.device("cpu"))
    """The device to which a batch is copied."""

    def __len__(self) -> int:
        return len(self.index)

    @cached_property
    def shape(self) -> torch.Size:
        """(n, channels, height, width)."""
        one = self._changed(torch.zeros((1, *self.pixels.shape[1:]), dtype=torch.uint8))
        return torch.Size((len(self), *one.shape[1:]))

    def __getitem__(self, which: int | slice | Tensor) -> UInt8[Tensor, "*some c h w"]:
        """Read the images at an index, in a slice, at a tensor of indices, or where a mask is true.

        Raises:
            UserError: as numbers, they do not fit in the memory that is free.
        """
        rows = self.index[which.cpu() if isinstance(which, Tensor) else which]
        self._must_fit(rows.numel())
        read = torch.from_numpy(np.asarray(self.pixels)[rows.flatten().numpy()])
        let_go(self.pixels)
        return self._changed(read).view(*rows.shape, *self.shape[1:]).to(self.device)

    def split(self, size: int) -> Iterator[UInt8[Tensor, "b c h w"]]:
        """Read the images, `size` at a time."""
        return (self[start : start + size] for start in range(0, len(self), size))

    def only(self, index: Int64[Tensor, " m"]) -> "OnDisk":
        """Return the images at these indices, without reading them."""
        return replace(self, index=self.index[index.cpu()])

    def changed(self, change: Change) -> "OnDisk":
        """Return the images as `change` makes them of each batch."""
        return replace(self, changes=(*self.changes, change))

    def to(self, device: torch.device | str) -> "OnDisk":
        """Return the same images, whose batches are copied to a device after they are read."""
        return replace(self, device=torch.device(device))

    def cpu(self) -> "OnDisk":
        """Return the same images, whose batches stay on the CPU."""
        return self.to("cpu")

    def _changed(self, images: Tensor) -> Tensor:
        for change in self.changes:
            images = change(images)
        return images

    def _must_fit(self, count: int) -> None:
        size = count * self.shape[1:].numel()
        if size > UNCHECKED_BYTES and FLOATS * size > (free := free_bytes(torch.device("cpu"))):
            raise UserError(
                f"{count} images are wanted at once, which takes {FLOATS * size / 2**30:.1f} GiB of memory, but "
                f"{free / 2**30:.1f} GiB are free; take a method or a selection that reads real images in batches "
                "(e.g. distribution-matching or random), or fewer or smaller images"
            )


def let_go(array: np.ndarray) -> None:
    """Take what was read of a memory map out of the memory of this process; it is read again when it is needed."""
    base: object = array
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap) and hasattr(base, "madvise"):
        base.madvise(mmap.MADV_DONTNEED)
