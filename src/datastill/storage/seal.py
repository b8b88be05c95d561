"""A seal on the settings of a run: whoever goes on with it on this machine wrote them, so they need no trust."""

import contextlib
import hmac
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError
from .files import must_be_file, write_whole

SEAL = "seal"
"""The field of a sealed record that holds its seal."""
KEY_BYTES = 32
"""Size of the secret key that a user has on a machine."""


def sealed(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record with this user's seal; without one where the user's folder for settings cannot be written to.

    Args:
        record: plain JSON values.
    """
    key = _key(make=True)
    return {**record, SEAL: _seal(record, key)} if key else dict(record)


def is_sealed(record: Any) -> bool:
    """Whether this user sealed a record on this machine, and nobody changed it since then."""
    key = _key(make=False)
    if not key or not isinstance(record, dict) or not isinstance(record.get(SEAL), str):
        return False
    rest = {name: value for name, value in record.items() if name != SEAL}
    return hmac.compare_digest(record[SEAL].encode(), _seal(rest, key).encode())


def _seal(record: Mapping[str, Any], key: bytes) -> str:
    return hmac.new(key, json.dumps(record, sort_keys=True).encode(), "sha256").hexdigest()


def _key(*, make: bool) -> bytes | None:
    """The user's secret key; None where there is none, or where none can be made."""
    around = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")  # noqa: PTH111 (pathlib may raise)
    path = Path(around, "datastill", "key")
    with contextlib.suppress(OSError, UserError):
        if make and not (path.exists() and path.stat().st_size == KEY_BYTES):
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))  # nobody else may read it
            write_whole(path, secrets.token_bytes(KEY_BYTES))
        must_be_file(path, KEY_BYTES)
        return key if len(key := path.read_bytes()) == KEY_BYTES else None
    return None
