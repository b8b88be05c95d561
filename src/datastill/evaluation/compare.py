"""Whether one set is better than another: a confidence interval of the difference of their mean accuracies."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..artifact import DistilledSet
from ..errors import UserError
from .protocol import start_words
from .score import Score


def _pairing(score: Score) -> tuple[Any, ...]:
    """Return settings of a protocol; where they are equal, network i has equal initial weights under both protocols."""
    protocol = score.protocol
    return protocol.get("network"), start_words(protocol.get("start")), protocol.get("seed")


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The difference of two mean accuracies, as a fraction of 1, with a confidence interval."""

    mean: float
    low: float | None
    """Lower end of the interval; None if one side has only one network, so that no interval can be computed."""
    high: float | None
    n: int
    """How many pairs; if not paired, how many networks (or sets) the smaller side has."""
    paired: bool
    """Whether both sides were measured from the same initial weights."""
    confidence: float

    def __str__(self) -> str:
        points = f"{100 * self.mean:+.1f}"
        if self.low is None or self.high is None:
            return points
        return f"{points} [{100 * self.low:+.1f}, {100 * self.high:+.1f}]"


def difference(one: Sequence[Score], other: Sequence[Score], confidence: float = 0.95) -> Difference:
    """Compute how much better one set, or one kind of sets, is than another.

    If network i starts from the same initial weights on both sides, this is Student's interval of the mean of paired
    differences; the accuracy of network i is its mean over the sets of a kind. Otherwise it is Welch's interval. The
    interval is over networks: it does not contain what another seed of the distillation would change, nor other draws
    of the order and the augmentation, which all networks of a score share. Only if every
    set was measured with one network, as for nearest neighbours, it is over sets.

    Args:
        one: scores of sets of one kind under one protocol, e.g. random sets that differ in their seed.
        other: scores of the sets that they are compared with.
        confidence: probability that the interval covers, between 0 and 1.

    Raises:
        UserError: the scores were measured on different images, or one side is empty.
    """
    if not one or not other:
        raise UserError("there is no score to compare with")
    first = one[0]
    for score in (*one, *other):
        if (score.split, score.images) != (first.split, first.images):
            raise UserError(
                f"scores on {first.images} {first.split} and {score.images} {score.split} examples cannot be compared; "
                "measure both on the same examples"
            )
    sets_alone = len(one) + len(other) > 2 and all(score.n == 1 for score in (*one, *other))
    paired = not sets_alone and all(_pairing(score) == _pairing(first) for score in (*one, *other))
    if paired:
        pairs = [a - b for a, b in zip(_networks(one), _networks(other), strict=False)]
        count, mean, half = len(pairs), statistics.fmean(pairs), _half(_variance(pairs), len(pairs) - 1, confidence)
    else:
        left, right = _samples(one), _samples(other)
        count, mean = min(len(left), len(right)), statistics.fmean(left) - statistics.fmean(right)
        half = _welch(left, right, confidence)
    low, high = (None, None) if half is None else (mean - half, mean + half)
    return Difference(mean=mean, low=low, high=high, n=count, paired=paired, confidence=confidence)


def _networks(scores: Sequence[Score]) -> list[float]:
    """The accuracy of each network: its mean over all sets."""
    return [statistics.fmean(each) for each in zip(*(score.accuracies for score in scores), strict=False)]


def _samples(scores: Sequence[Score]) -> list[float]:
    """The values that vary by chance: one per network, or one per set if every set has only one network."""
    if all(score.n == 1 for score in scores):
        return [score.mean for score in scores]
    return _networks(scores)


def _variance(values: Sequence[float]) -> float:
    """Variance of the mean of the values; NaN for fewer than two."""
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
    """Raise a `UserError` unless all sets (by name) have the same data, image shape and number of classes."""
    (first, one), *rest = sets.items()
    for name, other in rest:
        for what, mine, its in (
            ("data", one.header.data, other.header.data),
            ("shape of examples", one.shape, other.shape),
            ("number of classes", one.classes, other.classes),
        ):
            if mine != its:
                raise UserError(
                    f"{first} and {name} cannot be compared: their {what} is {mine!r} and {its!r}; "
                    "compare sets of one data set, or give --data"
                )
