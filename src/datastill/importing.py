"""Where modules are looked for. The current folder may be a stranger's, with a ``pandas.py`` of its own in it.

So it is searched for a module only that the user names (``module:callable``), and after everything else. Nothing but
the standard library is imported here: the package does this first of all.
"""

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator
from types import ModuleType


def import_named(name: str) -> ModuleType:
    """Import the module that a user names, from the current folder where it is nowhere else.

    ``sys.path`` is as before when it returns.

    Raises:
        ImportError: there is no such module, or it cannot be imported.
    """
    with _current_folder_last():
        importlib.invalidate_caches()  # the file may be newer than the last look into the folder
        return importlib.import_module(name)


@contextlib.contextmanager
def _current_folder_last() -> Iterator[None]:
    folder = _current_folder()
    if folder in ("", *sys.path):
        yield
        return
    sys.path.append(folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def leave_out_current_folder() -> None:
    """Undo that ``python -m datastill`` lets Python search the current folder before everything else."""
    if _started_as_module() and not sys.flags.safe_path and sys.path[0] == _current_folder():
        del sys.path[0]


def _current_folder() -> str:
    """The folder; empty where somebody removed it."""
    try:
        return os.getcwd()  # noqa: PTH109
    except FileNotFoundError:
        return ""


def _started_as_module() -> bool:
    """Whether Python is just looking for this package because of ``-m``: only then the first argument is ``-m``."""
    return sys.argv[:1] == ["-m"] and sys.orig_argv[-len(sys.argv)].endswith("datastill")
