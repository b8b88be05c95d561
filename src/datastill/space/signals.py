"""The space of signals."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from jaxtyping import Float
from torch import Tensor

from ..storage.records import whole
from .base import Space
from .vectors import Vectors, scale_words

MOST_TIMES = 10_000_000
"""The largest number of values of a channel."""


@dataclass(frozen=True, kw_only=True)
class Signals(Vectors):
    """Signals: several channels of equally many values in time; normalised as (x - mean) / std in each channel."""

    noun = "signal"
    parts = "channels"
    compared = "mean and std of channels"
    kind: Literal["signals"] = field(default="signals", init=False)  # type: ignore[assignment]
    length: Annotated[int, whole(1, MOST_TIMES)]
    """Values of each channel; `columns` are the names of the channels."""

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """(channels, length)."""
        return (len(self.columns), self.length)

    @property
    def words(self) -> str:
        """The shape of a signal in words."""
        return f"signals of {len(self.columns)} × {self.length}"

    @property
    def layout(self) -> str:
        """The names of the dimensions of a signal."""
        return "(channels, length)"

    @property
    def formula(self) -> str:
        """How values are normalised."""
        return "(value - mean) / std in each channel"

    @property
    def sample(self) -> str:
        """A line of Python that stands for a user's signals."""
        return f"real = torch.randn(8, {len(self.columns)}, {self.length})  # your signals: a tensor or an array"

    def reads(self, other: Space) -> bool:
        """Return whether another space has these channels in this order, and this length."""
        return super().reads(other) and other.shape == self.shape

    def how_shown(self, low: float, high: float) -> str:
        """Say how signals are drawn."""
        return f"Each example has a line of grey levels for each channel; {scale_words(low, high, 'channel')}"

    def table(self, inputs: Float[Tensor, "n channels length"]) -> tuple[list[str], list[list[Any]]]:
        """Return a column for each channel and time, and the signals in their units."""
        _, rows = super().table(inputs)
        return [f"{name}.{time}" for name in self.columns for time in range(self.length)], rows
