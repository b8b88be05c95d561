"""What is learned, examples and step sizes, and how it starts."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn.functional import softplus

from .data import RealData
from .errors import UserError, at_least

Start = Literal["real", "noise"]
Coordinates = Literal["auto", "principal", "pixels"]

LARGEST = 4096  # values of an image whose covariance is still quickly decomposed
FLOOR = 1e-3  # of the scale of a direction, so that coordinates exist where real images do not vary


@dataclass(frozen=True, kw_only=True)
class Synthetic:
    """A set of synthetic examples with its step sizes, ready to train on."""

    examples: Float[Tensor, "steps b c h w"]
    labels: Shaped[Tensor, "steps b *classes"]
    step_sizes: Float[Tensor, "epochs steps"]


@dataclass(frozen=True, eq=False)
class Basis:
    """Coordinates z in which examples are learned: x = (z * scale) directions^T, or x = z for pixels.

    In principal coordinates a step of Adam moves an example along a direction in proportion to how far real images vary
    along it, so the noise of hypergradients goes less into directions in which they do not vary (docs/LOG.md).
    """

    directions: Float[Tensor, "values values"] | None = None
    scale: Float[Tensor, " values"] | None = None

    def coordinates(self, examples: Float[Tensor, "*some c h w"]) -> Float[Tensor, "*some c h w"]:
        """The inverse of `examples`."""
        if self.directions is None or self.scale is None:
            return examples
        return (examples.flatten(-3) @ self.directions / self.scale).view(examples.shape)

    def examples(self, coordinates: Float[Tensor, "*some c h w"]) -> Float[Tensor, "*some c h w"]:
        """Examples in normalised pixel space."""
        if self.directions is None or self.scale is None:
            return coordinates
        return ((coordinates.flatten(-3) * self.scale) @ self.directions.T).view(coordinates.shape)

    def gradient(self, gradient: Float[Tensor, "*some c h w"]) -> Float[Tensor, "*some c h w"]:
        """The gradient with respect to coordinates, from that with respect to examples."""
        if self.directions is None or self.scale is None:
            return gradient
        return ((gradient.flatten(-3) @ self.directions) * self.scale).view(gradient.shape)


def choose_coordinates(data: RealData, coordinates: Coordinates) -> Coordinates:
    """The coordinates that ``auto`` means for `data`: principal ones, or pixels where images have too many values."""
    if coordinates != "auto":
        return coordinates
    return "principal" if math.prod(data.shape) <= LARGEST else "pixels"


def basis(data: RealData, coordinates: Coordinates) -> Basis:
    """The basis of that name for `data`; scales have a mean square of 1, like pixels.

    Raises:
        UserError: the images are too large for their covariance.
    """
    if choose_coordinates(data, coordinates) == "pixels":
        return Basis()
    values = math.prod(data.shape)
    if values > LARGEST:
        raise UserError(
            f"images of {'x'.join(map(str, data.shape))} have {values} values, and principal coordinates are for at "
            f"most {LARGEST}; take --method.coordinates pixels or resize the data"
        )
    directions, deviations = data.principal
    scale = deviations / deviations.square().mean().sqrt().clamp(min=1e-12)
    return Basis(directions, scale.clamp(min=FLOOR))


def start_examples(
    data: RealData, *, ipc: int, steps: int, start: Start, generator: torch.Generator
) -> Float[Tensor, "steps b c h w"]:
    """The examples before learning, in normalised space; each step has every class equally often, in class order.

    Args:
        data: real data; its train split is drawn from for ``real``.
        ipc: images per class in all, shared evenly by the steps.
        steps: batches of synthetic examples.
        start: ``real`` images, or ``noise`` from N(0, 1) (Wang et al. 2018).
        generator: decides which.

    Raises:
        UserError: `ipc` is not a multiple of `steps`, or a class has fewer than `ipc` images.
    """
    at_least("steps", steps, 1)
    at_least("ipc (images per class)", ipc, 1)
    _evenly(ipc, steps)
    if start == "noise":
        shape = (steps, data.classes * (ipc // steps), *data.shape)
        return torch.randn(shape, generator=generator, dtype=data.dtype).to(data.device)
    chosen = data.by_class(ipc, generator)
    return by_step(data.normalise(data.train.images[chosen.flatten()]).unflatten(0, chosen.shape), steps)


def by_step(images: Float[Tensor, "classes each c h w"], steps: int) -> Float[Tensor, "steps b c h w"]:
    """Images of each class shared out to steps, every class equally often in each and in class order.

    Raises:
        UserError: they cannot be shared evenly.
    """
    each = images.shape[1]
    _evenly(each, steps)
    return images.unflatten(1, (steps, each // steps)).transpose(0, 1).flatten(1, 2).contiguous()


def _evenly(ipc: int, steps: int) -> None:
    if ipc % steps:
        raise UserError(
            f"ipc {ipc} cannot be shared evenly by {steps} steps; take ipc {steps * (ipc // steps + 1)}, or steps that "
            f"divide {ipc}"
        )


def start_labels(data: RealData, *, ipc: int, steps: int) -> Shaped[Tensor, "steps b"]:
    """Hard labels in the order of `start_examples`."""
    each = torch.arange(data.classes, device=data.device).repeat_interleave(ipc // steps)
    return each.expand(steps, -1).contiguous()


def positive(raw: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Step sizes from unconstrained numbers, by softplus (Wang et al. 2018)."""
    return softplus(raw)


def raw(step_sizes: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The inverse of `positive`: log(exp(s) - 1).

    Raises:
        UserError: a step size is not above 0.
    """
    if not bool((step_sizes > 0).all()):
        raise UserError(f"step_size is {float(step_sizes.min()):g}, but must be above 0")
    sizes = step_sizes.double()
    return (sizes + torch.log(-torch.expm1(-sizes))).to(step_sizes.dtype)
