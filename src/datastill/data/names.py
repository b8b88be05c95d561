"""Names of real data, and the folders with these names."""

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..errors import UserError, unknown
from ..storage.files import DATA_VARIABLE as VARIABLE


@dataclass(frozen=True, kw_only=True)
class KnownSet:
    """A data set that the library knows by name."""

    hub: str | None
    """Name on the Hugging Face hub; None for data that comes with scikit-learn."""
    config: str = ""
    """Name of the configuration on the hub, if there are several."""
    image: str = "image"
    """Name of the column with the images."""
    label: str = "label"
    """Name of the column with the labels."""


ON_HUB = re.compile(r"\w[\w.-]*/\w[\w.-]*")
"""The names that data on the hub may have."""
SUFFIXES = (".csv", ".parquet", ".npz")
"""The endings of files with data."""
KNOWN = {
    "digits": KnownSet(hub=None),
    "mnist": KnownSet(hub="ylecun/mnist"),
    "fashion_mnist": KnownSet(hub="zalando-datasets/fashion_mnist"),
    "usps": KnownSet(hub="flwrlabs/usps"),
    "svhn": KnownSet(hub="ufldl-stanford/svhn", config="cropped_digits"),
    "cifar10": KnownSet(hub="uoft-cs/cifar10", image="img"),
    "cifar100": KnownSet(hub="uoft-cs/cifar100", image="img", label="fine_label"),
}
"""The data sets that the library knows by name. The name of any folder in `$DATASTILL_DATA` works too."""


def is_known(name: str) -> bool:
    """Return whether a name means data on this machine: `digits`, or a folder in `$DATASTILL_DATA`.

    Such a name may come from a file that somebody else made, because it opens only data that the owner of this machine
    has put there. A path, or a name of data on the hub, may not come from such a file.
    """
    return name == "digits" or _in_data_folder(name) is not None


def require_known(name: str, file: str) -> None:
    """Raise a `UserError` if `name`, which was read from a file, means a path or data on the hub.

    Args:
        name: the name of the data in the file.
        file: what to call the file in the error.
    """
    if not is_known(name):
        where = f" ({looked_for(name)})" if _is_bare(name) else ""
        raise UserError(
            f"{file} asks for the data {name!r}, which is not in ${VARIABLE}{where}; set {VARIABLE} to the folder of "
            "your data sets, name the data with --data (of distill: --data.name; of baseline: its second word; in "
            "Python data=), or allow what the file asks for with --trust (trust=True)"
        )


def folder_of(name: str) -> Path | None:
    """Return the folder called `name` in `$DATASTILL_DATA`, or (not for known names) with this path; None without one.

    Raises:
        UserError: `name` is the path of a file, a device or a pipe.
    """
    if name == "digits":
        return None
    found = _in_data_folder(name)
    if found is not None or name in KNOWN:
        return found
    path = _as_path(name)
    kind = _kind(path)
    if kind in ("a file", "a device or a pipe"):
        raise UserError(
            f"{name!r} is {kind}, not a folder; give the folder that holds the images, "
            f"or a table in a file that ends in {', '.join(SUFFIXES)}"
        )
    return path if kind else None


def not_found(name: str) -> UserError:
    """Return the error for a name of unknown data."""
    is_file = Path(name).suffix.lower() in SUFFIXES
    if is_file or not _is_bare(name):
        kind, wanted = ("file", "the file") if is_file else ("folder", "the folder with the images")
        return UserError(
            f"there is no {kind} {name!r} (looked from {Path.cwd()}); name {wanted}, or known data, with "
            "--data (of distill and plan: --data.name; of baseline and pretrain: a word; in Python: data=)"
        )
    root = os.environ.get(VARIABLE)
    there = [place.name for place in Path(root).iterdir() if place.is_dir()] if root and Path(root).is_dir() else []
    return UserError(f"{unknown('data', name, {*KNOWN, *there})}; {looked_for(name)}")


def hub_name(name: str) -> KnownSet | None:
    """Return what is known of data with a name such as owner/name, which may be on the hub; None for another name."""
    return KnownSet(hub=name) if ON_HUB.fullmatch(name) and Path(name).suffix.lower() not in SUFFIXES else None


def not_on_hub(name: str, hub: str, reason: str) -> UserError:
    """Return the error for data that is not on this machine and that the hub does not give, for a reason."""
    if name == hub:
        return UserError(
            f"cannot get {name!r}: there is no such folder (looked from {Path.cwd()}), and the hub does not give it "
            f"({reason}); give the path of a folder, or owner/name of data on the hub"
        )
    return UserError(
        f"cannot get {name!r}: {looked_for(name)}, and the hub does not give {hub} ({reason}); set {VARIABLE} "
        f"to a folder that holds one called {name}, or give the path of a folder with the images"
    )


def looked_for(name: str) -> str:
    """Return the part of an error that says where data of this name was looked for."""
    root = os.environ.get(VARIABLE)
    return f"there is no folder {Path(root) / name}" if root else f"{VARIABLE} is not set"


def _in_data_folder(name: str) -> Path | None:
    root = os.environ.get(VARIABLE)
    place = Path(root) / name if root and _is_bare(name) else None
    return place if place and _kind(place) == "a folder" else None


def _kind(path: Path) -> Literal["a folder", "a file", "a device or a pipe", ""]:
    """Return the kind of the entry at a path, following links; empty if there is none or the path is invalid."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return ""
    return "a folder" if stat.S_ISDIR(mode) else "a file" if stat.S_ISREG(mode) else "a device or a pipe"


def _is_bare(name: str) -> bool:
    return not {"/", os.sep} & {*name} and name not in ("", ".", "..") and not name.startswith("~")


def _as_path(name: str) -> Path:
    try:
        return Path(name).expanduser()
    except RuntimeError as error:  # ~somebody, who has no home
        raise UserError(f"{name!r} is no path: {error}; give the folder that holds the images") from error
