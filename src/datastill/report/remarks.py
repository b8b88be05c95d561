"""Remarks on bad scores: sentences that say what is wrong and what to try."""

from collections.abc import Mapping
from typing import Any

from ..artifact import DistilledSet
from .words import percent

TO_CHANGE = {
    "ipc": "more examples (--method.ipc)",
    "steps": "more steps (--method.steps)",
    "step_size": "another step size (--method.step-size)",
}
"""What to try, by the setting of the method that it needs."""


def remarks(distilled: DistilledSet, score: Mapping[str, Any] | None = None) -> list[str]:
    """Return sentences about a score near chance or below the baseline; an empty list for a better score.

    Args:
        distilled: the set. A set whose objective is not accuracy, as of an attack, gets no remark.
        score: the measured score, as in the header of a set; None: the score in the header of `distilled`.
    """
    measured = distilled.header.score if score is None else score
    if not measured or not distilled.header.objective.is_accuracy:
        return []
    found = [
        *_near_chance(measured["mean"], distilled.classes),
        *_below_baseline(measured, distilled.header.space.nouns),
    ]
    if not found:
        return []
    settings = distilled.header.config.get("method") or {}
    if 0 in measured.get("accuracies", ()):
        return [*found, _if_diverged(settings)]
    return [*found, _advice(settings, iterated=distilled.header.provenance.get("iterations") != 0)]


def _advice(settings: Mapping[str, Any], *, iterated: bool) -> str:
    """Return what to try: only what the method that made the set has a setting for."""
    tries = ["more outer iterations (--loop.iterations)"] if iterated else []
    tries += [words for name, words in TO_CHANGE.items() if name in settings]
    tries += [] if iterated else ["a method that learns (datastill list methods)"]
    return f"Try {', '.join(tries)} or a smaller network, and check that the labels of the data are right."


def _if_diverged(settings: Mapping[str, Any]) -> str:
    """Return what to try if networks diverged."""
    options = ("--method.step-size, or " if "step_size" in settings else "") + "--tune.step-sizes to choose one"
    return f"Networks that answer no example right have probably diverged: take a smaller step size ({options})."


def _near_chance(mean: float, classes: int) -> list[str]:
    """Return a remark if the mean is near chance: within a tenth of the way to 100 %, and at most twice chance."""
    chance = 1 / classes
    if mean > chance + min(0.1 * (1 - chance), chance):
        return []
    better = "hardly better" if mean > chance else "no better"
    return [f"{percent(mean)} % is {better} than guessing, which reaches {percent(chance)} % with {classes} classes."]


def _below_baseline(score: Mapping[str, Any], nouns: str) -> list[str]:
    baseline = score.get("baseline") or {}
    if baseline.get("mean") is None or score["mean"] >= baseline["mean"]:
        return []
    kind = baseline.get("kind", "random real")
    theirs, ours = percent(baseline["mean"]), percent(score["mean"])
    return [
        f"The set is worse than the baseline: {ours} % with the set, {theirs} % with as many real {nouns} ({kind})."
    ]
