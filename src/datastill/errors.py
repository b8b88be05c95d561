"""Errors for users: each names the wrong value, the limit and the fix, in one line."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A wrong input, with a message of one line. The command line prints the message and exits with code 2."""


def unknown(kind: str, value: str, known: Iterable[str], where: str = "") -> UserError:
    """Return the error for an unknown name; its message has the most similar known name, and all known names.

    Args:
        kind: the kind of thing that the name is of, e.g. ``network``.
        value: the unknown name.
        known: all known names.
        where: words for where the name was given, e.g. ``of network 'mlp'``.
    """
    names = sorted(known)
    by_small = {name.casefold(): name for name in names}
    near = difflib.get_close_matches(value.casefold(), by_small, n=1, cutoff=0.5)
    hint = f"did you mean {by_small[near[0]]!r}? " if near else ""
    listed = f"known: {', '.join(names)}" if names else "there is none"
    return UserError(f"unknown {kind} {value!r}{f' {where}' if where else ''}: {hint}{listed}")


def untrusted(request: str, option: str) -> UserError:
    """Return the error for a file that asks for a module or another file; its message has two ways to allow this.

    Args:
        request: what the file asks for, e.g. ``the network 'a:b', which runs code of the module 'a'``.
        option: the option that names it on the command line instead, e.g. ``--network module:callable``.
    """
    return UserError(
        f"the file asks for {request}; if you trust the file, allow it with --trust (in Python trust=True), or, if the "
        f"command has this option, name it yourself with {option}"
    )


def must_be(name: str, value: object, kind: type | tuple[type, ...], fix: str) -> None:
    """Raise a `UserError` unless `value`, the argument `name`, is of a kind; `fix` says how such a value is made."""
    if not isinstance(value, kind):
        given = f"{value!r}" if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"
        kinds = " or ".join(each.__name__ for each in (kind if isinstance(kind, tuple) else (kind,)))
        raise UserError(f"{name} is {given[:60]}, but must be a {kinds}; {fix}")


def counted(count: int, noun: str) -> str:
    """Write a count with its noun for a message: ``1 way``, ``2 ways``, ``2 classes``."""
    return f"{count} {noun}{'' if count == 1 else 'es' if noun.endswith(('ss', 'tch')) else 's'}"


def at_least(name: str, value: int | float, limit: int | float) -> None:
    """Raise a `UserError` unless `value` is a number of at least `limit`; `name` is the setting."""
    if not isinstance(value, int | float) or not value >= limit:  # written with "not" so that NaN is refused too
        raise UserError(f"{name} is {value}, but must be at least {limit}")


def at_most(name: str, value: int | float, limit: int | float) -> None:
    """Raise a `UserError` unless `value` is a number of at most `limit`; `name` is the setting."""
    if not isinstance(value, int | float) or not value <= limit:  # as above
        raise UserError(f"{name} is {value:g}, but must be at most {limit:g}")
