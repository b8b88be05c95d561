"""Errors that a person can act on: each names the value, the limit and the fix."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A wrong input, told in one line. The command line prints it and exits with code 2."""


def unknown(kind: str, value: str, known: Iterable[str]) -> UserError:
    """The error for a name that does not exist, with the nearest one that does."""
    names = sorted(known)
    near = difflib.get_close_matches(value, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return UserError(f"unknown {kind} {value!r}: {hint}known: {', '.join(names)}")


def untrusted(request: str, option: str) -> UserError:
    """The error for a file that asks for something outside itself, with the two ways to allow it.

    Args:
        request: what the file asks for, e.g. ``the network 'a:b', which runs code of the module 'a'``.
        option: the option by which a user names it instead, e.g. ``--network module:callable``.
    """
    return UserError(
        f"the file asks for {request}; if you trust the file, allow it with --trust (in Python trust=True), or name it "
        f"yourself with {option}"
    )


def at_least(name: str, value: int | float, limit: int | float) -> None:
    """Raise a `UserError` when `value` is no number, or below `limit`."""
    if not isinstance(value, int | float) or not value >= limit:  # so that NaN is told too
        raise UserError(f"{name} is {value}, but must be at least {limit}")
