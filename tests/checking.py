"""The checks of types and shapes that the tests run with."""

import functools
from collections.abc import Callable
from types import FunctionType
from typing import Any

import jaxtyping
from beartype import beartype

_with_shapes = jaxtyping.jaxtyped

MOST_CALLS = 20
"""So many calls of a function are checked in each test: a wrong shape or type appears in the first ones."""


class _Test:
    """The number of the test that runs."""

    number = 0


def begin_test() -> None:
    """Check the first calls of each function again."""
    _Test.number += 1


def check_signatures(package: str) -> None:
    """Let every function of a package, which is not imported yet, check its arguments and results.

    jaxtyping takes a tenth of a millisecond for each call, so that the tests would take twice as long: functions
    without shapes in their signature are checked by beartype alone, and only the first calls in a test are checked.
    A function inside another is left as it is, because it is made anew on every call.
    """
    jaxtyping.jaxtyped = _checked
    jaxtyping.install_import_hook(package, "beartype.beartype")


def _checked(*, typechecker: Any) -> Callable[[Any], Any]:
    def decorate(thing: Any) -> Any:
        if not isinstance(thing, FunctionType):
            return _with_shapes(thing, typechecker=typechecker)
        if "<locals>" in thing.__qualname__:
            return thing
        shapes = any("jaxtyping" in repr(annotation) for annotation in thing.__annotations__.values())
        return _first_calls(thing, _with_shapes(thing, typechecker=typechecker) if shapes else beartype(thing))

    return decorate


def _first_calls(function: FunctionType, checked: Callable[..., Any]) -> Callable[..., Any]:
    """The function, checked in its first calls in each test."""
    test = calls = 0

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        nonlocal test, calls
        if test != _Test.number:
            test, calls = _Test.number, 0
        calls += 1
        plain = calls > MOST_CALLS or jaxtyping.config.jaxtyping_disable
        return (function if plain else checked)(*arguments, **named)

    return call
