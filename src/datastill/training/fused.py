"""Inner optimisers as one kernel each way: their many small operations on all weights are bound by memory."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from .optim import Optimiser, State
from .traced import traced, without_grad


class Fused(Optimiser):
    """The same optimiser, its update and its reverse each traced and compiled once per shape.

    For 1.8 million weights on one CPU thread Adam's update and reverse take 9 ms in the place of 137 (docs/LOG.md).
    """

    name = "fused"

    def __init__(self, rule: Optimiser) -> None:
        self.rule = rule
        self._compiled: dict[Any, Callable[..., Any]] = {}

    def start(self, thetas: Float[Tensor, "networks size"]) -> State:
        """The state before the first step."""
        return self.rule.start(thetas)

    def update(self, state: State, gradient: Tensor, step_size: Tensor, t: int | Tensor) -> State:
        """The state after step t; not differentiable by autograd, which `pull` is for."""

        def update(gradient: Tensor, step_size: Tensor, t: Tensor, *state: Tensor) -> State:
            return self.rule.update(state, gradient, step_size, t)

        return self._run(update, gradient, step_size, _tensor(t, gradient), *state)

    def pull(
        self, state: State, gradient: Tensor, step_size: Tensor, t: int | Tensor, cotangents: State
    ) -> tuple[State, Tensor, Float[Tensor, " networks"]]:
        """The reverse of `update`."""

        def pull(gradient: Tensor, step_size: Tensor, t: Tensor, *rest: Tensor) -> Any:
            return self.rule.pull(rest[: len(state)], gradient, step_size, t, rest[len(state) :])

        return self._run(pull, gradient, step_size, _tensor(t, gradient), *state, *cotangents)

    def _run(self, function: Callable[..., Any], *arguments: Tensor) -> Any:
        key = (function.__name__, arguments[0].shape, arguments[0].dtype, arguments[0].device)
        if key not in self._compiled:
            with torch.no_grad():
                self._compiled[key] = without_grad(torch.compile(traced(function, *arguments), dynamic=False))
        return self._compiled[key](*arguments)


def _tensor(t: int | Tensor, like: Tensor) -> Tensor:
    """The number of the step as a value: as a constant, every step would be compiled anew."""
    return t if isinstance(t, Tensor) else torch.full((), t, dtype=like.dtype, device=like.device)
