"""Synthetic data: what a method makes; how examples start, and the coordinates in which they are learned."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn.functional import one_hot, softplus

from .data import RealData
from .errors import UserError, at_least
from .label_source import LabelSource
from .parts import cut, enlarged, enlarged_gradient, must_divide, part_shape, reduced, together
from .program import Program

StartFrom = Literal["real", "noise"]
Coordinates = Literal["auto", "principal", "pixels"]

MOST_VALUES = 4096
"""Values (channels x height x width) of the largest images with principal coordinates: larger ones take too long."""
LEAST_SCALE = 1e-3
"""Smallest scale of a direction, so that coordinates are finite along directions in which real images do not vary."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SyntheticData:
    """What a method makes: synthetic examples, their targets, and how networks are trained on them."""

    inputs: Float[Tensor, "n *shape"]
    """Normalised by the mean and standard deviation of the real data."""
    targets: Shaped[Tensor, "n *classes"]
    """Integer classes (hard), or one number for each class (soft)."""
    program: Program
    labels: LabelSource | None = None
    """Where the labels come from that networks are trained with. None: `targets` are the labels."""
    teacher: nn.Module | None = None
    """The trained network that gives the labels, if they come from one; `targets` are then classes."""
    factor: int = 1
    """Parts along each side of a stored image, from which `inputs` are enlarged; see `datastill.parts`."""
    stored: Float[Tensor, "m *shape"] | None = None
    """With a factor above 1, the stored images; None: they are `inputs`."""

    @property
    def parts(self) -> Float[Tensor, "n *part"]:
        """The parts of stored images from which examples are enlarged; with factor 1, the examples."""
        return self.inputs if self.stored is None else cut(self.stored, self.factor)


@dataclass(frozen=True, eq=False)
class Basis:
    """Coordinates z in which examples are learned: x = (z * scale) directions^T, or x = z for pixels, enlarged.

    In principal coordinates a step of Adam moves an example along a direction in proportion to how far real images vary
    along it, so the noise of hypergradients goes less into directions in which they do not vary (docs/LOG.md). With a
    factor, what is learned are the parts of stored images, and examples are these parts enlarged.
    """

    directions: Float[Tensor, "values values"] | None = None
    scale: Float[Tensor, " values"] | None = None
    factor: int = 1

    def coordinates(self, parts: Float[Tensor, "*some"]) -> Float[Tensor, "*some"]:
        """Return the coordinates of examples, or of the parts that examples are enlarged from."""
        if self.directions is None or self.scale is None:
            return parts
        return (parts.reshape(-1, len(self.scale)) @ self.directions / self.scale).view(parts.shape)

    def parts(self, coordinates: Float[Tensor, "*some"]) -> Float[Tensor, "*some"]:
        """Return the parts that examples are enlarged from, in normalised pixels; with factor 1, the examples."""
        if self.directions is None or self.scale is None:
            return coordinates
        return ((coordinates.reshape(-1, len(self.scale)) * self.scale) @ self.directions.T).view(coordinates.shape)

    def examples(self, coordinates: Float[Tensor, "*n_part"]) -> Float[Tensor, "*n_shape"]:
        """Return examples in normalised pixels from their coordinates."""
        return enlarged(self.parts(coordinates), self.factor)

    def gradient(self, gradient: Float[Tensor, "*n_shape"]) -> Float[Tensor, "*n_part"]:
        """Return the gradient with respect to coordinates, given the gradient with respect to examples."""
        gradient = enlarged_gradient(gradient, self.factor)
        if self.directions is None or self.scale is None:
            return gradient
        return ((gradient.reshape(-1, len(self.scale)) @ self.directions) * self.scale).view(gradient.shape)

    def made(self, coordinates: Float[Tensor, "n *part"]) -> dict[str, Any]:
        """Return the fields of `SyntheticData` that say what its examples are, by name."""
        parts = self.parts(coordinates)
        stored = together(parts, self.factor) if self.factor > 1 else None
        return {"inputs": enlarged(parts, self.factor), "factor": self.factor, "stored": stored}


def choose_coordinates(data: RealData, coordinates: Coordinates, factor: int = 1) -> Coordinates:
    """Return the coordinates that ``auto`` means for `data`: principal, or pixels if images have too many values."""
    if coordinates != "auto":
        return coordinates
    return "principal" if math.prod(data.shape) // factor**2 <= MOST_VALUES else "pixels"


def must_have_coordinates(data: RealData, coordinates: Coordinates, factor: int = 1) -> None:
    """Raise a `UserError` if the images, or their parts, have too many values for these coordinates."""
    values = math.prod(part_shape(data.shape, factor))
    if choose_coordinates(data, coordinates, factor) == "principal" and values > MOST_VALUES:
        raise UserError(
            f"{data.space.words} have {values} values, and principal coordinates are for at most {MOST_VALUES}; take "
            f"--method.coordinates pixels or smaller {data.space.nouns}"
        )


def basis(data: RealData, coordinates: Coordinates, factor: int = 1) -> Basis:
    """Return the basis of these coordinates for `data`; its scales have a mean square of 1, like normalised pixels.

    With a factor, principal coordinates are those of real images that are reduced to the size of a part.

    Raises:
        UserError: the images have too many values for principal coordinates.
    """
    if choose_coordinates(data, coordinates, factor) == "pixels":
        return Basis(factor=factor)
    must_have_coordinates(data, coordinates, factor)
    directions, deviations = data.principal(factor)
    scale = deviations / deviations.square().mean().sqrt().clamp(min=1e-12)
    return Basis(directions, scale.clamp(min=LEAST_SCALE), factor)


def start_examples(
    data: RealData, *, ipc: int, steps: int, start: StartFrom, generator: torch.Generator, factor: int = 1
) -> Float[Tensor, "steps b *part"]:
    """Return normalised examples to start learning from; each step has every class equally often, in class order.

    With a factor, they are the parts of stored images, and each comes from another real image: b is factor^2 times
    larger, and those of one stored image lie one after the other.

    Args:
        data: real data; ``real`` examples are drawn from its train split.
        ipc: stored images per class in total; a multiple of `steps`.
        steps: number of batches of synthetic examples.
        start: ``real`` images, or ``noise`` from N(0, 1) (Wang et al. 2018).
        generator: the random generator that draws images or noise.
        factor: parts along each side of a stored image.

    Raises:
        UserError: `ipc` is not a multiple of `steps`, a class has fewer than ipc * factor^2 images, or images cannot be
            divided into such parts.
    """
    must_start(data, ipc=ipc, steps=steps, start=start, factor=factor)
    each = ipc * factor**2
    if start == "noise":
        shape = (steps, data.classes * (each // steps), *part_shape(data.shape, factor))
        return torch.randn(shape, generator=generator, dtype=data.dtype).to(data.device)
    chosen = data.by_class(each, generator)
    images = reduced(data.normalise(data.train.images[chosen.flatten()]), factor)
    return by_step(images.unflatten(0, chosen.shape), steps)


def must_start(data: RealData, *, ipc: int, steps: int, start: StartFrom, factor: int = 1) -> None:
    """Raise a `UserError` if `start_examples` cannot give examples for these arguments."""
    at_least("steps", steps, 1)
    at_least("ipc (images per class)", ipc, 1)
    must_divide(data.shape, factor)
    must_share_evenly(ipc, steps)
    if start == "real":
        data.must_have(ipc * factor**2, parts=factor**2)


def by_step(images: Float[Tensor, "classes each *shape"], steps: int) -> Float[Tensor, "steps b *shape"]:
    """Divide the images of each class among the steps; each step has every class equally often, in class order.

    Raises:
        UserError: the number of images per class is not a multiple of `steps`.
    """
    each = images.shape[1]
    must_share_evenly(each, steps)
    return images.unflatten(1, (steps, each // steps)).transpose(0, 1).flatten(1, 2).contiguous()


def must_share_evenly(ipc: int, steps: int) -> None:
    """Raise a `UserError` unless `ipc` is a multiple of `steps`."""
    if ipc % steps:
        raise UserError(
            f"ipc {ipc} cannot be shared evenly by {steps} steps; take ipc {steps * (ipc // steps + 1)}, or steps that "
            f"divide {ipc}"
        )


def start_labels(data: RealData, *, ipc: int, steps: int, factor: int = 1) -> Shaped[Tensor, "steps b"]:
    """Return the hard labels of `start_examples`, in the order of its examples."""
    each = torch.arange(data.classes, device=data.device).repeat_interleave(ipc // steps * factor**2)
    return each.expand(steps, -1).contiguous()


CERTAINTY = 0.99
"""Share of the probability that a learned label gives to the class of its example at the start; the other share is
divided equally among all classes."""
LEAST_PROBABILITY = 1e-4
"""Smallest probability in a soft label that `raw_labels` tells from 0; its logarithm stays finite."""


def raw_labels(labels: Shaped[Tensor, "*some"], classes: int, dtype: torch.dtype) -> Float[Tensor, "*others values"]:
    """Return numbers from which `probabilities` computes soft labels: their logarithms. Hard labels become smooth."""
    if not labels.is_floating_point():
        labels = CERTAINTY * one_hot(labels, classes) + (1 - CERTAINTY) / classes
    return labels.to(dtype).clamp(min=LEAST_PROBABILITY).log()


def probabilities(raw: Float[Tensor, "*shape classes"]) -> Float[Tensor, "*shape classes"]:
    """Return soft labels, one probability for each class, from numbers of any sign, by softmax."""
    return raw.softmax(-1)


def through_softmax(
    soft: Float[Tensor, "*shape classes"], gradient: Float[Tensor, "networks *shape classes"]
) -> Float[Tensor, "networks *shape classes"]:
    """Return the gradient for the numbers in `raw_labels`, given the gradient for their `probabilities`."""
    return soft * (gradient - (soft * gradient).sum(-1, keepdim=True))


def positive(raw: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return positive step sizes from numbers of any sign, by softplus (Wang et al. 2018)."""
    return softplus(raw)


def raw(step_sizes: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return the numbers from which `positive` computes these step sizes: log(exp(s) - 1).

    Raises:
        UserError: a step size is not above 0.
    """
    if not bool((step_sizes > 0).all()):
        raise UserError(f"step_size is {float(step_sizes.min()):g}, but must be above 0")
    sizes = step_sizes.double()
    return (sizes + torch.log(-torch.expm1(-sizes))).to(step_sizes.dtype)
