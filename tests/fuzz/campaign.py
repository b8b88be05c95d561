"""Every kind of file that is changed, and one try of it."""

import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from datastill.errors import UserError

from . import inputs, results, sets
from .mutations import CANARY
from .text import must_be_one_line

Attempt = Callable[[Path, random.Random], object]
"""Writes a changed file into a folder and reads it: returns if it was read, or raises a `UserError`."""

KINDS: dict[str, Attempt] = {
    "set": sets.distilled_set,
    "pool": inputs.pool,
    "pool_bytes": inputs.pool_bytes,
    "checkpoint": inputs.checkpoint,
    "weights": inputs.weights,
    "configuration": inputs.configuration,
    "configuration_bytes": inputs.configuration_bytes,
    "report": results.report,
    "log": results.log,
    "study": results.study,
    "page": results.page,
}


def attempt(kind: str, seed: int) -> str:
    """Whether a changed file was ``read`` or refused in ``one line``; anything else is raised."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            KINDS[kind](Path(folder), random.Random(f"{kind} {seed}"))
        except UserError as error:
            must_be_one_line(str(error))
            return "one line"
    return "read"


def hostile_code_ran() -> bool:
    """Whether the module that only a hostile file names was imported."""
    return CANARY in sys.modules
