"""The rule of the file of a pool: the values of its header, and the tensors that follow from them."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError, counted
from ..space import SPACE
from ..storage.records import (
    FINITE,
    INTEGER_LIMIT,
    TEXT,
    WHOLE,
    list_of,
    mapping_of,
    number,
    optional,
    read,
    record,
    shown,
    whole,
)
from .snapshots import DIGEST_BYTES, sha256_name, stack_name, statistics_name

FORMAT = "datastill-pool/1"
SPLITS = ("training", "held_out")
MOST_NETWORKS = 10_000_000
"""The largest number of networks in a pool, of classes, and of numbers in a shape."""
FIELDS = {
    "settings": record({"network": TEXT}, needed=("network",), more=True),
    "shape": list_of(WHOLE, 1, 3),
    "classes": WHOLE,
    "class_names": list_of(TEXT, 1, MOST_NETWORKS),
    "space": SPACE,
    "parameters": mapping_of(list_of(whole(0, INTEGER_LIMIT), 0, 100)),
    "accuracies": record(dict.fromkeys(SPLITS, list_of(number(0, 1), 0, MOST_NETWORKS)), needed=SPLITS),
    "seconds": FINITE,
    "torch": TEXT,
    "frozen": optional(TEXT),
    "mean": list_of(FINITE, 1, MOST_NETWORKS),
    "std": list_of(FINITE, 1, MOST_NETWORKS),
    "snapshots": list_of(whole(0, INTEGER_LIMIT), 2, MOST_NETWORKS),
    "along": list_of(number(0, 1), 2, MOST_NETWORKS),
    "statistics": whole(1, INTEGER_LIMIT),
}
NOT_ALWAYS = ("frozen", "space", "mean", "std", "snapshots", "along", "statistics")
HEADER = record(FIELDS, needed=[name for name in FIELDS if name not in NOT_ALWAYS])
"""The rule of the header of a pool. ``frozen`` is absent if no parameter is frozen; ``snapshots``, the gradient steps
before each one, and ``along``, the mean accuracy of the networks to distil with at each one, if there are none;
``statistics``, how many numbers of batch normalisation a network has, if it has none. Pools of version 0.1 hold
``mean`` and ``std`` of pixels instead of ``space``."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """How the networks of a pool were trained; the words are those of `PoolSettings`."""

    epochs: int
    batch: int
    rate: float
    """Learning rate of the first gradient step."""
    schedule: str = "linear"
    """linear: the learning rate falls to 0. constant: it stays."""
    optimiser: str = "adam"
    augmentation: str = "none"

    def rate_at(self, step: int, steps: int) -> float:
        """Return the learning rate of the gradient step with this number, counted from 0, out of `steps`."""
        return self.rate * (1 - step / steps if self.schedule == "linear" else 1)


def training_of(header: Mapping[str, Any]) -> Training:
    """Return how the networks of a pool were trained, from its header.

    Raises:
        UserError: a setting has a wrong type.
    """
    names = {each.name for each in fields(Training)}
    return read(Training, {name: value for name, value in header["settings"].items() if name in names}, "settings")


def must_be_whole(header: Any, tensors: Mapping[str, Tensor], found: Mapping[str, Any]) -> None:
    """Raise a `UserError` unless a header has all fields of a pool, with their types, and fits the tensors.

    Args:
        header: the header.
        tensors: the tensors that were read.
        found: types and shapes of all tensors of the file, by name.
    """
    HEADER(header, "header")
    if len(header["class_names"]) != header["classes"]:
        raise UserError(f"it has {len(header['class_names'])} class names for {header['classes']} classes")
    size = sum(map(math.prod, header["parameters"].values()))
    beside = _beside(header, size)
    if set(found) != {*SPLITS, *beside}:
        raise UserError(
            f"it holds the tensors {', '.join(map(shown, sorted(found)[:8]))} instead of "
            f"{' and '.join([*SPLITS, *beside])}"
        )
    for name, value in tensors.items():
        if not bool(value.isfinite().all()):
            raise UserError(f"{name} holds weights that are not finite")
    for name in SPLITS:
        _must_hold_networks(name, tensors[name], size, len(header["accuracies"][name]))
    for name, kind in beside.items():
        if found[name] != kind:
            raise UserError(f"{name} is {' '.join(map(str, found[name]))}, but must be {' '.join(map(str, kind))}")


def _beside(header: Mapping[str, Any], size: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return type and shape of each tensor of the file besides the trained weights, by name."""
    steps, numbers, kinds = header.get("snapshots", [0]), header.get("statistics"), {}
    if steps[0] != 0 or any(a >= b for a, b in itertools.pairwise(steps)):
        raise UserError("the gradient steps of its snapshots must begin with 0 and rise")
    for split in SPLITS:
        first = (len(header["accuracies"][split]), len(steps) - 1)
        if "snapshots" in header:
            kinds[stack_name(split)] = ("F32", (*first, size))
            kinds[sha256_name(split)] = ("U8", (*first, DIGEST_BYTES))
        if numbers:
            kinds[statistics_name(split)] = ("F32", (first[0], len(steps), numbers))
    return kinds


def _must_hold_networks(name: str, value: Tensor, size: int, accuracies: int) -> None:
    if value.dtype != torch.float32 or value.dim() != 2 or value.shape[1] != size:
        raise UserError(
            f"{name} is {value.dtype} of shape {tuple(value.shape)}, but must be float32 with {size} columns"
        )
    if name == "training" and not len(value):
        raise UserError("it holds no networks to distil with")
    if accuracies != len(value):
        raise UserError(f"it has {accuracies} accuracies of {name} for {counted(len(value), 'network')}")
