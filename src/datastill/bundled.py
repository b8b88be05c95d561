"""Sets that come with the package: `load("mnist-100")` works at once, without data or network."""

import os
from pathlib import Path

from .artifact import DistilledSet
from .errors import unknown

FOLDER = Path(__file__).parent / "sets"


def names() -> list[str]:
    """What there is."""
    return sorted(path.stem for path in FOLDER.glob("*.safetensors"))


def load(name: str | Path, *, trust: bool = False) -> DistilledSet:
    """A set that comes with the package, or one in a file.

    Args:
        name: one of `names`, e.g. ``mnist-100``: the data and the number of examples; or a path.
        trust: let names in the file import modules and open other files when the set is evaluated.

    Raises:
        UserError: there is none, or the file is not a whole set.
    """
    path = Path(name)
    if path.suffix or os.path.lexists(path) or path.parent != Path():
        return DistilledSet.load(path, trust=trust)
    if str(name) not in names():
        raise unknown("set", str(name), names())
    return DistilledSet.load(FOLDER / f"{name}.safetensors")
