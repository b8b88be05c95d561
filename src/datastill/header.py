"""The header of a distilled set (what its tensors mean, how they were made) and the checks of header and tensors.

Every value in a file is checked here, once, so that no later code fails on a wrong value.
"""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import torch
from torch import Tensor

from .errors import UserError
from .program import OPTIMISERS
from .program.orders import MOST_STEPS
from .storage.files import parse_json
from .storage.records import (
    FLAG,
    Rule,
    list_of,
    must_be_json,
    must_have_types,
    number,
    one_of,
    optional,
    read,
    record,
    shown,
    text,
    whole,
)

MOST_CLASSES = 100_000
"""The largest number of classes of a set."""
MOST_NETWORKS = 100_000
"""The largest number of networks that a score is measured on."""
LARGEST_VALUE = 1e9
"""The largest absolute value of a normalised example, a step size, a label or a weight."""
ROUNDED = 1e-6
"""The largest difference of a mean or a standard deviation from that of the accuracies beside it."""
SPLITS = ("test", "validation")
FLOAT_TYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)

SHA256 = text(64, 64)
NAME = text(4096, 1)
SHARE = number(0, 1)
SHARES = list_of(SHARE, 1, MOST_NETWORKS)
SIZE = whole(1, 10**9)
OPTIMISER = one_of(*OPTIMISERS)

PROTOCOL = record(
    {
        "networks": whole(1, MOST_NETWORKS),
        "network": text(4096),
        "initialiser": text(4096),
        "program": text(100),
        "step_size": number(0, LARGEST_VALUE),
        "epochs": whole(0, MOST_STEPS),
        "optimiser": one_of("", *OPTIMISERS),
        "augmentation": text(100),
        "clip": number(0, LARGEST_VALUE),
        "labels": one_of("", "hard", "soft"),
        "seed": whole(-(2**62), 2**62),
    },
    needed=("networks", "network", "initialiser"),
)


def _attack_agrees(attack: Mapping[str, Any], where: str) -> None:
    """Raise a `UserError` if the lists of an attack do not belong together."""
    lengths = {len(values) for stage in ("before", "after") for values in attack[stage].values()}
    if lengths != {attack["n"]}:
        raise UserError(f"{where}.n is {attack['n']}, but its lists have {sorted(lengths)} values")


MEASURED = record(
    {"misread": SHARES, "overall": SHARES, "others": SHARES},
    needed=("misread", "overall", "others"),
)
ATTACK_FIELDS: Mapping[str, Rule] = {
    "attack_class": text(1000),
    "target_class": text(1000),
    "split": one_of(*SPLITS),
    "images": SIZE,
    "n": whole(1, MOST_NETWORKS),
    "before": MEASURED,
    "after": MEASURED,
}
ATTACK = record(ATTACK_FIELDS, needed=tuple(ATTACK_FIELDS), also=_attack_agrees)


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
    if score["protocol"]["networks"] != score["n"]:
        raise UserError(f"{where}.n is {score['n']}, but its protocol says {score['protocol']['networks']} networks")


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
        "attack": ATTACK,
        "baseline": BASELINE,
    },
    needed=("split", "images", "mean", "sd", "n", "accuracies", "protocol"),
    also=_score_agrees,
)
CONFIG = record(
    {
        "data": record(
            {
                "name": NAME,
                "resize": optional(whole(1, 100_000)),
                "pad": whole(0, 100_000),
                "validation": number(0, 1),
                "seed": whole(-(2**62), 2**62),
                "in_memory": FLAG,
            },
            more=True,
        )
    },
    more=True,
)
PROVENANCE = record(
    {
        "datastill": text(100),
        "hardware": text(200),
        "seconds": number(0, 1e12),
        "real_images": SIZE,
        "validation": optional(SHARE),
        "data_sha256": record(dict.fromkeys(("train", "validation", "test"), SHA256)),
        "pool": record({"sha256": SHA256}, more=True),
    },
    more=True,
)


@dataclass(frozen=True, kw_only=True)
class Header:
    """The header of a distilled set: what its tensors mean and how they were made. All values are plain JSON."""

    data: Annotated[str, NAME]
    """Name of the real data, or the path that it was read from."""
    class_names: Annotated[tuple[str, ...], list_of(text(1000), 1, MOST_CLASSES)]
    """Names of the classes, in the order of the labels."""
    mean: Annotated[tuple[float, ...], list_of(number(-1e6, 1e6), 1, 10_000)]
    """Mean of the pixels per channel; a pixel p in [0, 1] is normalised as (p - mean) / std."""
    std: Annotated[tuple[float, ...], list_of(number(1e-9, 1e6), 1, 10_000)]
    """Standard deviation of the pixels per channel."""
    network: Annotated[str, NAME]
    """The network that the set was made for, e.g. ``lenet`` or ``convnet(depth=2)``."""
    initialiser: Annotated[str, NAME]
    """How the initial weights of the network are drawn, e.g. ``xavier``."""
    initial: Annotated[str, one_of("fixed", "random", "own")]
    """Initial weights that the set was made for. ``fixed``: one draw, stored in the file; ``random``: any draw of the
    initialiser; ``own``: weights that the user's network already has, e.g. pretrained weights, not stored here."""
    weights: Annotated[str, text(64)] = ""
    """SHA-256 of the weights that the user's network must already have: its frozen parameters, or all parameters if
    ``initial`` is ``own``. Empty if there are none."""
    space: Annotated[str, one_of("normalised")] = "normalised"
    """How the examples are stored: always ``normalised``, as a network takes them."""
    bits: Annotated[int, one_of(32, 8)] = 32
    """Bits per value of the examples in the file: 32, or 8 with a scale and an offset for each image."""
    order: Annotated[str, one_of("ordered")] = "ordered"
    """Order of the steps: always ``ordered``, the stored order, each step once per epoch."""
    optimiser: Annotated[str, OPTIMISER] = "sgd"
    """Optimiser of the training, by its name in `program.OPTIMISERS`, e.g. ``sgd``, ``momentum`` (of 0.9) or ``adam``
    (epsilon 1e-5)."""
    attack: Annotated[tuple[int, int] | None, optional(list_of(whole(0, MOST_CLASSES - 1), 2, 2))] = None
    """(attacked class, target class) of a poisoned set; None for an ordinary set."""
    method: Annotated[str, text(200)] = ""
    """Name of the method that made the set."""
    config: Annotated[Mapping[str, Any], CONFIG] = field(default_factory=dict)
    """The resolved configuration of the run; the run can be repeated from it."""
    provenance: Annotated[Mapping[str, Any], PROVENANCE] = field(default_factory=dict)
    """How the set was made: versions, hardware class, seconds, iterations."""
    score: Annotated[Mapping[str, Any] | None, optional(SCORE)] = None
    """The measured score with its protocol; None if it was not measured."""


def read_header(written: str) -> Header:
    """Return the header that the JSON text of a file holds.

    Raises:
        UserError: the text is not JSON, a value has a wrong type or range, or a name is not known.
    """
    stored = _parsed(written)
    must_be_json(stored, "header")
    try:
        return read(Header, stored, "header")
    except UserError as error:
        raise UserError(f"{_asks_for(stored)}{error}{_written_by(stored)}") from error


def _asks_for(stored: Any) -> str:
    """Return a text with the module that a broken header would run; an empty text if it names none."""
    places = (("network",), ("score", "protocol", "network"), ("config", "network"), ("config", "protocol", "network"))
    for place in places:
        name = stored
        for key in place:
            name = name.get(key) if isinstance(name, Mapping) else None
        if isinstance(name, str) and ":" in name.partition("(")[0]:
            module = name.partition(":")[0].strip()
            return f"it asks for the network {shown(name)}, which runs code of the module {shown(module)}; moreover, "
    return ""


def _parsed(written: str) -> Any:
    try:
        return parse_json(written)
    except ValueError as error:
        raise UserError(f"its header cannot be read: {str(error)[:200]}") from error


def _written_by(stored: Any) -> str:
    """Return a text with the version that wrote the file; an empty text if the header does not name it."""
    provenance = stored.get("provenance") if isinstance(stored, Mapping) else None
    version = provenance.get("datastill") if isinstance(provenance, Mapping) else None
    return f" (the file was written by datastill {version[:100]})" if isinstance(version, str) else ""


def check_header(header: Header) -> None:
    """Raise a `UserError` unless what a user gives has the right types and ranges, and fits together.

    What a run adds (configuration, provenance, score) is checked where it is read from a file.
    """
    must_have_types(replace(header, config={}, provenance={}, score=None))
    names = header.class_names
    if len(set(names)) < len(names):
        double = next(name for i, name in enumerate(names) if name in names[:i])
        raise UserError(f"class_names holds {double!r} twice; give every class another name")
    if len(header.std) != len(header.mean):
        raise UserError(f"mean has {len(header.mean)} values and std {len(header.std)}; give one for each channel")
    if header.attack and (max(header.attack) >= len(names) or header.attack[0] == header.attack[1]):
        raise UserError(f"attack is {header.attack}, but must be two different classes from 0 to {len(names) - 1}")


def check_tensors(
    examples: Tensor, labels: Tensor, step_sizes: Tensor, theta_0: Mapping[str, Tensor] | None, header: Header
) -> None:
    """Raise a `UserError` unless the tensors of a set fit each other and its header, and hold finite values."""
    steps, batch = (*examples.shape, 0, 0)[:2]
    if examples.dim() != 5 or labels.shape[:2] != (steps, batch) or labels.dim() not in (2, 3):
        raise UserError(
            f"examples of shape {tuple(examples.shape)} and labels of shape {tuple(labels.shape)} do not "
            "belong together; give (steps, batch, channels, height, width) and (steps, batch)"
        )
    if step_sizes.dim() != 2 or step_sizes.shape[1] != steps:
        raise UserError(
            f"step sizes have shape {tuple(step_sizes.shape)}, but for {steps} steps it must be (epochs, {steps})"
        )
    if not examples.numel() or not step_sizes.numel() or step_sizes.numel() > MOST_STEPS:
        raise UserError(
            f"examples have shape {tuple(examples.shape)} and step sizes {tuple(step_sizes.shape)}, but a set must "
            f"have at least one example and one epoch, and at most {MOST_STEPS} gradient steps in all epochs"
        )
    if examples.shape[2] != len(header.mean):
        raise UserError(
            f"the examples have {examples.shape[2]} channels, but mean and std have {len(header.mean)} values; give "
            "one for each channel"
        )
    _check_values(examples, "examples")
    if step_sizes.dtype not in FLOAT_TYPES or not bool((step_sizes >= 0).all()):
        raise UserError(f"step sizes must be positive numbers, but the smallest is {step_sizes.min():.3g}")
    _check_values(step_sizes, "step sizes")
    _check_labels(labels, len(header.class_names))
    _check_initial(theta_0, header)


def _check_labels(labels: Tensor, classes: int) -> None:
    if labels.dim() == 3:
        if labels.shape[2] != classes:
            raise UserError(f"soft labels have {labels.shape[2]} values each, but there are {classes} class names")
        _check_values(labels, "labels")
    elif labels.dtype != torch.int64:
        raise UserError(f"labels are of type {labels.dtype}, but must be int64, or one probability for each class")
    elif not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise UserError(
            f"labels go from {int(labels.min())} to {int(labels.max())}, but with {classes} class names they must be "
            f"0 to {classes - 1}"
        )


def _check_initial(theta_0: Mapping[str, Tensor] | None, header: Header) -> None:
    if header.initial == "fixed" and not theta_0:
        raise UserError("initial is 'fixed', but the set holds no initial weights; give them as theta_0")
    if header.initial != "fixed" and theta_0:
        raise UserError(f"the set holds initial weights, but initial is {header.initial!r} and not 'fixed'")
    for name, value in (theta_0 or {}).items():
        text(500, 1)(name, "the name of an initial weight")
        _check_values(value, f"initial weights {name!r}")


def _check_values(values: Tensor, what: str) -> None:
    if values.dtype not in FLOAT_TYPES:
        raise UserError(f"{what} are of type {values.dtype}, but must be floating-point numbers, e.g. float32")
    if values.numel() and not float(values.detach().abs().max()) <= LARGEST_VALUE:  # NaN fails, too
        raise UserError(f"{what} hold values that are not finite or are above {LARGEST_VALUE:g}")
