"""The space of whitened images."""

import math
import re
from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ..errors import UserError
from ..storage.records import list_of, number, text
from .base import Space
from .pixels import Pixels
from .whitening import PROBES, Whitening, known

LEAST_RIDGE, LARGEST_RIDGE = 1e-6, 1e6
"""The range of `Whitened.ridge`."""
MOST_VALUES = 4096
"""Values (channels x height x width) of the largest images that can be whitened: the matrix takes 64 MiB."""


@dataclass(frozen=True, kw_only=True)
class Whitened(Pixels):
    """Images whose normalised pixels x are whitened (ZCA): y = W (x - m), with W = (C + ridge I)^(-1/2).

    m is the mean and C the covariance of the train images. m and W are not in the record, but follow from it: see
    `datastill.space.whitening`. With ``kornia.enhance.ZCAWhitening(eps=ridge)``, which trajectory matching uses, W is
    equal but for n - 1 in the denominator of C. Kernel inducing points (2107.13034, appendix) divide each image by its
    norm before, which cannot be turned back.
    """

    compared = "mean and std of pixels, and whitened values"
    kind: Literal["whitened"] = field(default="whitened", init=False)  # type: ignore[assignment]
    ridge: Annotated[float, number(LEAST_RIDGE, LARGEST_RIDGE)]
    """Variance that is added along each direction; pixels of real images have variance 1 in each channel."""
    sha256: Annotated[str, text(64, 64)]
    """SHA-256 of the train split (`Split.sha256`) that m and C are computed from."""
    probe: Annotated[tuple[float, ...], list_of(number(-1e9, 1e9), PROBES, PROBES)]
    """See `Whitening.probe`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not re.fullmatch("[0-9a-f]{64}", self.sha256):
            raise UserError(f"sha256 is {self.sha256!r}, but must be 64 digits of 0-9 and a-f")

    @property
    def words(self) -> str:
        """The shape of an image in words."""
        return f"whitened {super().words}"

    @property
    def normalisation(self) -> str:
        """How pixels are normalised and whitened."""
        return (
            f"{super().normalisation}; then whitening (ZCA) with regularisation {self.ridge:g}: W (x - m), with the "
            f"mean image m of the train images (SHA-256 {self.sha256[:12]}), and W = (C + {self.ridge:g} I)^(-1/2), "
            "where C is their covariance"
        )

    def renormalised(self, original: Float[Tensor, "*some"]) -> Float[Tensor, "*some"]:
        """Return pixels normalised and whitened."""
        return self._whitening.whitened(super().renormalised(original))

    def original(self, inputs: Float[Tensor, "*some"]) -> Float[Tensor, "*some"]:
        """Return whitened images as pixels: the inverse of `renormalised`, not clipped."""
        return super().original(self._whitening.coloured(inputs))

    def scaled(self, stored: UInt8[Tensor, "... c h w"], dtype: torch.dtype) -> Float[Tensor, "... c h w"]:
        """Return images of bytes, normalised and whitened."""
        return self._whitening.whitened(super().scaled(stored, dtype))

    def as_bytes(self, inputs: Float[Tensor, "n c h w"]) -> None:  # noqa: ARG002
        """Return None: a file holds whitened values, so that it can be used without m and W."""
        return

    def rounded(self, inputs: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Return the images, as a file holds whitened values."""
        return inputs

    def difference(self, other: Space) -> float:
        """Return the largest difference of mean, std, ridge and whitened values."""
        if not isinstance(other, Whitened):
            return float("inf")
        pairs = zip((self.ridge, *self.probe), (other.ridge, *other.probe), strict=True)
        return max(super().difference(other), *(abs(a - b) for a, b in pairs))

    @property
    def needs_data(self) -> bool:
        """Whether m and W are not on this computer."""
        return known(self.sha256, self.ridge) is None

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """Return m and W."""
        return {"whitening.mean": self._whitening.mean.numpy(), "whitening.matrix": self._whitening.matrix.numpy()}

    @property
    def _whitening(self) -> Whitening:
        found = known(self.sha256, self.ridge)
        if found is None:
            raise UserError(
                f"the images are whitened with the train images of SHA-256 {self.sha256[:12]}, and the matrix is not "
                "on this computer; load the data that the set was made from first, which computes it (in Python: "
                f"load_data(NAME, whiten={self.ridge:g}))"
            )
        if not found.agrees(self.probe):
            raise UserError(
                f"the whitening that is kept for the train images of SHA-256 {self.sha256[:12]} gives other values "
                "than those of this set; one of the two was changed: remove the file in the cache folder of "
                "datastill, and load the data again"
            )
        return found


def must_be_whitened(shape: tuple[int, ...]) -> None:
    """Raise a `UserError` unless images of this shape, (channels, height, width), are small enough for whitening."""
    values = math.prod(shape)
    if values > MOST_VALUES:
        raise UserError(
            f"images of {' × '.join(map(str, shape))} have {values} values, and whitening is for at most "
            f"{MOST_VALUES}; make them smaller with resize, or leave whiten out"
        )
