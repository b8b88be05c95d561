"""Writing files so that nothing finished is ever lost, and reading what is whole."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from .errors import UserError


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file completely or not at all: the old file stays whole until the new one is safe on disk.

    Args:
        path: the file to make or replace; its folder is made when missing.
        write: writes the content to the path it is given.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        temporary = Path(name)
        os.close(handle)
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; what was there before is unchanged"
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as readable JSON, completely or not at all."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def as_read(value: Any) -> Any:
    """The value as it comes back from a JSON file: tuples as lists."""
    return json.loads(json.dumps(value))


def read_json(path: Path) -> Any:
    """Read a JSON file; a `UserError` says which file is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}") from error


def read_tensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors of a safetensors file; a `UserError` says why it is not a whole one."""
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{path} is not a whole safetensors file ({error}); it is cut short or of another kind"
        ) from error


def digest(header: str, tensors: dict[str, Tensor]) -> str:
    """SHA-256 of a header and tensors by name."""
    return hashlib.sha256(header.encode() + save(dict(sorted(tensors.items())))).hexdigest()


def must_be_unchanged(path: Path, metadata: dict[str, str], tensors: dict[str, Tensor]) -> None:
    """Raise a `UserError` unless header and tensors are those that the digest in the file was taken of."""
    if digest(metadata["header"], tensors) != metadata.get("sha256"):
        raise UserError(f"{path} was changed after it was written: its digest does not match its content")
