"""What the tables share: a kind of baseline measured, and the scores of one kind as words."""

from collections.abc import Iterator
from dataclasses import asdict, fields, replace
from typing import Any

from ..baselines import Baseline, Setting, trained_by
from ..evaluation import Protocol, Score, score
from ..report import spread_of

KINDS = {
    "random": "random real images",
    "optimised-random": "random real, best 20 % on train images",
    "average": "class average",
    "k-means": "k-means of each class",
}
"""The paper's baselines, as they are called in tables."""


def settings_of(kind: Baseline, setting: Setting, sets: int) -> Iterator[Setting]:
    """The setting with so many seeds, or with one where a seed makes no difference."""
    return (replace(setting, seed=seed) for seed in range(sets if kind.varies else 1))


def baseline(kind: Baseline, setting: Setting, sets: int, networks: int) -> dict[str, Any]:
    """Scores of sets on the test split; how to train is chosen for the first of them, on validation images.

    Returns:
        ``scores``, ``bytes`` of a set, and what was ``chosen``.
    """
    chosen: Protocol | None = None
    scores = []
    for each in settings_of(kind, setting, sets):
        one = kind.build(each, chosen)
        chosen = trained_by(one)
        scores.append(score(one, each.data, Protocol(networks=networks), progress=True).as_dict())
    return {"scores": scores, "bytes": one.nbytes, "chosen": asdict(trained_by(one))}


def as_score(plain: dict[str, Any]) -> Score:
    """A score from plain values that may hold more."""
    return Score(**{f.name: plain[f.name] for f in fields(Score)})


def scores_of(record: dict[str, Any]) -> list[Score]:
    """Those of a part."""
    return [as_score(plain) for plain in record["scores"]]


def count_and_accuracy(scores: list[Score]) -> str:
    """Two cells of a table: networks x sets, and mean and spread over all of them."""
    accuracies = [accuracy for one in scores for accuracy in one.accuracies]
    return f"{scores[0].n} x {len(scores)} | {spread_of(accuracies)}"
