"""How hypergradients are computed: settings that change time and memory, and nothing else up to rounding."""

from dataclasses import dataclass
from typing import Literal

import torch

from ..errors import UserError, at_least
from .fused import Fused
from .optim import GradientDescent, Optimiser, optimiser
from .steps import EagerSteps, ForwardSteps, InnerLoss, Steps
from .traced import TracedSteps

Mode = Literal["auto", "stored", "recomputed"]
Execution = Literal["auto", "eager", "forward", "traced", "compiled"]
Precision = Literal["auto", "float32", "bfloat16", "float64"]


@dataclass(frozen=True, kw_only=True)
class Engine:
    """How it is computed. What is left to ``auto`` is measured at the start of a run, and stored with it."""

    mode: Mode = "auto"
    """Exact hypergradient from stored graphs (least work) or from recomputed steps (memory flat in the steps)."""
    execution: Execution = "auto"
    """Of a step: autograd (eager), forward over reverse, traced operations, or these compiled."""
    keep_every: int = 1
    """Recomputed steps start from weights kept every so many steps on the host; 1 keeps all of them where they are."""
    together: int = 0
    """Networks in one batched program; 0 measures whether all at once or one after the other is faster."""
    precision: Precision = "auto"
    """The layers compute in float32 or in bfloat16 (weights and step sizes stay in float32); or everything is computed
    in float64, which is slow and meant for checks. auto takes bfloat16 only where it is measured to be faster."""

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
        """The type that the layers compute in; None for the type of the weights."""
        return torch.bfloat16 if self.precision == "bfloat16" else None

    @property
    def weights(self) -> torch.dtype:
        """The type of weights, step sizes, synthetic examples and real images."""
        return torch.float64 if self.precision == "float64" else torch.float32

    @property
    def resolved(self) -> bool:
        """Whether nothing is left to be measured."""
        return "auto" not in (self.mode, self.execution, self.precision) and self.together > 0

    def __str__(self) -> str:
        together = "all networks together" if self.together != 1 else "one network at a time"
        kept = f", weights kept every {self.keep_every} steps" if self.keep_every > 1 else ""
        return f"{self.execution} steps, {self.mode}{kept}, {together}, {self.precision}"

    def steps(self, loss: InnerLoss) -> Steps:
        """The steps of an inner loss, computed in this way.

        Raises:
            UserError: the execution is not chosen yet.
        """
        match self.execution:
            case "eager":
                return EagerSteps(loss)
            case "forward":
                return ForwardSteps(loss)
            case "traced" | "compiled":
                return TracedSteps(loss, compiled=self.execution == "compiled")
        raise UserError("the execution is still to be chosen; take eager, forward, traced or compiled")

    def optimiser(self, name: str) -> Optimiser:
        """The inner optimiser of that name, computed in this way.

        Raises:
            UserError: there is none.
        """
        rule = optimiser(name)
        plain = isinstance(rule, GradientDescent)  # two operations: there is nothing to be fused
        return rule if plain or self.execution != "compiled" else Fused(rule)
