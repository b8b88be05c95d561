"""How hypergradients are computed: settings that change time and memory. Results are equal up to rounding."""

from dataclasses import dataclass
from typing import Literal

import torch

from ..errors import UserError, at_least
from ..program import GradientDescent, Rule, optimiser
from .fused import Fused
from .steps import EagerSteps, ForwardSteps, InnerLoss, Steps
from .traced import TracedSteps

Mode = Literal["auto", "stored", "recomputed"]
Execution = Literal["auto", "eager", "forward", "traced", "compiled"]
Precision = Literal["auto", "float32", "bfloat16", "float64"]


@dataclass(frozen=True, kw_only=True)
class Engine:
    """How hypergradients are computed. At the start of a run, ``auto`` is replaced by the fastest choice and stored."""

    mode: Mode = "auto"
    """Exact hypergradient from stored graphs (fastest) or recomputed steps (less memory); auto measures and chooses."""
    execution: Execution = "auto"
    """How a gradient step is computed: eager (plain autograd), forward (forward-mode over reverse-mode derivatives),
    traced (a recorded list of operations) or compiled (that list, compiled); auto measures and chooses."""
    keep_every: int = 1
    """Mode recomputed keeps the weights of every k-th step, in main memory. 1: it keeps the weights of every step, on
    the device."""
    together: int = 0
    """How many networks are computed in one batch. 0: measure and choose between all at once and one by one."""
    precision: Precision = "auto"
    """The layers compute in float32 or in bfloat16 (weights and step sizes stay in float32). With float64, everything
    is computed in float64, which is slow and meant for checks. auto chooses bfloat16 only if it measures that it is
    faster."""

    def __post_init__(self) -> None:
        at_least("keep_every", self.keep_every, 1)
        at_least("together", self.together, 0)
        if self.keep_every > 1 and self.mode == "stored":
            raise UserError(
                f"keep_every is {self.keep_every}, but stored graphs keep the weights of every step; take mode "
                "recomputed, or leave keep_every out"
            )

    @property
    def layers(self) -> torch.dtype | None:
        """The data type in which layers compute; None for the data type of the weights."""
        return torch.bfloat16 if self.precision == "bfloat16" else None

    @property
    def weights(self) -> torch.dtype:
        """The data type of weights, step sizes, synthetic examples and real images."""
        return torch.float64 if self.precision == "float64" else torch.float32

    @property
    def resolved(self) -> bool:
        """Whether every setting is chosen, so that nothing has to be measured."""
        return "auto" not in (self.mode, self.execution, self.precision) and self.together > 0

    def __str__(self) -> str:
        together = "all networks together" if self.together != 1 else "one network at a time"
        kept = f", weights kept every {self.keep_every} steps" if self.keep_every > 1 else ""
        return f"{self.execution} steps, {self.mode}{kept}, {together}, {self.precision}"

    def steps(self, loss: InnerLoss) -> Steps:
        """Return the `Steps` of an inner loss for the chosen `execution`.

        Raises:
            UserError: `execution` is still auto.
        """
        match self.execution:
            case "eager":
                return EagerSteps(loss)
            case "forward":
                return ForwardSteps(loss)
            case "traced" | "compiled":
                return TracedSteps(loss, compiled=self.execution == "compiled")
        raise UserError("execution is 'auto', which is still to be chosen; take eager, forward, traced or compiled")

    def optimiser(self, name: str) -> Rule:
        """Return the inner optimiser called `name`; it is fused if the execution is compiled.

        Raises:
            UserError: no optimiser has this name.
        """
        rule = optimiser(name)
        plain = isinstance(rule, GradientDescent)  # two operations: nothing to fuse
        return rule if plain or self.execution != "compiled" else Fused(rule)


PLAIN = Engine(mode="stored", execution="eager", together=1, precision="float32")
"""The plain way to compute: it works for every network and on every machine, and nothing is measured to choose it."""
