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
"""The weights (networks, size), then the other tensors of the optimiser (its moments), each of this shape."""


class Optimiser(abc.ABC):
    """The rule by which a gradient changes the weights. Each step has its own step size, learned with the examples."""

    name: ClassVar[str]

    @abc.abstractmethod
    def start(self, thetas: Float[Tensor, "networks size"]) -> State:
        """Return the state before the first step."""

    @abc.abstractmethod
    def update(self, state: State, gradient: Tensor, step_size: Tensor, t: int | Tensor) -> State:
        """Return the state after step t, counted from 0. It is traceable and differentiable in all arguments but t."""

    def pull(
        self, state: State, gradient: Tensor, step_size: Tensor, t: int | Tensor, cotangents: State
    ) -> tuple[State, Tensor, Float[Tensor, " networks"]]:
        """Return dL/d(old state), dL/dgradient and dL/d(step size) of `update`, given `cotangents`, dL/d(new state)."""
        sizes = step_size.expand(len(gradient), 1)

        def update(state: State, gradient: Tensor, sizes: Tensor) -> State:
            return self.update(state, gradient, sizes, t)

        back = vjp(update, state, gradient, sizes)[1]
        old, u, d_sizes = back(cotangents)
        return old, u, d_sizes[:, 0]


@dataclass(frozen=True)
class GradientDescent(Optimiser):
    """Gradient descent: theta <- theta - eta g."""

    name: ClassVar[str] = "sgd"

    def start(self, thetas: Float[Tensor, "networks size"]) -> State:
        """Return a state of the weights only."""
        return (thetas,)

    def update(self, state: State, gradient: Tensor, step_size: Tensor, t: int | Tensor) -> State:  # noqa: ARG002
        """Return the weights after one step."""
        return (state[0] - step_size * gradient,)

    def pull(
        self,
        state: State,  # noqa: ARG002
        gradient: Tensor,
        step_size: Tensor,
        t: int | Tensor,  # noqa: ARG002
        cotangents: State,
    ) -> tuple[State, Tensor, Float[Tensor, " networks"]]:
        """Return v, u = -eta v and dL/deta = -<g, v>, written out for speed."""
        (v,) = cotangents
        return cotangents, -step_size * v, -(gradient * v).sum(1)


@dataclass(frozen=True)
class Momentum(Optimiser):
    """Polyak's heavy ball, as in torch.optim.SGD: m <- mu m + g, theta <- theta - eta m."""

    name: ClassVar[str] = "momentum"
    decay: float = 0.9

    def start(self, thetas: Float[Tensor, "networks size"]) -> State:
        """Return a state of the weights and momentum 0."""
        return thetas, torch.zeros_like(thetas)

    def update(self, state: State, gradient: Tensor, step_size: Tensor, t: int | Tensor) -> State:  # noqa: ARG002
        """Return the weights and momentum after one step."""
        theta, momentum = state
        momentum = self.decay * momentum + gradient
        return theta - step_size * momentum, momentum


@dataclass(frozen=True)
class Adam(Optimiser):
    """Adam (Kingma and Ba 2015), with the derivative of the square root set to 0 at 0, where it is infinite.

    Weights without a gradient are at this point. Epsilon is larger than the usual 1e-8, with which the update has a
    slope of 1e8 at zero: hypergradients in float32 had errors of up to 13 times their size (docs/LOG.md).
    """

    name: ClassVar[str] = "adam"
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-5

    def start(self, thetas: Float[Tensor, "networks size"]) -> State:
        """Return a state of the weights and moments 0."""
        return thetas, torch.zeros_like(thetas), torch.zeros_like(thetas)

    def update(self, state: State, gradient: Tensor, step_size: Tensor, t: int | Tensor) -> State:
        """Return the weights and moments after one step."""
        theta, first, second = state
        first = self.betas[0] * first + (1 - self.betas[0]) * gradient
        second = self.betas[1] * second + (1 - self.betas[1]) * gradient.square()
        mean, square = first / (1 - self.betas[0] ** (t + 1)), second / (1 - self.betas[1] ** (t + 1))
        positive = square > 0
        root = torch.where(positive, square, 1.0).sqrt() * positive
        return theta - step_size * mean / (root + self.epsilon), first, second


@dataclass(frozen=True, kw_only=True)
class Clipped(Optimiser):
    """An optimiser that limits the norm of each network's gradient, g min(1, limit / |g|), for the optimiser inside."""

    name: ClassVar[str] = "clipped"
    inside: Optimiser
    limit: float

    def start(self, thetas: Float[Tensor, "networks size"]) -> State:
        """Return the first state of the optimiser inside."""
        return self.inside.start(thetas)

    def update(self, state: State, gradient: Tensor, step_size: Tensor, t: int | Tensor) -> State:
        """Return the state of the optimiser inside after one step with the limited gradient."""
        norm = gradient.norm(dim=1, keepdim=True).clamp(min=1e-30)
        return self.inside.update(state, gradient * (self.limit / norm).clamp(max=1), step_size, t)


OPTIMISERS: Mapping[str, Optimiser] = {each.name: each for each in (GradientDescent(), Momentum(), Adam())}


def optimiser(name: str) -> Optimiser:
    """Return the inner optimiser called `name`.

    Raises:
        UserError: no optimiser has this name.
    """
    if name not in OPTIMISERS:
        raise unknown("inner optimiser", name, OPTIMISERS)
    return OPTIMISERS[name]
