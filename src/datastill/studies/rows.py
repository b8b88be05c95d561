"""The rows of tables: measuring one kind of baseline, and writing its scores."""

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
"""Baselines of the paper: kind -> its name in tables."""


def settings_of(kind: Baseline, setting: Setting, sets: int) -> Iterator[Setting]:
    """Give the setting with each seed from 0 to `sets` - 1, or only with seed 0 if the kind does not depend on it."""
    return (replace(setting, seed=seed) for seed in range(sets if kind.varies else 1))


def baseline(kind: Baseline, setting: Setting, sets: int, networks: int) -> dict[str, Any]:
    """Measure sets on the test split; the training is chosen on validation images, for the first set and then kept.

    Returns:
        ``scores``; ``bytes`` of a set; ``chosen``, the training that was chosen.
    """
    chosen: Protocol | None = None
    scores = []
    for each in settings_of(kind, setting, sets):
        one = kind.build(each, chosen)
        chosen = trained_by(one)
        scores.append(score(one, each.data, Protocol(networks=networks), progress=True).as_dict())
    return {"scores": scores, "bytes": one.nbytes, "chosen": asdict(trained_by(one))}


def as_score(plain: dict[str, Any]) -> Score:
    """Make a score from plain values, which may hold other keys too."""
    return Score(**{f.name: plain[f.name] for f in fields(Score) if f.name in plain})


def scores_of(record: dict[str, Any]) -> list[Score]:
    """Return the scores in the record of a part."""
    return [as_score(plain) for plain in record["scores"]]


def count_and_accuracy(scores: list[Score]) -> str:
    """Write two cells of a table: networks x sets, and mean and standard deviation over all of them."""
    accuracies = [accuracy for one in scores for accuracy in one.accuracies]
    return f"{scores[0].n} x {len(scores)} | {spread_of(accuracies)}"
