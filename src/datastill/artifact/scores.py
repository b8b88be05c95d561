"""The rules of scores: what a file may claim about measurements of a set, and which figures must agree."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import UserError
from ..networks.start import START
from ..program import OPTIMISERS
from ..program.orders import MOST_STEPS
from ..storage.records import LARGEST_VALUE, Rule, list_of, mapping_of, number, one_of, optional, record, text, whole

MOST_NETWORKS = 100_000
"""The largest number of networks that a score is measured on."""
ROUNDED = 1e-6
"""The largest difference of a mean or a standard deviation from that of the accuracies beside it."""
MOST_COUNTED_CLASSES = 100
"""The largest number of classes of which a score holds how often each is answered for each."""
SPLITS = ("test", "validation")

SHARE = number(0, 1)
SHARES = list_of(SHARE, 1, MOST_NETWORKS)
SIZE = whole(1, 10**9)

PROTOCOL = record(
    {
        "networks": whole(1, MOST_NETWORKS),
        "network": text(4096),
        "start": optional(START),
        "program": text(100),
        "step_size": number(0, LARGEST_VALUE),
        "epochs": whole(0, MOST_STEPS),
        "optimiser": one_of("", *OPTIMISERS),
        "augmentation": text(100),
        "clip": number(0, LARGEST_VALUE),
        "labels": one_of("", "hard", "soft"),
        "seed": whole(-(2**62), 2**62),
    },
    needed=("networks", "network", "start"),
)


MEASURE = record({"before": SHARES, "after": SHARES}, needed=("after",))
"""The rule of a further measure: one value for each network, before and after training."""


def _curve_agrees(curve: Mapping[str, Any], where: str) -> None:
    """Raise a `UserError` if the lists of a curve do not belong together."""
    if len({len(curve[name]) for name in ("steps", "mean", "sd") if name in curve}) > 1:
        raise UserError(f"{where} has lists of different lengths")
    if sorted(set(curve.get("steps", []))) != list(curve.get("steps", [])):
        raise UserError(f"{where}.steps are not in ascending order")


CURVE = record(
    {
        "steps": list_of(whole(0, MOST_STEPS), 1, 10_000),
        "split": one_of(*SPLITS),
        "images": SIZE,
        "networks": whole(1, MOST_NETWORKS),
        "mean": list_of(SHARE, 1, 10_000),
        "sd": list_of(SHARE, 1, 10_000),
    },
    needed=("mean", "sd"),
    also=_curve_agrees,
)


def _must_be_square(matrix: Sequence[Sequence[int]], where: str) -> None:
    for i, row in enumerate(matrix):
        if len(row) != len(matrix):
            raise UserError(f"{where}[{i}] has {len(row)} values, but {where} has {len(matrix)} rows")


_COUNT_ROW = list_of(whole(0, 2**62), 1, MOST_COUNTED_CLASSES)
_COUNT_ROWS = list_of(_COUNT_ROW, 1, MOST_COUNTED_CLASSES)


def _kept_square(matrix: Any, where: str) -> Any:
    _must_be_square(rows := _COUNT_ROWS.keep(matrix, where), where)
    return rows


CONFUSION = Rule(_COUNT_ROWS.words, _COUNT_ROWS.fits, _kept_square)
"""The rule of the counts of answers: a row for each true class, a column for each answered class."""


def _counts_agree(score: Mapping[str, Any], where: str) -> None:
    """Raise a `UserError` unless the counts of answers are those of all networks, with the mean accuracy.

    There may be fewer answers: a network whose training diverged gives none.
    """
    counts = score.get("confusion")
    if not counts:
        return
    given, right = sum(map(sum, counts)), sum(row[i] for i, row in enumerate(counts))
    if given > (asked := score["n"] * score["images"]):
        raise UserError(f"{where}.confusion counts {given} answers, but {score['n']} networks gave at most {asked}")
    if abs(right / asked - score["mean"]) > ROUNDED:
        raise UserError(f"{where}.mean is {score['mean']:.6g}, but {where}.confusion gives {right / asked:.6g}")


def must_have_classes(score: Mapping[str, Any] | None, names: Sequence[str], where: str = "score") -> None:
    """Raise a `UserError` if a score counts the answers of another number of classes than a set has."""
    counted = len((score or {}).get("confusion") or names)
    if counted != len(names):
        raise UserError(f"{where}.confusion is of {counted} classes, but the set has {len(names)}")


def _figures_agree(score: Mapping[str, Any], where: str, count: str = "n") -> None:
    """Raise a `UserError` unless the number, mean, standard deviation and maximum agree with the accuracies."""
    if "accuracies" not in score:
        return
    accuracies = score["accuracies"]
    found = {
        count: len(accuracies),
        "mean": statistics.fmean(accuracies),
        "sd": statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0,
        "best": max(accuracies),
    }
    for name, value in found.items():
        if score.get(name) is not None and abs(score[name] - value) > ROUNDED:
            raise UserError(f"{where}.{name} is {score[name]:.6g}, but {where}.accuracies give {value:.6g}")


def _score_agrees(score: Mapping[str, Any], where: str) -> None:
    """Raise a `UserError` if figures of a score contradict each other."""
    _figures_agree(score, where)
    _counts_agree(score, where)
    if score["protocol"]["networks"] != score["n"]:
        raise UserError(f"{where}.n is {score['n']}, but its protocol says {score['protocol']['networks']} networks")
    for name, stages in score.get("measures", {}).items():
        for stage, values in stages.items():
            if len(values) != score["n"]:
                raise UserError(f"{where}.n is {score['n']}, but {name} {stage} has {len(values)} values")


BASELINE = record(
    {
        "kind": text(200, 1),
        "sets": whole(1, MOST_NETWORKS),
        "best": optional(SHARE),
        "mean": SHARE,
        "sd": SHARE,
        "accuracies": SHARES,
    },
    needed=("kind", "mean", "sd"),
    also=lambda baseline, where: _figures_agree(baseline, where, count="sets"),
)
SCORE = record(
    {
        "split": one_of(*SPLITS),
        "images": SIZE,
        "mean": SHARE,
        "sd": SHARE,
        "n": whole(1, MOST_NETWORKS),
        "accuracies": SHARES,
        "seconds": number(0, 1e12),
        "hardware": text(200),
        "protocol": PROTOCOL,
        "curve": CURVE,
        "measures": mapping_of(MEASURE),
        "confusion": CONFUSION,
        "baseline": BASELINE,
    },
    needed=("split", "images", "mean", "sd", "n", "accuracies", "protocol"),
    also=_score_agrees,
)
