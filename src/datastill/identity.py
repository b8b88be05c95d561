"""The identity of a run: settings, real data and files that must be unchanged when a stopped run goes on."""

from collections.abc import Iterator, Mapping
from typing import Any

from .data import RealData
from .errors import UserError
from .networks import weights_file
from .networks.start import Start
from .networks.weights import sha256

TITLES = {
    "config": "setting",
    "settings": "setting",
    "planned": "planned setting",
    "data_sha256": "SHA-256 of the data, split",
    "files_sha256": "SHA-256 of",
    "class_names": "class names",
}
"""The words for the parts of an identity in errors."""
UNNAMED = ("unroll", "teacher_labels")
"""Records in a configuration whose settings are options without the name of the record: --method.window."""


def data_identity(data: RealData) -> dict[str, Any]:
    """Return the identity of real data: the SHA-256 of each split, and the class names."""
    return {"data_sha256": data.sha256, "class_names": list(data.class_names)}


def files_identity(network: str, start: Start) -> dict[str, Any]:
    """Return the SHA-256 of the files that a network and its initial weights are read from.

    Args:
        network: the network as in a configuration, e.g. ``alexnet(weights=FILE)``.
        start: the initial weights.
    """
    found = start.files()
    if file := weights_file(network):
        found[file] = sha256(file)
    return {"files_sha256": found}


def must_match(what: str, then: Mapping[str, Any], now: Mapping[str, Any], fix: str) -> None:
    """Raise a `UserError` that names each difference between two identities; only parts in both are compared.

    Args:
        what: the words for what goes on, used in the message: ``the run in FOLDER``.
        then: the identity that was recorded at the beginning.
        now: the identity as it is now.
        fix: the end of the message: what the user can do.
    """
    if found := changes(then, now):
        raise UserError(f"{what} cannot go on, because something changed since it began: {'; '.join(found)}; {fix}")


def changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return a line for each difference between two identities, with both values; only parts in both are compared."""
    return [line for key in then if key in now for line in _differences((key,), then[key], now[key])]


def _differences(path: tuple[str, ...], then: Any, now: Any) -> Iterator[str]:
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        for key in [key for key in then if key in now]:  # another version may lack a key
            yield from _differences(path if key in UNNAMED else (*path, key), then[key], now[key])
    elif then != now:
        name = " ".join([TITLES.get(path[0], path[0]), ".".join(path[1:])]).strip()
        yield f"{name} was {_short(then)} and is {_short(now)}"


def _short(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) < 60 else f"{text[:12]}..."
