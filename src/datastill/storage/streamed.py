"""Safetensors files larger than the memory: written piece by piece, and read piece by piece."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from ..errors import UserError

TYPES = {torch.float32: "F32", torch.uint8: "U8"}
"""The names that a safetensors file has for types of tensors."""
ALIGNMENT = 8
"""The length of the header of a safetensors file is a multiple of this number of bytes."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Streamed:
    """A tensor that is written in pieces, of which only one is in memory at a time."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    pieces: Iterable[Tensor]
    """The tensor in consecutive pieces of any shape; iterated once."""

    @classmethod
    def whole(cls, tensor: Tensor) -> "Streamed":
        """Return a tensor in one piece."""
        return cls(shape=tuple(tensor.shape), dtype=tensor.dtype, pieces=[tensor])

    @property
    def nbytes(self) -> int:
        """Bytes of the whole tensor."""
        return math.prod(self.shape) * self.dtype.itemsize


def file_pieces(tensors: Mapping[str, Streamed], metadata: Mapping[str, str]) -> Iterator[bytes]:
    """Yield the bytes of a safetensors file, piece by piece.

    Args:
        tensors: the tensors by name; those of float32 come before those of uint8, so that all numbers are aligned.
        metadata: texts by name.
    """
    entries, end = {}, 0
    for name, tensor in tensors.items():
        begin, end = end, end + tensor.nbytes
        entries[name] = {"dtype": TYPES[tensor.dtype], "shape": tensor.shape, "data_offsets": (begin, end)}
    header = json.dumps({"__metadata__": dict(metadata), **entries}).encode()
    header += b" " * (-len(header) % ALIGNMENT)
    yield len(header).to_bytes(8, "little") + header
    for tensor in tensors.values():
        yield from (piece.detach().cpu().contiguous().numpy().tobytes() for piece in tensor.pieces)


def read_piece(path: Path, name: str, index: Sequence[int]) -> Tensor:
    """Return a part of one tensor of a safetensors file; nothing else is read.

    Args:
        path: the file.
        name: the name of the tensor.
        index: numbers within its first dimensions.

    Raises:
        UserError: the file is missing, or no longer holds this tensor.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return file.get_slice(name)[tuple(index)]
    except Exception as error:  # safetensors has an error of its own, and passes on those of the system
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"cannot read {name} in {path}: {reason}; the file was changed after it was opened") from error


def shapes(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return type and shape of the tensors of a safetensors file, by name; no tensor is read."""
    with safe_open(path, framework="pt") as file:
        found = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        return {name: (each.get_dtype(), tuple(each.get_shape())) for name, each in found.items()}
