"""Sets that come with the package: `load("mnist-100")` works at once, without data or network."""

import os
from pathlib import Path

from .artifact import DistilledSet
from .errors import UserError, unknown

FOLDER = Path(__file__).parent / "sets"
"""The folder of the package that holds the sets."""


def names() -> list[str]:
    """Return the names of the sets that come with the package, e.g. ``mnist-100``."""
    return sorted(path.stem for path in FOLDER.glob("*.safetensors"))


def load(name: str | Path, *, trust: bool = False) -> DistilledSet:
    """Load a set that comes with the package, or a set from a file.

    Args:
        name: a name, e.g. ``mnist-100`` (the data and the number of examples), or the path of a file or of a run.
        trust: let names in the file import modules and open other files when the set is evaluated.

    Raises:
        UserError: no set has this name, or the file is missing or not a whole set.
    """
    if not isinstance(name, str | os.PathLike):
        raise UserError(
            f"name is {name!r}, but must be the name of a set, or the path of its file: datastill.list_sets()"
        )
    path = Path(name)
    if path.suffix or os.path.lexists(path) or path.parent != Path():
        return DistilledSet.load(path, trust=trust)
    if str(name) not in names():
        raise unknown("file or set in the package", str(name), names())
    return DistilledSet.load(FOLDER / f"{name}.safetensors")
