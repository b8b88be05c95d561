"""The space of images."""

import math
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ..errors import UserError
from ..storage.records import list_of, whole
from ..user_images import as_pixels
from .base import Scaled, Space


@dataclass(frozen=True, kw_only=True)
class Pixels(Scaled):
    """Images: a pixel p in [0, 1] is normalised as (p - mean) / std, with one mean and std for each channel."""

    noun = "image"
    exports = ("png", "npz", "parquet")
    parts = "channels"
    compared = "mean and std of pixels"
    kind: Literal["pixels"] = field(default="pixels", init=False)
    shape: Annotated[tuple[int, int, int], list_of(whole(1, 100_000), 3, 3)]  # type: ignore[override]
    """(channels, height, width) of an image."""

    def __post_init__(self) -> None:
        self._must_have_pairs("channel")
        if self.shape[0] != len(self.mean):
            raise UserError(
                f"the examples have {self.shape[0]} channels, but mean and std have {len(self.mean)} values; give "
                "one for each channel"
            )

    @property
    def words(self) -> str:
        """The shape of an image in words."""
        return f"images of {' × '.join(map(str, self.shape))}"

    @property
    def layout(self) -> str:
        """The names of the dimensions of an image."""
        return "(channels, height, width)"

    @property
    def formula(self) -> str:
        """How pixels are normalised."""
        return "(pixel - mean) / std in each channel, for pixels in [0, 1]"

    @property
    def sample(self) -> str:
        """A line of Python that stands for a user's images."""
        shape = ", ".join(map(str, self.shape))
        return f"real = torch.rand(8, {shape})  # your images: uint8 in 0..255, or floats in [0, 1]"

    def normalise(self, values: Any) -> Float[Tensor, "... c h w"]:
        """Return images as float32 of shape (..., channels, height, width)."""
        return self.renormalised(as_pixels(values, self.shape))

    def scaled(self, stored: UInt8[Tensor, "... c h w"], dtype: torch.dtype) -> Float[Tensor, "... c h w"]:
        """Return images of bytes as floats."""
        mean, std = self.statistics(stored.device, dtype)
        white = torch.tensor(255, dtype=dtype, device=stored.device)  # a GPU would multiply by 1 / 255 for a number
        return stored.to(dtype).div_(white).sub_(mean).div_(std)

    def as_bytes(self, inputs: Float[Tensor, "n c h w"]) -> UInt8[Tensor, "n c h w"] | None:
        """Return the bytes of real images; None if not all examples are real images of 8 bits in float32."""
        if inputs.dtype != torch.float32:
            return None
        inputs = inputs.detach().cpu().contiguous()
        found = self._nearest_bytes(inputs)
        same = torch.equal(self.scaled(found, torch.float32).view(torch.int32), inputs.view(torch.int32))
        return found if same else None

    def rounded(self, inputs: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Return the images whose pixels are rounded to 8 bits, and cut to [0, 1]."""
        return self.scaled(self._nearest_bytes(inputs), inputs.dtype)

    def _nearest_bytes(self, inputs: Float[Tensor, "n c h w"]) -> UInt8[Tensor, "n c h w"]:
        return self.original(inputs).mul_(255).round_().clamp_(0, 255).to(torch.uint8)

    def reads(self, other: Space) -> bool:
        """Return whether another space has images of this shape: in memory, they are bytes of pixels."""
        return isinstance(other, Pixels) and other.shape == self.shape

    @property
    def stored_bytes(self) -> int:
        """One byte for each pixel and channel."""
        return math.prod(self.shape)

    def pictures(self, inputs: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Return the pixels of images."""
        return self.original(inputs)

    def how_shown(self, low: float, high: float) -> str:
        """Say how pixels are drawn."""
        if (low, high) == (0.0, 1.0):
            text = "Pixels are shown as they are, cut to [0, 1]."
        else:
            text = "Pixels of synthetic examples can lie outside the range [0, 1] of real images: "
            text += f"here black is {low:.2f} and white is {high:.2f}, a range that holds 99 % of all values."
        if self.shape[0] not in (1, 3):
            text += f" The grey level is the mean of the {self.shape[0]} channels."
        return text
