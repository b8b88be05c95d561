"""Whether one set is better than another: the interval of the difference of their mean accuracies."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from ..artifact import DistilledSet
from ..errors import UserError
from .score import Score

PAIRED_BY = ("network", "initialiser", "seed")
"""What two protocols share where network i is the same in both."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Of two mean accuracies, as fractions of 1, with a confidence interval over networks."""

    mean: float
    low: float | None
    """None where an interval cannot be had: only one network on a side."""
    high: float | None
    n: int
    """Pairs, or the smaller number of networks where they are not paired."""
    paired: bool
    """Whether both sets trained the same initial weights."""
    confidence: float

    def __str__(self) -> str:
        points = f"{100 * self.mean:+.1f}"
        if self.low is None or self.high is None:
            return points
        return f"{points} [{100 * self.low:+.1f}, {100 * self.high:+.1f}]"


def difference(one: Score, other: Sequence[Score], confidence: float = 0.95) -> Difference:
    """How much better `one` is than another set, or than the mean of several sets of one kind.

    Student's interval of the mean difference of networks that start from the same initial weights; Welch's where the
    networks are not the same. It is over networks: what another distillation seed would change is not in it.

    Args:
        one: a score.
        other: scores of sets of one kind under one protocol, e.g. random sets that differ in their seed.
        confidence: of the interval, in (0, 1).

    Raises:
        UserError: scores on different images, or no score to compare with.
    """
    if not other:
        raise UserError("there is no score to compare with")
    for score in other:
        if (score.split, score.images) != (one.split, one.images):
            raise UserError(
                f"scores on {one.images} {one.split} and {score.images} {score.split} images cannot be compared; "
                "measure both on the same"
            )
    paired = all(score.protocol.get(key) == one.protocol.get(key) for score in other for key in PAIRED_BY)
    rest = [statistics.fmean(each) for each in zip(*(score.accuracies for score in other), strict=False)]
    count = min(len(one.accuracies), len(rest))
    if paired:
        pairs = [a - b for a, b in zip(one.accuracies[:count], rest[:count], strict=True)]
        mean, half = statistics.fmean(pairs), _half(_variance(pairs), count - 1, confidence)
    else:
        mean = one.mean - statistics.fmean(rest)
        half = _welch(one.accuracies, rest, confidence)
    low, high = (None, None) if half is None else (mean - half, mean + half)
    return Difference(mean=mean, low=low, high=high, n=count, paired=paired, confidence=confidence)


def _variance(values: Sequence[float]) -> float:
    """Of the mean of the values."""
    return statistics.variance(values) / len(values) if len(values) > 1 else math.nan


def _half(variance: float, freedom: int | float, confidence: float) -> float | None:
    from scipy.stats import t  # half a second to import

    return None if math.isnan(variance) else float(t.ppf((1 + confidence) / 2, freedom)) * math.sqrt(variance)


def _welch(one: Sequence[float], other: Sequence[float], confidence: float) -> float | None:
    first, second = _variance(one), _variance(other)
    if math.isnan(first + second) or first + second == 0:
        return None if math.isnan(first + second) else 0.0
    share = first / (first + second)
    freedom = 1 / (share**2 / (len(one) - 1) + (1 - share) ** 2 / (len(other) - 1))
    return _half(first + second, freedom, confidence)


def comparable(sets: dict[str, DistilledSet]) -> None:
    """Raise a `UserError` unless all sets are of the same data, image shape and classes; the keys name them."""
    (first, one), *rest = sets.items()
    for name, other in rest:
        for what, mine, its in (
            ("data", one.header.data, other.header.data),
            ("image shape", one.shape, other.shape),
            ("number of classes", one.classes, other.classes),
        ):
            if mine != its:
                raise UserError(
                    f"{first} and {name} cannot be compared: their {what} is {mine!r} and {its!r}; "
                    "compare sets of one data set, or give --data"
                )
