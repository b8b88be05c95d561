"""The checks of types and shapes that the tests run with."""

import functools
from collections.abc import Callable
from types import FunctionType
from typing import Any

import jaxtyping
from beartype import beartype

_with_shapes = jaxtyping.jaxtyped


def check_signatures(package: str) -> None:
    """Let every function of a package, which is not imported yet, check its arguments and results on each call.

    jaxtyping takes a tenth of a millisecond for each call, so that the tests would take twice as long: functions
    without shapes in their signature are checked by beartype alone. A function inside another is left as it is,
    because it is made anew on every call.
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
        return _with_shapes(thing, typechecker=typechecker) if shapes else _with_types(thing)

    return decorate


def _with_types(function: FunctionType) -> Callable[..., Any]:
    checked = beartype(function)

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        return (function if jaxtyping.config.jaxtyping_disable else checked)(*arguments, **named)

    return call
