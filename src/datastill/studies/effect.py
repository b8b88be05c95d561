"""The effect of a poisoned set on networks, as the parts of a study hold it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..artifact import DistilledSet
from ..artifact.scores import MOST_NETWORKS, SHARES, SIZE, SPLITS
from ..errors import UserError
from ..migration import MEASURES
from ..storage.records import Rule, one_of, record, text, whole


@dataclass(frozen=True, kw_only=True)
class Shares:
    """Measurements of a poisoned set, one value per network, as fractions of 1."""

    misread: tuple[float, ...]
    """Share of the images of the attacked class that are classified as the target class."""
    overall: tuple[float, ...]
    """Accuracy on all images."""
    others: tuple[float, ...]
    """Accuracy on the images of the other classes, without the attacked class."""


@dataclass(frozen=True, kw_only=True)
class Effect:
    """The effect of a poisoned set on networks: measurements before and after training on it."""

    attack_class: str
    """Name of the class whose images are to be misclassified."""
    target_class: str
    """Name of the class that these images are to be classified as."""
    split: str
    """Split of the real data: ``test`` or ``validation``."""
    images: int
    """Number of images that each network was measured on."""
    n: int
    """Number of networks."""
    before: Shares
    """Measurements with the initial weights."""
    after: Shares
    """Measurements after training on the set."""


def effect_of(distilled: DistilledSet, score: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the effect of a poisoned set as plain values, from a score of it."""
    found, about = score or {}, distilled.header.objective.about(distilled.header.class_names)
    stages = {
        stage: {name: list(found["measures"][now][stage]) for name, now in MEASURES.items()}
        for stage in ("before", "after")
    }
    classes = {"attack_class": about["attacked_class"], "target_class": about["target_class"]}
    return classes | {name: found[name] for name in ("split", "images", "n")} | stages


def _agrees(effect: Mapping[str, Any], where: str) -> None:
    """Raise a `UserError` if the lists of an effect do not belong together."""
    lengths = {len(values) for stage in ("before", "after") for values in effect[stage].values()}
    if lengths != {effect["n"]}:
        raise UserError(f"{where}.n is {effect['n']}, but its lists have {sorted(lengths)} values")


_SHARES = record(dict.fromkeys(MEASURES, SHARES), needed=tuple(MEASURES))
_FIELDS: Mapping[str, Rule] = {
    "attack_class": text(1000),
    "target_class": text(1000),
    "split": one_of(*SPLITS),
    "images": SIZE,
    "n": whole(1, MOST_NETWORKS),
    "before": _SHARES,
    "after": _SHARES,
}
EFFECT = record(_FIELDS, needed=tuple(_FIELDS), also=_agrees)
"""The rule of an effect in the part of a study."""
