"""The lines of a chart, apart from the charts, so that nothing imports matplotlib (a second) before it draws."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a chart: accuracies (fractions in [0, 1]) against whole numbers."""

    name: str
    at: Sequence[int]
    mean: Sequence[float]
    sd: Sequence[float]
