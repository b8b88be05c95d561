"""The decode step of a set: from the tensors that a file stores to the examples that networks are trained on."""

import abc
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor

from ..errors import UserError
from ..parts import decoded
from ..space import Pixels, Space
from ..storage.records import kind_of

INPUTS = "inputs"
"""The name of the examples in a file; further tensors that their decode step needs have names that begin with it."""


@dataclass(frozen=True, kw_only=True)
class Decode(abc.ABC):
    """How examples are stored: a frozen record of plain values."""

    names: ClassVar[tuple[str, ...]] = (INPUTS,)
    """The names of all tensors that it stores."""
    words: ClassVar[str] = ""
    """What examples are stored as; empty if as they are."""
    rounds: ClassVar[bool] = False
    """Whether it rounded what the method made."""
    kind: str = field(default="", init=False)
    """The name of the decode step in files."""

    @abc.abstractmethod
    def encoded(self, inputs: Float[Tensor, "n *shape"], space: Space) -> dict[str, Tensor]:
        """Return the tensors to store, by name."""

    @abc.abstractmethod
    def decoded(self, stored: Mapping[str, Tensor], space: Space) -> Shaped[Tensor, "n *shape"]:
        """Return the examples that stored tensors stand for; all of `names` are there.

        Raises:
            UserError: a tensor has a wrong type or shape, or does not fit the space.
        """

    def exact(self, inputs: Float[Tensor, "n *shape"], space: Space) -> "Decode":  # noqa: ARG002
        """Return the decode step to save these examples with: this one, or one that stores them exactly as well."""
        return self

    def packed(self, inputs: Float[Tensor, "n *shape"], space: Space) -> "Decode":
        """Return the decode step of a quarter of the bytes: an exact one if there is one, otherwise 8 bits."""
        found = self.exact(inputs, space)
        return found if isinstance(found, PixelBytes) else EightBits()


@dataclass(frozen=True, kw_only=True)
class Plain(Decode):
    """Examples are stored as they are."""

    kind: Literal["plain"] = field(default="plain", init=False)

    def encoded(self, inputs: Float[Tensor, "n *shape"], space: Space) -> dict[str, Tensor]:  # noqa: ARG002
        """Return the examples."""
        return {INPUTS: inputs}

    def decoded(self, stored: Mapping[str, Tensor], space: Space) -> Shaped[Tensor, "n *shape"]:  # noqa: ARG002
        """Return the examples."""
        return stored[INPUTS]

    def exact(self, inputs: Float[Tensor, "n *shape"], space: Space) -> Decode:
        """Store the bytes of real images."""
        return self if space.as_bytes(inputs) is None else PixelBytes()


@dataclass(frozen=True, kw_only=True)
class PixelBytes(Decode):
    """Bytes of real images, as they were before normalisation: value = (byte / 255 - mean) / std, in float32.

    Mean and std are those of the space. A set is stored this way only if that gives its examples, bit for bit.
    """

    kind: Literal["pixels"] = field(default="pixels", init=False)
    words = "bytes of real pixels, without loss"

    def encoded(self, inputs: Float[Tensor, "n *shape"], space: Space) -> dict[str, Tensor]:
        """Return the bytes.

        Raises:
            UserError: the examples are not those of real images.
        """
        found = space.as_bytes(inputs)
        if found is None:
            raise UserError(f"the {space.nouns} are no real images of 8 bits; store them as they are, with Plain()")
        return {INPUTS: found}

    def decoded(self, stored: Mapping[str, Tensor], space: Space) -> Float[Tensor, "n *shape"]:
        """Return the normalised images."""
        pixels = stored[INPUTS]
        if not isinstance(space, Pixels) or pixels.dtype != torch.uint8 or tuple(pixels.shape[1:]) != space.shape:
            raise UserError(
                f"its examples are stored as bytes of pixels, but they are {space.words}, and the stored values are of "
                f"type {pixels.dtype} and shape {tuple(pixels.shape)}"
            )
        return space.scaled(pixels, torch.float32)

    def exact(self, inputs: Float[Tensor, "n *shape"], space: Space) -> Decode:
        """Store examples as they are if they are other ones now."""
        return Plain().exact(inputs, space)


@dataclass(frozen=True, kw_only=True)
class EightBits(Decode):
    """Codes of 8 bits, with a scale (a power of two) and an offset (a multiple of it) for each example."""

    kind: Literal["8-bits"] = field(default="8-bits", init=False)
    names = (INPUTS, f"{INPUTS}.scale", f"{INPUTS}.offset")
    words = "8 bits"
    rounds = True

    def encoded(self, inputs: Float[Tensor, "n *shape"], space: Space) -> dict[str, Tensor]:  # noqa: ARG002
        """Return codes, scales and offsets."""
        return dict(zip(self.names, pack(inputs), strict=True))

    def decoded(self, stored: Mapping[str, Tensor], space: Space) -> Float[Tensor, "n *shape"]:  # noqa: ARG002
        """Return the examples that the codes stand for."""
        codes, *scales = (stored[name] for name in self.names)
        if codes.dtype != torch.uint8 or codes.dim() < 2:
            raise UserError("its examples have 8 bits, but their codes are not of 8 bits, one row for each example")
        if any(each.dtype != torch.float32 or each.shape != codes.shape[:1] for each in scales):
            raise UserError(
                "its examples have 8 bits, but their scales and offsets are not one float32 for each example"
            )
        return unpack(codes, *scales)


def examples_of(images: Float[Tensor, "m *shape"], enlarged: int) -> dict[str, Any]:
    """Return the fields ``inputs`` and ``stored`` of a `DistilledSet`, given what its file stores.

    Args:
        images: the examples; or, if `enlarged` is above 1, images whose parts are examples.
        enlarged: see `Header.enlarged`.

    Raises:
        UserError: the images do not divide into such parts, or the examples take too much memory.
    """
    return {"inputs": decoded(images, enlarged), "stored": images if enlarged > 1 else None}


DECODES: Mapping[str, type[Decode]] = {"plain": Plain, "pixels": PixelBytes, "8-bits": EightBits}
"""The decode steps by the name ``kind`` that a file has for them."""
DECODE = kind_of(DECODES)
"""The rule of a decode step."""


def pack(
    inputs: Float[Tensor, "n *shape"],
) -> tuple[UInt8[Tensor, "n *shape"], Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Return 8-bit codes with the scale and offset of each example: value = code * scale + offset, rounded.

    Scales are powers of two and offsets are multiples of their scale: packing unpacked values again changes nothing.
    """
    flat = inputs.flatten(1)
    low, high = flat.amin(1), flat.amax(1)
    scale = ((high - low).clamp(min=1e-6) / 254).log2().ceil().exp2()  # 254 and not 255: the offset is rounded down
    offset = (low / scale).floor() * scale
    codes = ((flat - offset[:, None]) / scale[:, None]).round().to(torch.uint8)
    return codes.view(inputs.shape), scale, offset


def unpack(
    codes: UInt8[Tensor, "n *shape"], scale: Float[Tensor, " n"], offset: Float[Tensor, " n"]
) -> Float[Tensor, "n *shape"]:
    """Return the values that 8-bit codes stand for: code * scale + offset, with one scale and offset per example."""
    return (codes.flatten(1) * scale[:, None] + offset[:, None]).view(codes.shape)
