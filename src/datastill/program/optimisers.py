"""The optimisers of a program: settings, and the rule on a stack of flat weight vectors, which is differentiable.

A rule is a pure function of (weights, moments), so that training can be differentiated through it. `torch_form` gives
each one as an optimiser of `torch.optim` for a user's module; both give equal weights.
"""

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import vjp

from ..errors import UserError, unknown
from ..storage.records import must_have_types, number

State = tuple[Tensor, ...]
"""The weights (networks, size), then the other tensors of the optimiser (its moments), each of this shape."""


class Rule(abc.ABC):
    """The rule by which a gradient changes the weights. Each step has its own step size, which may be learned."""

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


class Optimiser(Rule):
    """A rule that is also a class of `torch.optim`. Subclasses are frozen dataclasses of settings."""

    torch_class: ClassVar[str]
    """The name of the class in `torch.optim`."""

    def __post_init__(self) -> None:
        must_have_types(self)

    @property
    @abc.abstractmethod
    def arguments(self) -> dict[str, Any]:
        """All arguments of `torch_class` except the step size (``lr``)."""

    @property
    @abc.abstractmethod
    def words(self) -> str:
        """The optimiser and its settings in words, e.g. ``gradient descent with momentum 0.9``."""


@dataclass(frozen=True, kw_only=True)
class GradientDescent(Optimiser):
    """Gradient descent: theta <- theta - eta (g + lambda theta)."""

    torch_class: ClassVar[str] = "SGD"
    weight_decay: Annotated[float, number(0, 1e6)] = 0.0
    """lambda, which pulls every weight towards 0."""

    def start(self, thetas: Float[Tensor, "networks size"]) -> State:
        """Return a state of the weights only."""
        return (thetas,)

    def update(self, state: State, gradient: Tensor, step_size: Tensor, t: int | Tensor) -> State:  # noqa: ARG002
        """Return the weights after one step."""
        return (state[0] - step_size * _decayed(gradient, state[0], self.weight_decay),)

    def pull(
        self,
        state: State,
        gradient: Tensor,
        step_size: Tensor,
        t: int | Tensor,  # noqa: ARG002
        cotangents: State,
    ) -> tuple[State, Tensor, Float[Tensor, " networks"]]:
        """Return v + lambda u, u = -eta v and dL/deta = -<g + lambda theta, v>, written out for speed."""
        (v,) = cotangents
        u = -step_size * v
        whole = _decayed(gradient, state[0], self.weight_decay)
        return (_decayed(v, u, self.weight_decay),), u, -(whole * v).sum(1)

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of `torch.optim.SGD`."""
        return {"momentum": 0.0, "dampening": 0.0, "nesterov": False, "weight_decay": self.weight_decay}

    @property
    def words(self) -> str:
        """The optimiser in words."""
        return "plain gradient descent" + _decay_words(self.weight_decay, "with")


@dataclass(frozen=True, kw_only=True)
class Momentum(Optimiser):
    """Polyak's heavy ball, as in torch.optim.SGD: m <- mu m + g + lambda theta, theta <- theta - eta m."""

    torch_class: ClassVar[str] = "SGD"
    decay: Annotated[float, number(0, 1)] = 0.9
    """mu, the share of the momentum that a step keeps."""
    weight_decay: Annotated[float, number(0, 1e6)] = 0.0
    """lambda, which pulls every weight towards 0."""

    def start(self, thetas: Float[Tensor, "networks size"]) -> State:
        """Return a state of the weights and momentum 0."""
        return thetas, torch.zeros_like(thetas)

    def update(self, state: State, gradient: Tensor, step_size: Tensor, t: int | Tensor) -> State:  # noqa: ARG002
        """Return the weights and momentum after one step."""
        theta, momentum = state
        momentum = self.decay * momentum + _decayed(gradient, theta, self.weight_decay)
        return theta - step_size * momentum, momentum

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of `torch.optim.SGD`."""
        return {"momentum": self.decay, "dampening": 0.0, "nesterov": False, "weight_decay": self.weight_decay}

    @property
    def words(self) -> str:
        """The optimiser in words."""
        return f"gradient descent with momentum {self.decay:g}" + _decay_words(self.weight_decay)


@dataclass(frozen=True, kw_only=True)
class Adam(Optimiser):
    """Adam (Kingma and Ba 2015), with the derivative of the square root set to 0 at 0, where it is infinite.

    Weights without a gradient are at this point. Epsilon is larger than the usual 1e-8, with which the update has a
    slope of 1e8 at zero: hypergradients in float32 had errors of up to 13 times their size (docs/LOG.md).
    """

    torch_class: ClassVar[str] = "Adam"
    betas: tuple[Annotated[float, number(0, 1)], Annotated[float, number(0, 1)]] = (0.9, 0.999)
    epsilon: Annotated[float, number(1e-30, 1)] = 1e-5
    weight_decay: Annotated[float, number(0, 1e6)] = 0.0
    """lambda of a term lambda theta in the gradient, so that it passes through the moments, as in torch.optim.Adam."""

    def start(self, thetas: Float[Tensor, "networks size"]) -> State:
        """Return a state of the weights and moments 0."""
        return thetas, torch.zeros_like(thetas), torch.zeros_like(thetas)

    def update(self, state: State, gradient: Tensor, step_size: Tensor, t: int | Tensor) -> State:
        """Return the weights and moments after one step."""
        return self._moved(state, _decayed(gradient, state[0], self.weight_decay), step_size, t)

    def _moved(self, state: State, gradient: Tensor, step_size: Tensor, t: int | Tensor) -> State:
        theta, first, second = state
        first = self.betas[0] * first + (1 - self.betas[0]) * gradient
        second = self.betas[1] * second + (1 - self.betas[1]) * gradient.square()
        mean, square = first / (1 - self.betas[0] ** (t + 1)), second / (1 - self.betas[1] ** (t + 1))
        positive = square > 0
        root = torch.where(positive, square, 1.0).sqrt() * positive
        return theta - step_size * mean / (root + self.epsilon), first, second

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of the class of `torch.optim`."""
        return {"betas": self.betas, "eps": self.epsilon, "amsgrad": False, "weight_decay": self.weight_decay}

    @property
    def words(self) -> str:
        """The optimiser in words."""
        mantissa, exponent = f"{self.epsilon:e}".split("e")
        epsilon = f"{float(mantissa):g}e{int(exponent)}"
        betas = f"betas {self.betas[0]:g} and {self.betas[1]:g} and epsilon {epsilon}"
        return f"{self.torch_class} with {betas}" + _decay_words(self.weight_decay)


@dataclass(frozen=True, kw_only=True)
class AdamW(Adam):
    """AdamW (Loshchilov and Hutter 2019): theta <- theta - eta (direction of Adam + lambda theta)."""

    torch_class: ClassVar[str] = "AdamW"
    weight_decay: Annotated[float, number(0, 1e6)] = 0.01
    """lambda, which pulls every weight towards 0, apart from the moments."""

    def update(self, state: State, gradient: Tensor, step_size: Tensor, t: int | Tensor) -> State:
        """Return the weights and moments after one step."""
        theta, *moments = state
        return self._moved((theta - step_size * self.weight_decay * theta, *moments), gradient, step_size, t)


@dataclass(frozen=True, kw_only=True)
class Clipped(Rule):
    """A rule that limits the norm of each network's gradient, g min(1, limit / |g|), for the rule inside."""

    inside: Rule
    limit: float
    """The largest norm, above 0."""

    def __post_init__(self) -> None:
        if not self.limit > 0:
            raise UserError(f"the limit on the norm of a gradient is {self.limit}, but must be above 0")

    def start(self, thetas: Float[Tensor, "networks size"]) -> State:
        """Return the first state of the rule inside."""
        return self.inside.start(thetas)

    def update(self, state: State, gradient: Tensor, step_size: Tensor, t: int | Tensor) -> State:
        """Return the state of the rule inside after one step with the limited gradient."""
        norm = gradient.norm(dim=1, keepdim=True).clamp(min=1e-30)
        return self.inside.update(state, gradient * (self.limit / norm).clamp(max=1), step_size, t)


def _decayed(gradient: Tensor, theta: Tensor, weight_decay: float) -> Tensor:
    """Return gradient + weight_decay * theta, without any operation if there is no weight decay."""
    return gradient + weight_decay * theta if weight_decay else gradient


def _decay_words(weight_decay: float, joined_by: str = "and") -> str:
    return f" {joined_by} weight decay {weight_decay:g}" if weight_decay else ""


OptimiserName = Literal["sgd", "momentum", "adam", "adamw", "momentum-decay"]
"""The names of `OPTIMISERS`."""
OPTIMISERS: Mapping[str, Optimiser] = {
    "sgd": GradientDescent(),
    "momentum": Momentum(),
    "adam": Adam(),
    "adamw": AdamW(),
    "momentum-decay": Momentum(weight_decay=5e-4),
}
"""The optimisers that settings and distilled sets name. ``momentum-decay`` is the one of most published evaluations."""


def optimiser(name: str) -> Optimiser:
    """Return the optimiser called `name`.

    Raises:
        UserError: no optimiser has this name.
    """
    if name not in OPTIMISERS:
        raise unknown("optimiser", name, OPTIMISERS)
    return OPTIMISERS[name]


def known_name(rule: Optimiser) -> str:
    """Return the name of an optimiser in `OPTIMISERS`; empty if it has other settings than every one with a name."""
    return next((name for name, known in OPTIMISERS.items() if known == rule), "")
