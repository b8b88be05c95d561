"""What belongs to unrolling a training of networks, whatever is learned by it."""

from dataclasses import dataclass, field

import torch

from ..errors import UserError, at_least
from ..storage.records import must_have_types
from .engine import Engine
from .inner import draw_window


@dataclass(frozen=True, kw_only=True)
class Unroll:
    """How the training of networks is unrolled: the number of networks and of steps, and how this is computed."""

    networks: int = 1
    """How many networks are trained in each outer iteration, each from different initial weights."""
    window: int = 0
    """How many gradient steps in a row to differentiate through, at a random place of the program; training ends with
    them (arXiv 2311.07025). 0: all steps, as in the paper."""
    growth: int = 0
    """Outer iterations in which the latest end of the window moves, evenly, from the first place of a window to the end
    of the program: early iterations take fewer gradient steps. 0: from the start, windows are at any place."""
    engine: Engine = field(default_factory=Engine)
    """How hypergradients are computed."""

    def __post_init__(self) -> None:
        must_have_types(self)
        at_least("networks", self.networks, 1)
        for name in ("window", "growth"):
            at_least(name, getattr(self, name), 0)
        if self.growth and not self.window:
            raise UserError(f"growth is {self.growth}, but window is 0, so that all steps count; give a window")

    def drawn_window(self, length: int, generator: torch.Generator, iteration: int) -> range:
        """Draw which of the `length` gradient steps to differentiate in an outer iteration."""
        if not self.window:
            return range(length)
        share = min((iteration + 1) / self.growth, 1.0) if self.growth else 1.0
        latest = self.window + round(share * (length - self.window))
        return draw_window(latest, self.window, generator)
