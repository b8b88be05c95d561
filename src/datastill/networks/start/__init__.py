"""Starts, p(theta_0): where the initial weights of networks come from. One record says it everywhere.

A start is spelled in one way, e.g. ``fixed(xavier)`` (`parse_start` and ``str``), and is written in JSON as its fields
with its ``kind``. Everything else asks the record: see `Start`.
"""

from collections.abc import Mapping
from typing import Any

from ...errors import UserError, must_be, unknown
from ...storage.records import Rule, must_have_types, tagged
from .base import Draws, Start, one_draw, stored_weights, weights_sha256
from .drawn import Fixed, Random
from .from_pool import FromPool, from_parts
from .pretrained import Pretrained

__all__ = [
    "KINDS",
    "START",
    "Draws",
    "Fixed",
    "FromPool",
    "Pretrained",
    "Random",
    "Start",
    "from_parts",
    "one_draw",
    "parse_start",
    "stored_weights",
    "weights_sha256",
]

KINDS: Mapping[str, type[Start]] = {"random": Random, "fixed": Fixed, "pretrained": Pretrained, "pool": FromPool}
"""The kinds of starts, by the name ``kind`` that JSON has for them."""


def parse_start(text: str) -> Start:
    """Return the start that a text spells: random(xavier), fixed(xavier), pretrained, pool:FILE, pool:FILE#3@5 or @5+.

    Raises:
        UserError: it spells no start.
    """
    must_be("start", text, str, f"write {SPELLINGS}")
    for kind in KINDS.values():
        if (found := kind.spelled(text.strip())) is not None:
            return found
    raise UserError(f"start is {text!r}, but must be {SPELLINGS}")


def _find(kind: str) -> type[Start]:
    if kind not in KINDS:
        raise unknown("kind of start", kind, KINDS)
    return KINDS[kind]


def _keep(value: Any, where: str) -> Start:
    if not isinstance(value, Start):
        return tagged("kind", "", _find)(value, where)
    must_have_types(value, where)
    return value


SPELLINGS = ", ".join(kind.spelling for kind in KINDS.values())
"""How the kinds are written, for messages and help."""
START = Rule(
    f"a start such as parse_start('random(xavier)') ({SPELLINGS})",
    lambda value: isinstance(value, Mapping | Start),
    _keep,
)
"""The rule of a start: the record, or the JSON object that ``dataclasses.asdict`` makes of it."""
