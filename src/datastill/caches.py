"""The cache folder of datastill, and temporary ones for other libraries if the home folder cannot be written to.

Without a cache folder, Matplotlib warns at every start and `datasets` cannot read parquet.
"""

import atexit
import contextlib
import os
import shutil
import tempfile
from collections.abc import Mapping, MutableMapping
from pathlib import Path

_FOLDERS = {
    "HF_HOME": ("XDG_CACHE_HOME", "~/.cache", "huggingface"),
    "MPLCONFIGDIR": ("XDG_CONFIG_HOME", "~/.config", "matplotlib"),
}
"""Environment variable of a cache folder -> variable of its parent folder, default parent, name in the parent."""


def find_room(environment: MutableMapping[str, str] = os.environ) -> None:
    """Make a temporary folder for each cache folder that cannot be written to; it is removed when the process ends."""
    closed = [
        variable
        for variable, (around, default, name) in _FOLDERS.items()
        if variable not in environment and not _can_hold(Path(environment.get(around) or _expanded(default), name))
    ]
    with contextlib.suppress(OSError):  # if no folder can be written to, the libraries report it
        for variable in closed:
            environment[variable] = tempfile.mkdtemp(prefix="datastill-")
            atexit.register(shutil.rmtree, environment[variable], ignore_errors=True)


def folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder for what datastill can compute again; it need not exist, or be one that can be written to."""
    return Path(environment.get("XDG_CACHE_HOME") or _expanded("~/.cache"), "datastill")


def _expanded(folder: str) -> str:
    return os.path.expanduser(folder)  # noqa: PTH111 (pathlib raises if there is no home folder)


def _can_hold(folder: Path) -> bool:
    """Whether the folder can be made and written to."""
    there = next((each for each in (folder, *folder.parents) if os.path.lexists(each)), None)
    return there is not None and there.is_dir() and os.access(there, os.W_OK | os.X_OK)
