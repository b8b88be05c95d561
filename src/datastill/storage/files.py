"""Writing files completely or not at all, and reading files with checks of their size and content."""

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..errors import UserError, must_be
from .flock import NoLocksError, is_at, lock

LEFTOVER = re.compile(r"\.datastill-[0-9a-f]{16}\.partial")
"""Temporary name of a file or folder while it is being written; a killed process leaves it behind."""
DATA_VARIABLE = "DATASTILL_DATA"
"""Environment variable with the folder in which data and weights files are looked up by name."""
MOST_JSON_BYTES = 64 * 2**20
"""Bytes of the largest JSON file that is read."""
MOST_BYTES = 4 * 2**30
"""Bytes of the largest safetensors file that is read."""
MOST_HEADER_BYTES = 8 * 2**20
"""Bytes of the largest header of a safetensors file that is read."""
TENSOR_TYPES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
"""Types of tensors, as a safetensors file names them, that are read, with the bytes of a number."""
LOCK = ".datastill-lock"
"""Name of the lock file in the folder of a run; see `locks`."""


def as_path(name: str, value: object) -> Path:
    """Return a path that a user gave as the argument `name`.

    Raises:
        UserError: it is neither text nor a path.
    """
    must_be(name, value, (str, Path), "give the name of a file or folder")
    return Path(value)  # type: ignore[arg-type]


def write_whole(path: Path, content: bytes | Iterable[bytes]) -> None:
    """Write a file completely or not at all: the old file stays whole until the new one is safe on disk.

    A symbolic link is followed, and the file that it points to is replaced. The new file gets the permissions of the
    old one; if there was none, the permissions come from the umask.

    Args:
        path: the file to make or replace; its folder is made when missing.
        content: every byte of it, at once or in pieces.

    Raises:
        UserError: the disk is full, the file or its folder cannot be written, or `path` is a folder or a device.
    """
    try:
        mode = _mode_of_file_to_replace(path)
        target = Path(os.path.realpath(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(target.parent)
        _replace(target, content, mode)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; what was there before is unchanged"
        ) from error


def must_be_writable(path: Path) -> None:
    """Raise a `UserError` if a file cannot be written at `path`; call it before work whose result is written there."""
    try:
        _mode_of_file_to_replace(path)
        folder = Path(os.path.realpath(path)).parent
        while not folder.exists():
            folder = folder.parent
        if not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{folder} is a file, not a folder")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise _closed(folder, "folder")
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else "") or error
        raise UserError(f"cannot write {path}: {reason}; give another file") from error


def must_be_new(path: Path) -> None:
    """Raise a `UserError` if there is a file at `path` already, or none can be written there."""
    must_be_writable(path)
    if path.exists():
        raise UserError(f"{path} exists and is not overwritten; remove it, or give another path with --to")


def _mode_of_file_to_replace(path: Path) -> int | None:
    """Return the permissions of the file at `path`; None if there is no file.

    Raises:
        OSError: the file must not be replaced.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a device or a pipe"
        raise OSError(f"it is {kind}, and only a file can be replaced as a whole")
    if not os.access(path, os.W_OK):
        raise _closed(path, "file")
    return stat.S_IMODE(mode)


def _closed(path: Path, kind: Literal["file", "folder"]) -> OSError:
    """Return the error for what cannot be written: its file system allows it for nobody, or its permissions do not."""
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        return OSError(errno.EROFS, f"the file system of {path} is read-only")
    return PermissionError(errno.EACCES, f"the permissions of the {kind} {path} do not allow writing")


def _replace(target: Path, content: bytes | Iterable[bytes], mode: int | None) -> None:
    handle, temporary = _new_leftover(target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            if mode is not None:
                temporary.chmod(mode)
            file.writelines([content] if isinstance(content, bytes) else content)
            file.flush()
            os.fsync(handle)
            temporary.replace(target)
        _sync_folder(target.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_folder(path: Path, fill: Callable[[Path], object]) -> None:
    """Make a folder with its files completely or not at all: it is filled under a temporary name, then renamed.

    Args:
        path: the folder to make; it may exist already if it is empty.
        fill: writes all files into the temporary folder, whose path is its argument.

    Raises:
        UserError: the disk is full or the folder cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path.parent)
        handle, temporary = _new_leftover(path.parent, folder=True)
        try:
            fill(temporary)
            temporary.replace(path)
        finally:
            os.close(handle)
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


def _new_leftover(parent: Path, *, folder: bool = False) -> tuple[int, Path]:
    """Make, open and lock a temporary file or folder; the lock shows that its process is still running."""
    while True:
        temporary = parent / f".datastill-{secrets.token_hex(8)}.partial"
        if folder:
            temporary.mkdir()
        handle = os.open(temporary, os.O_RDONLY if folder else os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        with contextlib.suppress(NoLocksError):
            lock(handle, wait=True)
        if is_at(handle, temporary):
            return handle, temporary
        os.close(handle)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of killed processes from a folder; files of running processes are locked, and stay."""
    with contextlib.suppress(OSError):  # a folder that cannot be listed, or a file that another process has removed
        for path in [path for path in folder.iterdir() if is_leftover(path)]:
            _remove_unless_locked(path)


def is_leftover(path: Path) -> bool:
    """Whether the name of a file or folder is that of a temporary or lock file of datastill."""
    return path.name == LOCK or LEFTOVER.fullmatch(path.name) is not None


def _remove_unless_locked(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        if lock(handle, wait=False):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    finally:
        os.close(handle)


def is_free(folder: Path) -> bool:
    """Whether a folder is missing, or holds only temporary files of killed processes."""
    if not folder.is_dir():
        return not folder.exists()
    return all(map(is_leftover, folder.iterdir()))


def _sync_folder(folder: Path) -> None:
    """Make sure that a crash of the whole machine does not undo a renaming; some systems cannot do this."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as readable JSON, completely or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8, completely or not at all."""
    write_whole(path, text.encode())


def as_read(value: Any) -> Any:
    """Return the value as it would be read back from a JSON file, with lists instead of tuples."""
    return json.loads(json.dumps(value))


def must_be_file(path: Path, largest: int | None = None) -> None:
    """Raise a `UserError` unless `path` is a regular file of at most `largest` bytes; devices and pipes have no end."""
    try:
        about = path.stat()
    except (OSError, ValueError) as error:  # a ValueError: a name that no file can have
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"cannot read {path}: {reason}") from error
    if not stat.S_ISREG(about.st_mode):
        kind = "a folder" if stat.S_ISDIR(about.st_mode) else "a device or a pipe"
        raise UserError(f"cannot read {path}: it is {kind}, not a file")
    if largest is not None and about.st_size > largest:
        raise UserError(f"cannot read {path}: it has {about.st_size} bytes, and at most {largest} are expected")


def read_text(path: Path, largest: int = MOST_JSON_BYTES, errors: Literal["strict", "replace"] = "strict") -> str:
    """Return the text of a file in UTF-8.

    Args:
        path: the file.
        largest: the most bytes that it may have.
        errors: whether bytes that are not UTF-8 are refused, or replaced by U+FFFD.

    Raises:
        UserError: there is no such file, or it is too large, or no text.
    """
    must_be_file(path, largest)
    try:
        return path.read_text(encoding="utf-8", errors=errors)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}") from error


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        UserError: the file is missing, too large, or not valid JSON.
    """
    text = read_text(path)
    try:
        return parse_json(text)
    except ValueError as error:
        raise UserError(f"{path} is not whole JSON ({error}); it is cut short or of another kind") from error


def parse_json(text: str) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: the text is not JSON, holds a number that is not finite, or is nested too deeply.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number in JSON")


def _finite(text: str) -> float:
    if math.isinf(value := float(text)):
        raise ValueError(f"the number {text[:20]} is too large")
    return value


def read_tensors(path: Path, left: Collection[str] = ()) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return metadata and tensors of a safetensors file.

    Args:
        path: the file.
        left: names of tensors that stay in the file; with these, the file may be larger than others.

    Raises:
        UserError: the file is missing, too large, not a whole safetensors file, or holds tensors of another type.
    """
    must_be_file(path, None if left else MOST_BYTES)
    _check_header_size(path)
    try:
        with safe_open(path, framework="pt") as file:
            _check_kinds(path, {file.get_slice(name).get_dtype() for name in file.keys()})  # noqa: SIM118 (no mapping)
            names = [name for name in file.keys() if name not in left]  # noqa: SIM118 (no mapping)
            _check_total(path, [file.get_slice(name) for name in names])
            return file.metadata() or {}, {name: file.get_tensor(name) for name in names}
    except UserError:
        raise
    except Exception as error:  # safetensors passes on errors of torch for types that torch lacks
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"{path} is not a whole safetensors file ({reason}); it is cut short or of another kind"
        ) from error


def named_format(path: Path) -> str | None:
    """Return the format that the metadata of a safetensors file name, empty without one; None for another file."""
    try:
        with safe_open(path, framework="pt") as file:
            return (file.metadata() or {}).get("format", "")
    except (SafetensorError, OSError):
        return None


def _check_header_size(path: Path) -> None:
    """Raise a `UserError` if the header of a safetensors file is too large, before memory is allocated for it."""
    try:
        with path.open("rb") as file:
            size, header = os.fstat(file.fileno()).st_size, int.from_bytes(file.read(8), "little")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    if MOST_HEADER_BYTES < header < size:
        raise UserError(f"{path} has a header of {header} bytes, but at most {MOST_HEADER_BYTES} are read")


def _check_total(path: Path, tensors: list[Any]) -> None:
    """Raise a `UserError` if tensors, of known types, are too large to be read together."""
    total = sum(math.prod(each.get_shape()) * TENSOR_TYPES[each.get_dtype()] for each in tensors)
    if total > MOST_BYTES:
        raise UserError(f"cannot read {path}: its tensors have {total} bytes, and at most {MOST_BYTES} are expected")


def _check_kinds(path: Path, kinds: set[str]) -> None:
    if unknown := sorted(kinds - TENSOR_TYPES.keys()):
        raise UserError(f"{path} holds tensors of type {', '.join(unknown)}; known: {', '.join(sorted(TENSOR_TYPES))}")


def digest(header: str, tensors: dict[str, Tensor]) -> str:
    """Return the SHA-256 of a header and of tensors by name, in hexadecimal."""
    return hashlib.sha256(header.encode() + save(dict(sorted(tensors.items())))).hexdigest()


def must_be_unchanged(path: Path, metadata: dict[str, str], tensors: dict[str, Tensor]) -> None:
    """Raise a `UserError` unless the header and tensors of a file match the SHA-256 that is stored in it."""
    if digest(metadata.get("header", ""), tensors) != metadata.get("sha256"):
        raise UserError(f"{path} was changed after it was written: its digest does not match its content")
