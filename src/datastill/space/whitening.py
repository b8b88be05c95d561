"""ZCA whitening: images whose values hardly depend on each other, and still look like images.

The matrix of large images takes megabytes, so that no set holds it: it follows from the images that it whitens, is kept
in memory and in a cache folder of the user, and is computed again where it is missing.
"""

import contextlib
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import save
from torch import Tensor

from ..caches import folder
from ..errors import UserError
from ..modes import usual_modes
from ..storage.files import read_tensors, write_whole

PROBES = 8
"""Values of the whitened probe that identify a matrix."""
PROBE_TOLERANCE = 1e-3
"""Largest difference of two values of the whitened probe, if processors round differently."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Whitening:
    """The whitening of images x of normalised pixels: y = W (x - m), with the mean image m."""

    mean: Float[Tensor, " values"]
    """m."""
    matrix: Float[Tensor, "values values"]
    """W = (C + ridge I)^(-1/2), which is symmetric, with the covariance C of the images."""
    _copies: dict[tuple[torch.device, torch.dtype, bool], tuple[Tensor, Tensor]] = field(default_factory=dict)

    def whitened(self, images: Float[Tensor, "*some"]) -> Float[Tensor, "*some"]:
        """Return images of normalised pixels, whitened."""
        mean, matrix = self._like(images, inverse=False)
        return ((images.reshape(-1, len(mean)) - mean) @ matrix).view(images.shape)

    def coloured(self, images: Float[Tensor, "*some"]) -> Float[Tensor, "*some"]:
        """Return whitened images as normalised pixels: the inverse of `whitened`."""
        mean, matrix = self._like(images, inverse=True)
        return (images.reshape(-1, len(mean)) @ matrix + mean).view(images.shape)

    @cached_property
    def probe(self) -> tuple[float, ...]:
        """Some values of the whitened image x_i = cos(i^2): they differ if m or W does."""
        places = torch.arange(len(self.mean), dtype=torch.float64)
        found = (places.square().cos() - self.mean.double()) @ self.matrix.double()
        return tuple(found[torch.arange(PROBES) * len(found) // PROBES].tolist())

    def agrees(self, probe: Iterable[float]) -> bool:
        """Return whether this is the whitening with such a `probe`, but for rounding."""
        return all(math.isclose(a, b, abs_tol=PROBE_TOLERANCE) for a, b in zip(self.probe, probe, strict=True))

    @cached_property
    def _inverse(self) -> Float[Tensor, "values values"]:
        return torch.linalg.inv(self.matrix.double()).to(self.matrix.dtype)

    def _like(self, images: Tensor, *, inverse: bool) -> tuple[Tensor, Tensor]:
        """Return m and W or its inverse, of the type and on the device of images."""
        key = (images.device, images.dtype, inverse)
        if key not in self._copies:
            with usual_modes():  # autograd accepts these copies, whatever the caller does now
                matrix = self._inverse if inverse else self.matrix
                self._copies[key] = self.mean.to(images), matrix.to(images)
        return self._copies[key]


def fitted(pieces: Iterable[Float[Tensor, "_ values"]], ridge: float) -> Whitening:
    """Return the whitening of images, in float64.

    Args:
        pieces: all images in normalised pixels, some at a time.
        ridge: what is added to the variance along each direction, in units of the variance of pixels, which is 1.
    """
    total, squares, count = 0.0, 0.0, 0
    for piece in pieces:
        piece = piece.double()
        total, squares, count = total + piece.sum(0), squares + piece.T @ piece, count + len(piece)
    mean = torch.as_tensor(total) / count
    variances, directions = torch.linalg.eigh(squares / count - mean.outer(mean))
    scale = (variances.clamp(min=0) + ridge).rsqrt()
    return Whitening(mean=mean, matrix=(directions * scale) @ directions.T)


_KNOWN: dict[tuple[str, float], Whitening] = {}
"""The whitenings of this process, by the SHA-256 of the images and the ridge."""


def known(sha256: str, ridge: float) -> Whitening | None:
    """Return the whitening of images with this SHA-256, from memory or from the cache folder; None if it is missing."""
    if (sha256, ridge) not in _KNOWN and (found := _read(_file(sha256, ridge))):
        _KNOWN[sha256, ridge] = found
    return _KNOWN.get((sha256, ridge))


def keep(sha256: str, ridge: float, whitening: Whitening) -> Whitening:
    """Keep a whitening in memory and, if it can be written to, in the cache folder, in float32; return it."""
    tensors = {"mean": whitening.mean.float().cpu(), "matrix": whitening.matrix.float().cpu().contiguous()}
    with contextlib.suppress(UserError, OSError):
        file = _file(sha256, ridge)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, save(tensors))
    _KNOWN[sha256, ridge] = Whitening(**tensors)
    return _KNOWN[sha256, ridge]


def _file(sha256: str, ridge: float) -> Path:
    return folder() / f"whitening-{sha256}-{ridge!r}.safetensors"


def _read(file: Path) -> Whitening | None:
    """Return the whitening in a file; None if there is no whole one."""
    with contextlib.suppress(UserError, OSError, KeyError):
        if not file.is_file():
            return None
        _, tensors = read_tensors(file)
        mean, matrix = tensors["mean"], tensors["matrix"]
        if matrix.shape == 2 * mean.shape and bool(matrix.isfinite().all()):
            return Whitening(mean=mean, matrix=matrix)
    return None
