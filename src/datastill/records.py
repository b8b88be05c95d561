"""Records of settings: every value is checked against the type of its field, and a wrong one is named in one line."""

import types
import unicodedata
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from .errors import UserError, unknown

Record = TypeVar("Record")
"""A dataclass of settings."""
CONTROL = ("Cc", "Cs", "Zl", "Zp")
"""Unicode categories that no text may hold: control characters, halves of characters, ends of lines."""
LARGEST_INTEGER = 2**63 - 1
"""Of an integer setting, in absolute value: more does not fit into a seed or a tensor."""
LARGEST_FLOAT = 1e38
"""Of any other number, in absolute value: more is infinite in float32."""


def must_have_types(record: Any, path: str = "") -> None:
    """Raise a `UserError` if a field of a dataclass has a value of another type, or a number that is not finite."""
    hints = get_type_hints(type(record))
    for field in fields(record):
        _checked(hints[field.name], getattr(record, field.name), path + field.name)


def updated(record: Record, plain: Any, path: str = "") -> Record:
    """The dataclass `record` with the values of a JSON object; what the object leaves out stays as it is.

    Args:
        record: gives the fields, their types and their defaults.
        plain: a JSON object; lists become tuples, objects become the records that are in their fields.
        path: put before the name of a field in messages, e.g. ``loop.``.

    Raises:
        UserError: not an object, an unknown field, or a value that the field cannot have.
    """
    if not isinstance(plain, Mapping):
        raise UserError(f"{path.removesuffix('.') or 'the settings'} must be a JSON object, but is {shown(plain)}")
    hints = get_type_hints(type(record))
    for key in plain:
        if key not in hints:
            raise unknown("setting", f"{path}{key}", (path + name for name in hints))
    return replace(record, **{key: _read(hints[key], record, key, value, path) for key, value in plain.items()})  # type: ignore[type-var]


def _read(hint: Any, record: Any, key: str, value: Any, path: str) -> Any:
    here = getattr(record, key)
    if is_dataclass(here):
        return updated(here, value, f"{path}{key}.")
    return _checked(hint, tuple(value) if isinstance(value, list) else value, path + key)


def _checked(hint: Any, value: Any, name: str) -> Any:
    """The value, with whole numbers as floats where the field is one."""
    if is_dataclass(value) and not isinstance(value, type):
        must_have_types(value, f"{name}.")
        return value
    if not fits(hint, value):
        raise UserError(f"{name} is {shown(value)}, but must be {_in_words(hint)}")
    return _widened(hint, value)


def _widened(hint: Any, value: Any) -> Any:
    """The value with its whole numbers as floats where the type says so."""
    if get_origin(hint) is tuple and float in get_args(hint):
        return tuple(map(float, value))
    return float(value) if hint is float else value


def fits(hint: Any, value: Any) -> bool:
    """Whether a value is of a type: of numbers only finite ones, of texts only printable ones."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(fits(each, value) for each in arguments)
    if origin is Literal:
        return any(type(value) is type(each) and value == each for each in arguments)
    if origin is tuple:
        return isinstance(value, tuple) and _fits_tuple(arguments, value)
    return _fits_plain(origin or hint, value)


def _fits_tuple(arguments: tuple[Any, ...], value: tuple[Any, ...]) -> bool:
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return all(fits(arguments[0], each) for each in value)
    return len(arguments) == len(value) and all(map(fits, arguments, value))


def _fits_plain(kind: Any, value: Any) -> bool:
    if kind is Any:
        return True
    if kind is float:
        return type(value) in (int, float) and abs(value) <= LARGEST_FLOAT
    if kind is int:
        return type(value) is int and abs(value) <= LARGEST_INTEGER
    if kind is str:
        return isinstance(value, str) and not any(unicodedata.category(each) in CONTROL for each in value)
    return isinstance(value, kind)


def _in_words(hint: Any) -> str:
    """A type for people."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(map(_in_words, arguments))
    if origin is Literal:
        return "one of " + ", ".join(map(repr, arguments))
    if origin is tuple and arguments[-1:] == (Ellipsis,):
        return f"a list, each {_in_words(arguments[0])}"
    if origin is tuple:
        return f"a list of {len(arguments)}: {', '.join(map(_in_words, arguments))}"
    return WORDS.get(origin or hint, f"a {getattr(origin or hint, '__name__', hint)}")


WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
    str: "text without control characters",
    types.NoneType: "nothing (null)",
}
"""Types for people."""


def shown(value: Any) -> str:
    """A value in at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
