"""Where other libraries keep what they can make again, on machines whose home folder cannot be written to.

Matplotlib then warns at every start and `datasets` cannot read parquet at all, so both get a folder for this process.
"""

import atexit
import contextlib
import os
import shutil
import tempfile
from collections.abc import MutableMapping
from pathlib import Path

_FOLDERS = {
    "HF_HOME": ("XDG_CACHE_HOME", "~/.cache", "huggingface"),
    "MPLCONFIGDIR": ("XDG_CONFIG_HOME", "~/.config", "matplotlib"),
}
"""By the variable that names a folder: the variable and the default of the folder around it, and its name there."""


def find_room(environment: MutableMapping[str, str] = os.environ) -> None:
    """Name a temporary folder for each cache whose own folder cannot be written to; it goes when the process ends."""
    closed = [
        variable
        for variable, (around, default, name) in _FOLDERS.items()
        if variable not in environment and not _can_hold(Path(environment.get(around) or _expanded(default), name))
    ]
    with contextlib.suppress(OSError):  # without any folder to write to, the libraries say so
        for variable in closed:
            environment[variable] = tempfile.mkdtemp(prefix="datastill-")
            atexit.register(shutil.rmtree, environment[variable], ignore_errors=True)


def _expanded(folder: str) -> str:
    return os.path.expanduser(folder)  # noqa: PTH111 (pathlib raises where there is no home)


def _can_hold(folder: Path) -> bool:
    """Whether the folder can be made and written to."""
    there = next((each for each in (folder, *folder.parents) if os.path.lexists(each)), None)
    return there is not None and there.is_dir() and os.access(there, os.W_OK | os.X_OK)
