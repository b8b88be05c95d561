"""Read files of ``torch.save`` without running any code, and without using more memory than the file has bytes."""

import io
import pickletools
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError
from .files import must_be_file

ALLOWED_NAMES = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_(tensor_v2|parameter)|torch [A-Za-z0-9]+Storage"
)
"""The functions and classes that a pickle may name: enough for tensors, parameters and plain values."""
OBJECT_OPCODES = ("INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4")
"""Other opcodes that make objects; `torch.save` uses none of them for tensors and plain values."""
MOST_PICKLE_BYTES = 8 * 2**20
"""The largest size, in bytes, of the pickle that describes the tensors; their values are stored outside the pickle."""
PICKLES_IN_OLD_FILE = 5
"""The number of pickles in a file of the old format of torch.save, which is not an archive."""
MOST_LEVELS = 20
"""The largest number of levels of nested lists and dictionaries."""


class MoreThanTensorsError(UserError):
    """The error for a pickle that holds objects other than tensors and plain values."""


def read_pickled(path: Path) -> Any:
    """Return the value in a file of ``torch.save``, on the CPU; it may hold tensors and plain values only.

    Raises:
        MoreThanTensorsError: the file holds an object that is neither a tensor nor a plain value.
        UserError: the file is missing, cut short, damaged or not of ``torch.save``.
    """
    must_be_file(path)
    try:
        archive = zipfile.is_zipfile(path)
        _must_be_plain(path, _pickle_in_archive(path) if archive else _first_bytes(path))
        # With mmap, the tensors of an archive lie in the file itself, so none can be larger than the file.
        return _copied(torch.load(path, map_location="cpu", weights_only=True, mmap=archive))
    except UserError:
        raise
    except Exception as error:  # a damaged file makes zipfile, pickle and torch raise errors of many kinds
        raise UserError(
            f"{path} is not a whole file of torch.save ({type(error).__name__}); it is cut short or of another kind"
        ) from error


def _pickle_in_archive(path: Path) -> bytes:
    """Return the pickle in an archive; raise a `UserError` for compressed members, which can unpack to any size."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise UserError(f"{path} holds compressed data, which torch.save never writes; save it with torch.save")
        (pickle,) = (member for member in members if member.filename.endswith("/data.pkl"))
        if pickle.file_size > MOST_PICKLE_BYTES:
            raise UserError(
                f"{path} describes its tensors in {pickle.file_size} bytes; at most {MOST_PICKLE_BYTES} are read"
            )
        if damaged := archive.testzip():  # torch.load compares no checksum of the values of a tensor
            raise UserError(f"{path} was changed after it was written: the checksum of {damaged} in it is another one")
        return archive.read(pickle)


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MOST_PICKLE_BYTES)


def _must_be_plain(path: Path, content: bytes) -> None:
    for name in list(_called(io.BytesIO(content))):  # to the end first: a text file may begin like a pickle
        if not ALLOWED_NAMES.fullmatch(name):
            raise MoreThanTensorsError(
                f"{path} is refused: it is a pickle that holds more than tensors ({name.replace(' ', '.')})"
            )


def _called(content: io.BytesIO) -> Iterator[str]:
    """Yield the functions and classes that the pickles in `content` name, as ``module name``."""
    texts = ["", ""]
    for _ in range(PICKLES_IN_OLD_FILE):
        for code, argument, _ in pickletools.genops(content):
            if code.name == "GLOBAL":
                yield str(argument)
            elif code.name == "STACK_GLOBAL":
                yield " ".join(texts)
            elif code.name in OBJECT_OPCODES:
                yield str(argument or code.name)
            elif isinstance(argument, str):
                texts = [texts[1], argument]
        if content.tell() == len(content.getbuffer()):
            return


def _copied(value: Any, depth: int = 0) -> Any:
    """Return a copy of the value with its tensors in memory; no tensor may be larger than its values in the file.

    Raises:
        ValueError: a tensor has more bytes than the file holds for it, or the value is nested too deeply.
    """
    if depth > MOST_LEVELS:
        raise ValueError("nested too deeply")
    if isinstance(value, dict):
        return {key: _copied(each, depth + 1) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_copied(each, depth + 1) for each in value)
    if isinstance(value, Tensor):
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise ValueError("a tensor is larger than its values")
        return value.detach().clone()
    return value
