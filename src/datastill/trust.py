"""Checks of names in a file that the user does not trust: they may name known data, but no code and no other file."""

from .data import require_known
from .errors import untrusted
from .networks import must_need_no_trust
from .networks.start import Start


def check_network(network: str) -> None:
    """Raise a `UserError` if a network that a file names would import a module or open a weights file."""
    must_need_no_trust(network)


def check_start(start: Start | None) -> None:
    """Raise a `UserError` if a start that a file names opens another file."""
    if start is not None and start.opens:
        raise untrusted(f"the start {str(start)!r}, which opens the file {start.opens!r}", "--start")


def check_data(name: str, file: str) -> None:
    """Raise a `UserError` if data that `file` names is a path, or is not on this machine and would be downloaded."""
    require_known(name, file)
