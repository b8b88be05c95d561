"""What belongs to unrolling a training of networks, whatever is learned by it."""

from dataclasses import dataclass, field

import torch

from ..errors import at_least
from ..storage.records import must_have_types
from .engine import Engine
from .inner import draw_window


@dataclass(frozen=True, kw_only=True)
class Unroll:
    """How the training of networks is unrolled: of how many, through how many steps, and how this is computed."""

    networks: int = 1
    """How many networks are trained in each outer iteration, each from different initial weights."""
    window: int = 0
    """How many gradient steps in a row to differentiate through, at a random position (arXiv 2311.07025).
    0: all steps, as in the paper."""
    engine: Engine = field(default_factory=Engine)
    """How hypergradients are computed."""

    def __post_init__(self) -> None:
        must_have_types(self)
        at_least("networks", self.networks, 1)
        at_least("window", self.window, 0)

    def drawn_window(self, length: int, generator: torch.Generator) -> range | None:
        """Draw which of the `length` gradient steps to differentiate; None for all of them."""
        return draw_window(length, self.window, generator) if self.window else None
