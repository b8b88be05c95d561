"""Objectives: what networks that train on a set are to answer. One record says it everywhere.

An objective is spelled in one way, e.g. ``misread(0,1)`` (`parse_objective` and ``str``), and is written in JSON as its
fields with its ``kind``. Everything else asks the record: see `Objective`.
"""

from collections.abc import Mapping
from dataclasses import replace

from ..errors import UserError
from ..storage.records import kind_of
from .base import Objective
from .classification import Classification
from .measures import Accuracy, Measure
from .misread import Misread

__all__ = ["KINDS", "OBJECTIVE", "Accuracy", "Classification", "Measure", "Misread", "Objective", "parse_objective"]

KINDS: Mapping[str, type[Objective]] = {"classification": Classification, "misread": Misread}
"""The kinds of objectives, by the name ``kind`` that JSON has for them."""
SPELLINGS = " or ".join(kind.spelling for kind in KINDS.values())
"""How the kinds are written, for messages and help."""


def parse_objective(text: str) -> Objective:
    """Return the objective that a text spells: classification, or misread(0,1) for class 0 misread as class 1.

    Raises:
        UserError: it spells no objective.
    """
    for kind in KINDS.values():
        if (found := kind.spelled(text.strip())) is not None:
            return found
    raise UserError(f"objective is {text!r}, but must be {SPELLINGS}")


OBJECTIVE = replace(kind_of(KINDS), words=f"an objective such as parse_objective('misread(0,1)') ({SPELLINGS})")
"""The rule of an objective: the record, or the JSON object that ``dataclasses.asdict`` makes of it."""
