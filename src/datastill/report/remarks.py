"""What is wrong with a score, in sentences, and what to try."""

from collections.abc import Mapping
from typing import Any

from ..artifact import DistilledSet
from .words import percent

TRY = (
    "Try more outer iterations (--loop.iterations), more examples (--method.ipc), more steps (--method.steps), another "
    "step size (--method.step-size) or a smaller network, and check that the labels of the data are right."
)


def remarks(distilled: DistilledSet, score: Mapping[str, Any] | None = None) -> list[str]:
    """Sentences about a score near chance or below that of random real images; none for a better one.

    Args:
        distilled: the set. Sets made to attack are not expected to be accurate, and get no remark.
        score: what was measured of it, as in the artifact; the set's own when left out.
    """
    measured = distilled.header.score if score is None else score
    if not measured or distilled.header.attack:
        return []
    found = [*_near_chance(measured["mean"], distilled.classes), *_below_baseline(measured)]
    return [*found, TRY] if found else []


def _near_chance(mean: float, classes: int) -> list[str]:
    """Near chance is a tenth of the way from chance to 100 %, and at most twice chance."""
    chance = 1 / classes
    if mean > chance + min(0.1 * (1 - chance), chance):
        return []
    return [f"{percent(mean)} % is hardly better than guessing: {percent(chance)} % with {classes} classes."]


def _below_baseline(score: Mapping[str, Any]) -> list[str]:
    baseline = score.get("baseline") or {}
    if baseline.get("mean") is None or score["mean"] >= baseline["mean"]:
        return []
    kind = baseline.get("kind", "random real")
    theirs, ours = percent(baseline["mean"]), percent(score["mean"])
    return [f"The set is worse than the baseline: {ours} % with the set, {theirs} % with as many images ({kind})."]
