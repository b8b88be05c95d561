"""Distillation methods: every file in here is imported; users name their own method as ``module:Class``."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from dataclasses import is_dataclass

from ..errors import UserError, unknown, untrusted
from ..synthetic import SyntheticData
from ..user_modules import imported, one_line
from .base import (
    Carried,
    LearnedTensors,
    Method,
    OuterRate,
    State,
    Task,
    Update,
    must_take,
)
from .in_class_order import InClassOrder

for _module in pkgutil.walk_packages(__path__, f"{__name__}."):
    importlib.import_module(_module.name)


def _kinds(base: type[Method]) -> Iterator[type[Method]]:
    """Yield the classes of methods below a class that leave no function of the contract open."""
    for kind in base.__subclasses__():
        if not inspect.isabstract(kind):
            yield kind
        yield from _kinds(kind)


METHODS: dict[str, type[Method]] = {kind.name: kind for kind in sorted(_kinds(Method), key=lambda kind: kind.name)}


def find_method(name: str, *, trust: bool = True) -> type[Method]:
    """Return the class of a method by its name.

    Args:
        name: a name of `METHODS`, or ``module:Class`` for a class of the user.
        trust: False if `name` was read from a file: then no module is imported for it.

    Raises:
        UserError: there is no such method, module or class, or it needs trust.
    """
    if ":" not in name:
        if name not in METHODS:
            raise _unknown(name)
        return METHODS[name]
    if not trust:
        module = name.partition(":")[0]
        raise untrusted(f"the method {name!r}, which runs code of the module {module!r}", "--method module:Class")
    return _import(name)


def _unknown(name: str) -> UserError:
    """Return the error for an unknown name; it may be one that papers have for a method."""
    for method, kind in METHODS.items():
        if name.casefold() in (each.casefold() for each in kind.known_as):
            return UserError(f"unknown method {name!r}: it is called {method!r} here")
    return unknown("method", name, METHODS)


def _import(name: str) -> type[Method]:
    found = imported(name, "method", "module:Class")
    if not (isinstance(found, type) and issubclass(found, Method) and is_dataclass(found)) or inspect.isabstract(found):
        raise UserError(
            f"method {name!r} is not a frozen dataclass with the functions init, rates and result of Method; see "
            "docs/adding-a-method.md"
        )
    try:
        found()
    except Exception as error:  # a class of a user can raise anything
        raise UserError(
            f"method {name!r} cannot be used without settings: {one_line(error)}; give every setting a default"
        ) from error
    return found


def name_of(method: Method) -> str:
    """Return the name for which `find_method` returns the class of this method."""
    kind = type(method)
    return kind.name if METHODS.get(kind.name) is kind else f"{kind.__module__}:{kind.__qualname__}"


__all__ = [
    "METHODS",
    "Carried",
    "InClassOrder",
    "LearnedTensors",
    "Method",
    "OuterRate",
    "State",
    "SyntheticData",
    "Task",
    "Update",
    "find_method",
    "must_take",
    "name_of",
]
