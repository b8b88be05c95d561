"""Inner optimisers as pure functions of (weights, moments), so that training can be differentiated through them."""

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import vjp

from ..errors import unknown

State = tuple[Tensor, ...]
"""The weights (networks, size) first, then what else the optimiser carries, of the same shape."""


class Optimiser(abc.ABC):
    """How a gradient moves the weights. Every step has a step size of its own, which is learned with the examples."""

    name: ClassVar[str]

    @abc.abstractmethod
    def start(self, thetas: Float[Tensor, "networks size"]) -> State:
        """The state before the first step."""

    @abc.abstractmethod
    def update(self, state: State, gradient: Tensor, step_size: Tensor, t: int | Tensor) -> State:
        """The state after step t, counted from 0. Differentiable in state, gradient and step size, and traceable."""

    def pull(
        self, state: State, gradient: Tensor, step_size: Tensor, t: int | Tensor, cotangents: State
    ) -> tuple[State, Tensor, Float[Tensor, " networks"]]:
        """The reverse of `update`: cotangents of the new state to those of the old one, gradient and step size."""
        sizes = step_size.expand(len(gradient), 1)

        def update(state: State, gradient: Tensor, sizes: Tensor) -> State:
            return self.update(state, gradient, sizes, t)

        back = vjp(update, state, gradient, sizes)[1]
        old, u, d_sizes = back(cotangents)
        return old, u, d_sizes[:, 0]


@dataclass(frozen=True)
class GradientDescent(Optimiser):
    """theta - eta g."""

    name: ClassVar[str] = "sgd"

    def start(self, thetas: Float[Tensor, "networks size"]) -> State:
        """The weights alone."""
        return (thetas,)

    def update(self, state: State, gradient: Tensor, step_size: Tensor, t: int | Tensor) -> State:  # noqa: ARG002
        """One step."""
        return (state[0] - step_size * gradient,)

    def pull(
        self,
        state: State,  # noqa: ARG002
        gradient: Tensor,
        step_size: Tensor,
        t: int | Tensor,  # noqa: ARG002
        cotangents: State,
    ) -> tuple[State, Tensor, Float[Tensor, " networks"]]:
        """Written out, as it is the inner loop of everything: u = -eta v, dL/deta = -<g, v>."""
        (v,) = cotangents
        return cotangents, -step_size * v, -(gradient * v).sum(1)


@dataclass(frozen=True)
class Momentum(Optimiser):
    """m <- mu m + g, theta <- theta - eta m (Polyak's heavy ball, as torch.optim.SGD has it)."""

    name: ClassVar[str] = "momentum"
    decay: float = 0.9

    def start(self, thetas: Float[Tensor, "networks size"]) -> State:
        """The weights and no momentum."""
        return thetas, torch.zeros_like(thetas)

    def update(self, state: State, gradient: Tensor, step_size: Tensor, t: int | Tensor) -> State:  # noqa: ARG002
        """One step."""
        theta, momentum = state
        momentum = self.decay * momentum + gradient
        return theta - step_size * momentum, momentum


@dataclass(frozen=True)
class Adam(Optimiser):
    """Adam (Kingma and Ba 2015), with the derivative of the root taken as 0 at 0.

    There it is infinite, and there is every weight without a gradient. Epsilon is larger than the usual 1e-8, which
    makes the update a step of slope 1e8 at zero: hypergradients through it in float32 were wrong by as much as 13
    times their size (docs/LOG.md).
    """

    name: ClassVar[str] = "adam"
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-5

    def start(self, thetas: Float[Tensor, "networks size"]) -> State:
        """The weights and no moments."""
        return thetas, torch.zeros_like(thetas), torch.zeros_like(thetas)

    def update(self, state: State, gradient: Tensor, step_size: Tensor, t: int | Tensor) -> State:
        """One step."""
        theta, first, second = state
        first = self.betas[0] * first + (1 - self.betas[0]) * gradient
        second = self.betas[1] * second + (1 - self.betas[1]) * gradient.square()
        mean, square = first / (1 - self.betas[0] ** (t + 1)), second / (1 - self.betas[1] ** (t + 1))
        positive = square > 0
        root = torch.where(positive, square, 1.0).sqrt() * positive
        return theta - step_size * mean / (root + self.epsilon), first, second


@dataclass(frozen=True, kw_only=True)
class Clipped(Optimiser):
    """Another optimiser, given gradients whose norm is limited: g min(1, limit / |g|) for each network."""

    name: ClassVar[str] = "clipped"
    inside: Optimiser
    limit: float

    def start(self, thetas: Float[Tensor, "networks size"]) -> State:
        """That of the optimiser inside."""
        return self.inside.start(thetas)

    def update(self, state: State, gradient: Tensor, step_size: Tensor, t: int | Tensor) -> State:
        """One step."""
        norm = gradient.norm(dim=1, keepdim=True).clamp(min=1e-30)
        return self.inside.update(state, gradient * (self.limit / norm).clamp(max=1), step_size, t)


OPTIMISERS: Mapping[str, Optimiser] = {each.name: each for each in (GradientDescent(), Momentum(), Adam())}


def optimiser(name: str) -> Optimiser:
    """The inner optimiser of that name.

    Raises:
        UserError: there is none.
    """
    if name not in OPTIMISERS:
        raise unknown("inner optimiser", name, OPTIMISERS)
    return OPTIMISERS[name]
