"""Records of settings: every value is checked against the type of its field; an error names the wrong value."""

import types
import unicodedata
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from .errors import UserError, unknown

Record = TypeVar("Record")
"""A dataclass of settings."""
CONTROL_CATEGORIES = ("Cc", "Cs", "Zl", "Zp")
"""Unicode categories that no text may hold: control characters, halves of characters, ends of lines."""
LARGEST_INTEGER = 2**63 - 1
"""The largest absolute value of an integer setting; a larger value does not fit into a seed or a tensor."""
LARGEST_FLOAT = 1e38
"""The largest absolute value of a floating-point setting; a value above 3.4e38 is infinite in float32."""


def must_have_types(record: Any, path: str = "") -> None:
    """Raise a `UserError` if a value of a dataclass does not have the type of its field, or is not finite."""
    hints = get_type_hints(type(record))
    for field in fields(record):
        _checked(hints[field.name], getattr(record, field.name), path + field.name)


def updated(record: Record, plain: Any, path: str = "") -> Record:
    """Return a copy of the dataclass `record` with the values of a JSON object; other fields keep their values.

    Args:
        record: a dataclass with the fields, their types and their defaults.
        plain: a JSON object; a list becomes a tuple, an object changes the dataclass in its field.
        path: text before the name of a field in messages, e.g. ``loop.``.

    Raises:
        UserError: `plain` is not an object, names an unknown field, or holds a value of a wrong type.
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
    """Return the value if its type fits, with whole numbers as floats if the type is float."""
    if is_dataclass(value) and not isinstance(value, type):
        must_have_types(value, f"{name}.")
        return value
    if not fits(hint, value):
        raise UserError(f"{name} is {shown(value)}, but must be {_in_words(hint)}")
    return _widened(hint, value)


def _widened(hint: Any, value: Any) -> Any:
    """Return the value, with whole numbers as floats if the type is float."""
    if get_origin(hint) is tuple and float in get_args(hint):
        return tuple(map(float, value))
    return float(value) if hint is float else value


def fits(hint: Any, value: Any) -> bool:
    """Return whether a value has the type `hint`; numbers must be finite, texts without control characters."""
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
        return isinstance(value, str) and not any(unicodedata.category(each) in CONTROL_CATEGORIES for each in value)
    return isinstance(value, kind)


def _in_words(hint: Any) -> str:
    """Return the words that describe a type in a message, e.g. ``a whole number``."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(map(_in_words, arguments))
    if origin is Literal:
        return "one of " + ", ".join(map(repr, arguments))
    if origin is tuple and arguments[-1:] == (Ellipsis,):
        return f"a list, each {_in_words(arguments[0])}"
    if origin is tuple:
        return f"a list of {len(arguments)}: {', '.join(map(_in_words, arguments))}"
    return TYPE_WORDS.get(origin or hint, f"a {getattr(origin or hint, '__name__', hint)}")


TYPE_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
    str: "text without control characters",
    types.NoneType: "nothing (null)",
}
"""The words that describe each plain type in a message."""


def shown(value: Any) -> str:
    """Return a value as text of at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
