"""Importing modules safely: the current folder may be a stranger's, and hold e.g. a harmful ``pandas.py``.

So the current folder is searched only for a module that the user names (``module:callable``), and after all other
folders. This module imports only the standard library, because the package imports it first.
"""

import contextlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any


def import_named(name: str) -> ModuleType:
    """Import the module that a user names; the current folder is searched last.

    ``sys.path`` is restored before it returns.

    Raises:
        ImportError: there is no such module, or it cannot be imported.
    """
    with _current_folder_last():
        importlib.invalidate_caches()  # the file may be newer than Python's cached list of the folder
        return importlib.import_module(name)


@contextlib.contextmanager
def _current_folder_last() -> Iterator[None]:
    folder = current_folder()
    if folder in ("", *sys.path):
        yield
        return
    sys.path.append(folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def at_first_use(package: str, homes: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a package that imports each module only when a name of it is first used (PEP 562).

    Args:
        package: the full name of the package.
        homes: public names by the module that defines them. ``a as b`` gives the module's name ``a`` as ``b``.
    """
    found = {
        given.split(" as ")[-1]: (home, given.split(" as ")[0]) for home, names in homes.items() for given in names
    }

    def get(name: str) -> Any:
        if name in found:
            home, inside = found[name]
            value = getattr(importlib.import_module(f"{package}.{home}"), inside)
        elif name.startswith("_") or not importlib.util.find_spec(f"{package}.{name}"):
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        else:
            value = importlib.import_module(f"{package}.{name}")
        setattr(sys.modules[package], name, value)
        return value

    return get


def leave_out_current_folder() -> None:
    """Remove the current folder from the front of ``sys.path``, where ``python -m datastill`` puts it."""
    if _started_as_module() and not sys.flags.safe_path and sys.path[0] == current_folder():
        del sys.path[0]


def current_folder() -> str:
    """Return the path of the current folder; empty if the folder was removed."""
    try:
        return os.getcwd()  # noqa: PTH109
    except FileNotFoundError:
        return ""


def _started_as_module() -> bool:
    """Whether Python imports this package because of ``-m datastill``: then the first argument is still ``-m``."""
    return sys.argv[:1] == ["-m"] and sys.orig_argv[-len(sys.argv)].endswith("datastill")
