"""Inner optimisers compiled to one kernel forward and one backward, as memory limits their many small operations."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..program import Rule, State
from ..recorded import recorded
from .traced import traced, without_grad


class Fused(Rule):
    """An optimiser whose update and derivative of the update are traced and compiled once per shape.

    For 1.8 million weights on one CPU thread, Adam's update and its derivative take 9 ms instead of 137 (docs/LOG.md).
    """

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self._compiled: dict[Any, Callable[..., Any]] = {}

    def start(self, thetas: Float[Tensor, "networks size"]) -> State:
        """Return the state before the first step."""
        return self.rule.start(thetas)

    def update(self, state: State, gradient: Tensor, step_size: Tensor, t: int | Tensor) -> State:
        """Return the state after step t. Autograd cannot differentiate it; `pull` does."""

        def update(gradient: Tensor, step_size: Tensor, t: Tensor, *state: Tensor) -> State:
            return self.rule.update(state, gradient, step_size, t)

        return self._run(update, gradient, step_size, _tensor(t, gradient), *state)

    def pull(
        self, state: State, gradient: Tensor, step_size: Tensor, t: int | Tensor, cotangents: State
    ) -> tuple[State, Tensor, Float[Tensor, " networks"]]:
        """Return the derivatives of `update`, as `Rule.pull` does."""

        def pull(gradient: Tensor, step_size: Tensor, t: Tensor, *rest: Tensor) -> Any:
            return self.rule.pull(rest[: len(state)], gradient, step_size, t, rest[len(state) :])

        return self._run(pull, gradient, step_size, _tensor(t, gradient), *state, *cotangents)

    def _run(self, function: Callable[..., Any], *arguments: Tensor) -> Any:
        key = (function.__name__, arguments[0].shape, arguments[0].dtype, arguments[0].device)
        if key not in self._compiled:
            with torch.no_grad():
                compiled = without_grad(torch.compile(traced(function, *arguments), dynamic=False))
                self._compiled[key] = recorded(compiled, arguments)
        return self._compiled[key](*arguments)


def _tensor(t: int | Tensor, like: Tensor) -> Tensor:
    """Return the step number as a tensor; as a constant, it would cause a compilation at each step.

    It is in float64: the first steps of Adam divide by 1 - 0.999 ** (t + 1), of which float32 keeps four digits.
    """
    return t if isinstance(t, Tensor) else torch.full((), t, dtype=torch.float64, device=like.device)
