"""A program as plain JSON values, to be stored, and back; every value is checked when it is read."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from jaxtyping import Float
from torch import Tensor

from ..errors import UserError
from ..storage.records import TEXT, kind_of, must_be_json, number, optional, record
from .augmentation import ShiftFlip
from .losses import CrossEntropy, Divergence, SquaredError
from .optimisers import Adam, AdamW, GradientDescent, Momentum
from .orders import Ordered, Shuffled
from .program import Program
from .siamese import Siamese

KINDS: Mapping[str, Mapping[str, type]] = {
    "order": {"ordered": Ordered, "shuffled": Shuffled},
    "optimiser": {"gradient-descent": GradientDescent, "momentum": Momentum, "adam": Adam, "adamw": AdamW},
    "loss": {"cross-entropy": CrossEntropy, "divergence": Divergence, "squared-error": SquaredError},
    "augmentation": {"shift-flip": ShiftFlip, "siamese": Siamese},
}
"""The records of each part of a program, by the name ``kind`` that a file has for them."""


def as_plain(program: Program) -> dict[str, Any]:
    """Return a program as plain JSON values. The step sizes of `Ordered` are a tensor, which is stored beside them."""
    parts = {part: _part_as_plain(part, getattr(program, part)) for part in KINDS}
    return {**parts, "clip": program.clip}


def _part_as_plain(part: str, record: Any) -> dict[str, Any] | None:
    if record is None:
        return None
    values = {field.name: getattr(record, field.name) for field in fields(record)}
    kind = next(name for name, known in KINDS[part].items() if type(record) is known)
    return {"kind": kind, **{name: value for name, value in values.items() if not isinstance(value, Tensor)}}


def from_plain(plain: Any, step_sizes: Float[Tensor, "epochs steps"] | None = None, where: str = "program") -> Program:
    """Return the program that `as_plain` made these values from.

    Args:
        plain: the values.
        step_sizes: the step sizes, if the order is ``ordered``; otherwise None.
        where: the words that name the program in messages.

    Raises:
        UserError: a value has a wrong type or range, a name is not known, or step sizes are missing or too many.
    """
    must_be_json(plain, where)
    PROGRAM(plain, where)
    parts = {part: _part(part, plain[part], where) for part in KINDS if part != "order"}
    return Program(order=_order(plain["order"], step_sizes, where), clip=float(plain["clip"]), **parts)


def _part(part: str, plain: Any, where: str) -> Any:
    return None if plain is None else kind_of(KINDS[part])(plain, f"{where}.{part}")


def _order(plain: Mapping[str, Any], step_sizes: Tensor | None, where: str) -> Ordered | Shuffled:
    if plain.get("kind") != "ordered":
        if step_sizes is not None:
            raise UserError(f"{where} has step sizes of single steps, but its order is {plain.get('kind')!r}")
        return _part("order", plain, where)
    if step_sizes is None:
        raise UserError(f"{where} has ordered steps, but their step sizes are missing")
    record({"kind": TEXT})(plain, f"{where}.order")
    return Ordered(step_sizes=step_sizes)


_NAMED = record({"kind": TEXT}, needed=("kind",), more=True)
PROGRAM = record(
    {"order": _NAMED, "optimiser": _NAMED, "loss": _NAMED, "augmentation": optional(_NAMED), "clip": number(0, 1e9)},
    needed=("order", "optimiser", "loss", "augmentation", "clip"),
)
"""The rule of the values of a program; the values of each part are checked by the record of its kind."""
