"""Records: each value from a file or a person is checked here, once; an error names the value and what is allowed.

A `Rule` takes a value and the words that name it, e.g. ``score.n``, and returns what a record keeps of the value. Rules
are written out, e.g. ``record({"n": whole(1, 100)})``, or follow from the type of each field of a dataclass
(`record_of`); the type ``Annotated[int, whole(1, 100)]`` holds the rule of its field.

This module needs the standard library alone, so that a set is checked where nothing else is installed.
"""

import functools
import math
import types
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from ..errors import UserError, unknown

SHOWN_CHARACTERS = 60
"""The number of characters of a wrong value that an error shows."""
MOST_CHARACTERS = 10_000
"""The largest number of characters of a text."""
MOST_LEVELS = 12
"""The largest number of levels of nested JSON."""
MOST_VALUES = 200_000
"""The largest number of values in JSON."""
INTEGER_LIMIT = 2**63
"""Every whole number n must fulfil -2**63 < n < 2**63, so that it fits into a seed or a tensor."""
LARGEST_FLOAT = 1e38
"""The largest absolute value of a floating-point setting; a value above 3.4e38 is infinite in float32."""
LARGEST_VALUE = 1e9
"""The largest absolute value of a normalised example, a step size, a label or a weight."""
CONTROL_CATEGORIES = ("Cc", "Cs", "Zl", "Zp")
"""Unicode categories that no text may hold: control characters, halves of characters, ends of lines."""

NEWER = "a newer version of datastill may have written it"
"""What an error says of a name that this version does not know."""

Kind = TypeVar("Kind")
"""A dataclass."""


@dataclass(frozen=True)
class Rule:
    """What a value must be. A rule is called with a value and its name, and returns what a record keeps of it."""

    words: str
    """What the value must be, in words that follow "must be", e.g. ``a whole number``."""
    fits: Callable[[Any], bool]
    """Function of the value: whether it is that, without regard to what is inside it."""
    keep: Callable[[Any, str], Any] = lambda value, _: value
    """Function of a value that fits and of its name: returns what a record keeps, after checking what is inside it."""

    def __call__(self, value: Any, where: str) -> Any:
        """Return what a record keeps of the value of `where`; raise a `UserError` if it breaks the rule."""
        if not self.fits(value):
            raise wrong(value, where, self.words)
        return self.keep(value, where)


def wrong(value: Any, where: str, must: str) -> UserError:
    """Return the error for the value of `where`, which must be something else: `must`, e.g. ``a whole number``."""
    return UserError(f"{where or 'the record'} is {shown(value)}, but must be {must}")


def shown(value: Any) -> str:
    """Return a value, or a description of a long one, as text that fits into one line."""
    if isinstance(value, Mapping):
        return f"a record of {len(value)}"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    if isinstance(value, str) and len(value) > SHOWN_CHARACTERS:
        value = value[:SHOWN_CHARACTERS] + "..."
    text = repr(value)
    return text if isinstance(value, str) or len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "..."


def _is_number(value: Any) -> bool:
    """Return whether a value is a number; True and False are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_printable(text: str) -> bool:
    return not any(unicodedata.category(each) in CONTROL_CATEGORIES for each in text)


def text(most: int = MOST_CHARACTERS, least: int = 0) -> Rule:
    """Return the rule for a text in one line, of `least` to `most` characters, without control characters."""
    return Rule(
        f"a text of {least} to {most} characters without control characters",
        lambda value: isinstance(value, str) and least <= len(value) <= most and _is_printable(value),
    )


def one_of(*known: Any) -> Rule:
    """Return the rule for one of the known values; it must have its type, too (True is not 1)."""
    return Rule(
        " or ".join(map(repr, known)), lambda value: any(type(value) is type(each) and value == each for each in known)
    )


def number(low: int | float, high: int | float) -> Rule:
    """Return the rule for a finite number from `low` to `high`, both included; it is kept as a float."""
    return Rule(
        f"a number from {low:g} to {high:g}",
        lambda value: _is_number(value) and low <= value <= high,
        lambda value, _: float(value),
    )


def whole(low: int, high: int) -> Rule:
    """Return the rule for a whole number from `low` to `high`, both included."""
    return Rule(f"a whole number from {low} to {high}", lambda value: _is_whole(value) and low <= value <= high)


FLAG = Rule("True or False", lambda value: isinstance(value, bool))
TEXT = text()
WHOLE = Rule("a whole number below 2^63", lambda value: _is_whole(value) and abs(value) < INTEGER_LIMIT)
FINITE = Rule(
    "a finite number",
    lambda value: _is_number(value) and abs(value) <= LARGEST_FLOAT,
    lambda value, _: float(value),
)
ANYTHING = Rule("anything", lambda _: True)
PLAIN: Mapping[Any, Rule] = {bool: FLAG, str: TEXT, int: WHOLE, float: FINITE, Any: ANYTHING}
"""The rules of the plain types of fields."""


def optional(rule: Rule) -> Rule:
    """Return the rule for a value that is None or follows `rule`."""
    return Rule(
        f"{rule.words} or nothing (null)",
        lambda value: value is None or rule.fits(value),
        lambda value, where: None if value is None else rule.keep(value, where),
    )


def list_of(rule: Rule, least: int, most: int) -> Rule:
    """Return the rule for a list or tuple of `least` to `most` values that follow `rule`; it is kept as a tuple."""
    return Rule(
        f"a list of {least if least == most else f'{least} to {most}'} values",
        lambda value: isinstance(value, list | tuple) and least <= len(value) <= most,
        lambda value, where: tuple(rule(each, f"{where}[{i}]") for i, each in enumerate(value)),
    )


def record(
    rules: Mapping[str, Rule],
    needed: Sequence[str] = (),
    *,
    more: bool = False,
    also: Callable[[Any, str], None] | None = None,
) -> Rule:
    """Return the rule for named values, which are kept as they are.

    Args:
        rules: the rule for each name.
        needed: names that must be present.
        more: whether names that are not in `rules` are allowed.
        also: a function of the whole record and of its name that raises a `UserError` if values contradict each other.
    """

    def keep(value: Any, where: str) -> Any:
        for name in needed:
            if name not in value:
                raise UserError(f"{where} lacks {name!r}")
        if not more:
            _must_be_known(value, where, rules)
        for name, each in value.items():
            if name in rules:
                rules[name](each, _inside(where, name))
        if also:
            also(value, where)
        return value

    return Rule("a record of named values", lambda value: isinstance(value, Mapping), keep)


def mapping_of(rule: Rule) -> Rule:
    """Return the rule for values under any names, each of which follows `rule`."""

    def keep(value: Any, where: str) -> dict[str, Any]:
        return {TEXT(name, f"a name in {where}"): rule(each, _inside(where, name)) for name, each in value.items()}

    return Rule("a record of named values", lambda value: isinstance(value, Mapping), keep)


def record_of(kind: type, rules: Mapping[Any, Rule] | None = None) -> Rule:
    """Return the rule for named values that make the dataclass `kind`; fields that are left out have their defaults.

    Args:
        kind: a dataclass; each field has the rule of its type (`rule_of`).
        rules: rules of further types, such as the types of which a `tagged` record is made.
    """

    def keep(value: Any, where: str) -> Any:
        if isinstance(value, kind):
            must_have_types(value, where)
            return value
        hints = _hints(kind)
        _must_be_known(value, where, hints)
        for field in fields(kind):
            if field.default is MISSING and field.default_factory is MISSING and field.name not in value:
                raise UserError(f"{where or 'the record'} lacks {field.name!r}")
        return kind(**{name: rule_of(hints[name], rules)(each, _inside(where, name)) for name, each in value.items()})

    return Rule("a record of named values", lambda value: isinstance(value, Mapping | kind), keep)


def tagged(tag: str, usual: str, find: Callable[[str], type]) -> Rule:
    """Return the rule for a record that names its own dataclass: ``{"name": "lamp", "watts": 5}``.

    Args:
        tag: the name of the value that names the dataclass, e.g. ``name``.
        usual: this value where the record lacks it.
        find: function that returns the dataclass for this value, or raises a `UserError`.
    """

    def keep(value: Any, where: str) -> Any:
        name = TEXT(value.get(tag, usual), _inside(where, tag))
        return record_of(find(name))({key: each for key, each in value.items() if key != tag}, where)

    return Rule("a record of named values", lambda value: isinstance(value, Mapping), keep)


def kind_of(kinds: Mapping[str, type]) -> Rule:
    """Return the rule for one of several dataclasses, or for the values that ``dataclasses.asdict`` makes of it.

    Their value ``kind`` names the dataclass, which has a field ``kind`` that is not an argument.

    Args:
        kinds: the dataclasses by the names that files have for them.
    """

    def keep(value: Any, where: str) -> Any:
        if not isinstance(value, Mapping):
            must_have_types(value, where)
            return value
        name = TEXT(value.get("kind", ""), _inside(where, "kind"))
        if name not in kinds:
            raise UserError(f"{unknown(f'kind of {where}', name[:SHOWN_CHARACTERS], kinds)}; {NEWER}")
        return record_of(kinds[name])({key: each for key, each in value.items() if key != "kind"}, where)

    return Rule("a record of named values", lambda value: isinstance(value, (Mapping, *kinds.values())), keep)


def rule_of(hint: Any, rules: Mapping[Any, Rule] | None = None) -> Rule:
    """Return the rule of a type: of its ``Annotated`` rule, of `rules`, or of the type itself."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        beside = (each for each in arguments[1:] if isinstance(each, Rule))
        return next(beside, None) or rule_of(arguments[0], rules)
    if hint in (rules or {}):
        return (rules or {})[hint]
    if origin is Literal:
        return one_of(*arguments)
    if origin in (Union, types.UnionType):
        (inner,) = (each for each in arguments if each is not types.NoneType)
        return optional(rule_of(inner, rules))
    if origin is tuple:
        return _tuple_of([rule_of(each, rules) for each in arguments if each is not Ellipsis], Ellipsis in arguments)
    if is_dataclass(hint) and isinstance(hint, type):
        return record_of(hint, rules)
    return PLAIN.get(hint) or _instance_of(origin or hint)


def _tuple_of(rules: list[Rule], any_length: bool) -> Rule:
    if any_length:
        return list_of(rules[0], 0, MOST_VALUES)
    return Rule(
        f"a list of {len(rules)} values: {', '.join(each.words for each in rules)}",
        lambda value: isinstance(value, list | tuple) and len(value) == len(rules),
        lambda value, where: tuple(
            rule(each, f"{where}[{i}]") for i, (rule, each) in enumerate(zip(rules, value, strict=True))
        ),
    )


def _instance_of(kind: Any) -> Rule:
    """Return the rule for an object of a class; if it is a dataclass, its values must have their types, too."""

    def keep(value: Any, where: str) -> Any:
        if is_dataclass(value):
            must_have_types(value, where)
        return value

    return Rule(f"a {kind.__name__}", lambda value: isinstance(value, kind), keep)


def must_have_types(made: Any, where: str = "") -> None:
    """Raise a `UserError` if a value of the dataclass `made` breaks the rule of its field."""
    hints = _hints(type(made))
    for field in fields(made):
        rule_of(hints[field.name])(getattr(made, field.name), _inside(where, field.name))


def read(kind: type[Kind], plain: Any, where: str = "", rules: Mapping[Any, Rule] | None = None) -> Kind:
    """Return the dataclass `kind` that a JSON object holds; see `record_of`.

    Args:
        kind: the dataclass.
        plain: the JSON object.
        where: the words that name it in messages; empty: only the names of its values are given.
        rules: rules of further types.

    Raises:
        UserError: `plain` is no JSON object, holds an unknown name, or holds a value that its field cannot have.
    """
    return record_of(kind, rules)(plain, where)


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    """Return the type of each field of a dataclass, by name."""
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in fields(kind)}


def _inside(where: str, name: Any) -> str:
    return f"{where}.{name}" if where else str(name)


def _must_be_known(value: Mapping[str, Any], where: str, known: Mapping[str, Any]) -> None:
    for name in value:
        if name not in known:
            error = unknown("name", str(name)[:SHOWN_CHARACTERS], known, f"in {where}" if where else "")
            raise UserError(f"{error}; {NEWER}")


def must_be_json(value: Any, where: str) -> None:
    """Raise a `UserError` unless a value is JSON of at most `MOST_LEVELS` levels and `MOST_VALUES` values."""
    waiting, count = [(value, where, 0)], 0
    while waiting:
        one, name, depth = waiting.pop()
        count += 1
        if depth > MOST_LEVELS or count > MOST_VALUES:
            raise UserError(f"{where} holds more than {MOST_LEVELS} levels or more than {MOST_VALUES} values")
        waiting += [(each, at, depth + 1) for at, each in _parts(one, name)]


def _parts(value: Any, where: str) -> list[tuple[str, Any]]:
    """Return the values inside a value with their names; raise a `UserError` if the value is not JSON."""
    if isinstance(value, Mapping):
        for key in value:
            text(least=1, most=200)(key, f"a name in {where}")
        return [(_inside(where, key), each) for key, each in value.items()]
    if isinstance(value, list | tuple):
        return [(f"{where}[{i}]", each) for i, each in enumerate(value)]
    (TEXT if isinstance(value, str) else JSON_NUMBER)(value, where)
    return []


JSON_NUMBER = Rule(
    "a finite number below 2^63, true, false or null",
    lambda value: (
        value is None
        or isinstance(value, bool)
        or WHOLE.fits(value)
        or (isinstance(value, float) and math.isfinite(value))
    ),
)
"""The rule of a JSON value that is no text and holds no other values."""
