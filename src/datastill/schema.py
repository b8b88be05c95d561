"""Checks of values that come from a file: types, ranges, sizes and text that a terminal can show.

A check is a function of a value and of the words that name it, e.g. ``score.n``; it raises a `UserError` that names the
value and the limit. The functions of this module return checks: ``record({"n": whole(1, 100)})``.
"""

import math
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .errors import UserError
from .records import CONTROL_CATEGORIES

Check = Callable[[Any, str], None]

SHOWN_CHARACTERS = 60
"""The number of characters of a wrong value that an error shows."""
MOST_CHARACTERS = 10_000
"""The largest number of characters of a text."""
MOST_LEVELS = 12
"""The largest number of levels of nested JSON."""
MOST_VALUES = 200_000
"""The largest number of values in JSON."""
INTEGER_LIMIT = 2**63
"""Every whole number n must fulfil -2**63 <= n < 2**63."""


def wrong(value: Any, where: str, must: str) -> UserError:
    """Return the error for the value of `where`, which must be something else: `must`, e.g. ``a whole number``."""
    shown = repr(value) if not isinstance(value, str | list | tuple | Mapping) else repr(_start_of(value))
    return UserError(f"{where} is {shown}, but must be {must}")


def _start_of(value: Any) -> Any:
    """Return the start of a text, or a description of a list or a record, short enough for one line."""
    if isinstance(value, str):
        return value if len(value) <= SHOWN_CHARACTERS else value[:SHOWN_CHARACTERS] + "..."
    return f"a record of {len(value)}" if isinstance(value, Mapping) else f"a list of {len(value)}"


def text(most: int = MOST_CHARACTERS, least: int = 0) -> Check:
    """Return the check of a text in one line, of `least` to `most` characters, without control characters."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, str) or not least <= len(value) <= most:
            raise wrong(value, where, f"a text of {least} to {most} characters")
        if any(unicodedata.category(each) in CONTROL_CATEGORIES for each in value):
            raise wrong(value, where, "a text without control characters")

    return check


def one_of(*known: Any) -> Check:
    """Return the check that a value is one of the known values and has its type (True is not 1)."""

    def check(value: Any, where: str) -> None:
        if not any(type(value) is type(each) and value == each for each in known):
            raise wrong(value, where, " or ".join(map(repr, known)))

    return check


def number(low: int | float, high: int | float) -> Check:
    """Return the check of a finite number from `low` to `high`, both included; True and False are refused."""

    def check(value: Any, where: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise wrong(value, where, f"a number from {low:g} to {high:g}")

    return check


def whole(low: int, high: int) -> Check:
    """Return the check of a whole number from `low` to `high`, both included; True and False are refused."""

    def check(value: Any, where: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise wrong(value, where, f"a whole number from {low} to {high}")

    return check


def flag(value: Any, where: str) -> None:
    """Check that a value is True or False."""
    if not isinstance(value, bool):
        raise wrong(value, where, "True or False")


def optional(check: Check) -> Check:
    """Return the check that a value is None or passes `check`."""
    return lambda value, where: None if value is None else check(value, where)


def list_of(check: Check, least: int, most: int) -> Check:
    """Return the check of a list or tuple of `least` to `most` values, each of which must pass `check`."""

    def all_of(value: Any, where: str) -> None:
        if not isinstance(value, list | tuple) or not least <= len(value) <= most:
            count = f"{least}" if least == most else f"{least} to {most}"
            raise wrong(value, where, f"a list of {count} values")
        for i, each in enumerate(value):
            check(each, f"{where}[{i}]")

    return all_of


def record(fields: Mapping[str, Check], needed: Sequence[str] = (), *, more: bool = False) -> Check:
    """Return the check of named values.

    Args:
        fields: the check for each name.
        needed: names that must be present.
        more: whether names that are not in `fields` are allowed.
    """

    def check(value: Any, where: str) -> None:
        if not isinstance(value, Mapping):
            raise wrong(value, where, "a record of named values")
        for name in needed:
            if name not in value:
                raise UserError(f"{where} lacks {name!r}")
        for name, each in value.items():
            if name in fields:
                fields[name](each, f"{where}.{name}")
            elif not more:
                raise UserError(
                    f"{where} holds {_start_of(name)!r}, which this version of datastill does not know; it knows "
                    f"{', '.join(sorted(fields))}"
                )

    return check


def plain(value: Any, where: str) -> None:
    """Check any JSON value: at most `MOST_LEVELS` levels and `MOST_VALUES` values, printable text, finite numbers."""
    waiting, count = [(value, where, 0)], 0
    while waiting:
        one, name, depth = waiting.pop()
        count += 1
        if depth > MOST_LEVELS or count > MOST_VALUES:
            raise UserError(f"{where} holds more than {MOST_LEVELS} levels or more than {MOST_VALUES} values")
        waiting += [(each, at, depth + 1) for at, each in _inside(one, name)]


def _inside(value: Any, where: str) -> list[tuple[str, Any]]:
    """Return the values inside a value with their names; raise a `UserError` if the value is not JSON."""
    if isinstance(value, Mapping):
        for key in value:
            text(least=1, most=200)(key, f"a name in {where}")
        return [(f"{where}.{key}", each) for key, each in value.items()]
    if isinstance(value, list | tuple):
        return [(f"{where}[{i}]", each) for i, each in enumerate(value)]
    if isinstance(value, str):
        text()(value, where)
    elif isinstance(value, float) and not math.isfinite(value):
        raise wrong(value, where, "finite")
    elif isinstance(value, int) and not -INTEGER_LIMIT <= value < INTEGER_LIMIT:
        raise wrong("a number of many digits", where, "below 2^63")
    elif not (value is None or isinstance(value, bool | int | float)):
        raise wrong(f"a {type(value).__name__}", where, "JSON")
    return []
