"""Checks of values that come from a file: types, ranges, sizes and text that a terminal can show.

A check takes a value and the words that name it, e.g. ``score.n``, and raises a `UserError` that names the value and
the limit. Checks are made by functions here, and put together to records: ``record({"n": whole(1, 100)})``.
"""

import math
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .errors import UserError
from .records import CONTROL

Check = Callable[[Any, str], None]

SHOWN = 60
"""Characters of a wrong value that an error shows."""
CHARACTERS = 10_000
"""Most characters of any text."""
DEPTH = 12
"""Most levels of free JSON."""
VALUES = 200_000
"""Most values in free JSON."""
WHOLE = 2**63
"""Whole numbers are below this, and not below its negative."""


def wrong(value: Any, where: str, must: str) -> UserError:
    """The error for a value that is not what it must be."""
    shown = repr(value) if not isinstance(value, str | list | tuple | Mapping) else repr(_start_of(value))
    return UserError(f"{where} is {shown}, but must be {must}")


def _start_of(value: Any) -> Any:
    """A value short enough to be shown in one line."""
    if isinstance(value, str):
        return value if len(value) <= SHOWN else value[:SHOWN] + "..."
    return f"a record of {len(value)}" if isinstance(value, Mapping) else f"a list of {len(value)}"


def text(most: int = CHARACTERS, least: int = 0) -> Check:
    """A text in one line, without characters that command a terminal."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, str) or not least <= len(value) <= most:
            raise wrong(value, where, f"a text of {least} to {most} characters")
        if any(unicodedata.category(each) in CONTROL for each in value):
            raise wrong(value, where, "a text without control characters")

    return check


def one_of(*known: Any) -> Check:
    """One of a few values, of their types (True is not 1)."""

    def check(value: Any, where: str) -> None:
        if not any(type(value) is type(each) and value == each for each in known):
            raise wrong(value, where, " or ".join(map(repr, known)))

    return check


def number(low: int | float, high: int | float) -> Check:
    """A finite number in a range, both ends included; True and False are none."""

    def check(value: Any, where: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise wrong(value, where, f"a number from {low:g} to {high:g}")

    return check


def whole(low: int, high: int) -> Check:
    """A whole number in a range, both ends included."""

    def check(value: Any, where: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise wrong(value, where, f"a whole number from {low} to {high}")

    return check


def flag(value: Any, where: str) -> None:
    """True or False."""
    if not isinstance(value, bool):
        raise wrong(value, where, "True or False")


def optional(check: Check) -> Check:
    """None, or what `check` takes."""
    return lambda value, where: None if value is None else check(value, where)


def list_of(check: Check, least: int, most: int) -> Check:
    """A list (in Python also a tuple) of so many values, each of which `check` takes."""

    def all_of(value: Any, where: str) -> None:
        if not isinstance(value, list | tuple) or not least <= len(value) <= most:
            count = f"{least}" if least == most else f"{least} to {most}"
            raise wrong(value, where, f"a list of {count} values")
        for i, each in enumerate(value):
            check(each, f"{where}[{i}]")

    return all_of


def record(fields: Mapping[str, Check], needed: Sequence[str] = (), *, more: bool = False) -> Check:
    """Named values.

    Args:
        fields: the check of each.
        needed: names that must be there.
        more: whether there may be other names; if not, they are refused.
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
    """JSON of any names, bounded: `DEPTH` levels, `VALUES` values, printable text, finite numbers."""
    waiting, count = [(value, where, 0)], 0
    while waiting:
        one, name, depth = waiting.pop()
        count += 1
        if depth > DEPTH or count > VALUES:
            raise UserError(f"{where} holds more than {DEPTH} levels or {VALUES} values")
        waiting += [(each, at, depth + 1) for at, each in _inside(one, name)]


def _inside(value: Any, where: str) -> list[tuple[str, Any]]:
    """The values in a value, with their names; a `UserError` for what is no JSON."""
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
    elif isinstance(value, int) and not -WHOLE <= value < WHOLE:
        raise wrong("a number of many digits", where, "below 2^63")
    elif not (value is None or isinstance(value, bool | int | float)):
        raise wrong(f"a {type(value).__name__}", where, "JSON")
    return []
