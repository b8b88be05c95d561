"""Files written by ``torch.save``, read so that they run no code and take no more memory than they have bytes."""

import io
import pickletools
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .errors import UserError
from .files import must_be_file

PLAIN = re.compile(r"collections OrderedDict|torch\._utils _rebuild_(tensor_v2|parameter)|torch [A-Za-z0-9]+Storage")
"""What the pickle of a file may call: enough for tensors, parameters and plain values."""
OTHER_CALLS = ("INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4")
"""Further opcodes that make objects; `torch.save` uses none of them for tensors and plain values."""
LARGEST_PICKLE = 8 * 2**20
"""Bytes of the pickle that names and describes the tensors; their values lie outside it."""
OLD_PICKLES = 5
"""How many pickles follow each other in a file of the format before archives."""
DEEPEST = 20
"""How deep lists and dictionaries may be nested."""


class MoreThanTensorsError(UserError):
    """A pickle that asks for more than tensors and plain values."""


def read_pickled(path: Path) -> Any:
    """The value in a file of ``torch.save``: tensors and plain values only, on the CPU.

    Raises:
        MoreThanTensorsError: it asks for something that is neither a tensor nor a plain value.
        UserError: there is no such file, or it is cut short, damaged or of another kind.
    """
    must_be_file(path)
    try:
        archive = zipfile.is_zipfile(path)
        _must_be_plain(path, _pickle_in_archive(path) if archive else _first_bytes(path))
        # Mapped, the tensors of an archive lie in the file itself: none is larger than it, whatever the pickle says.
        return _copied(torch.load(path, map_location="cpu", weights_only=True, mmap=archive))
    except UserError:
        raise
    except Exception as error:  # a damaged file makes zipfile, pickle and torch raise errors of many kinds
        raise UserError(
            f"{path} is not a whole file of torch.save ({type(error).__name__}); it is cut short or of another kind"
        ) from error


def _pickle_in_archive(path: Path) -> bytes:
    """The pickle in an archive, whose members must be stored as they are: a compressed one can be of any size."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise UserError(f"{path} holds compressed data, which torch.save never writes; save it with torch.save")
        (pickle,) = (member for member in members if member.filename.endswith("/data.pkl"))
        if pickle.file_size > LARGEST_PICKLE:
            raise UserError(
                f"{path} describes its tensors in {pickle.file_size} bytes; at most {LARGEST_PICKLE} are read"
            )
        return archive.read(pickle)


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(LARGEST_PICKLE)


def _must_be_plain(path: Path, content: bytes) -> None:
    for name in list(_called(io.BytesIO(content))):  # all of it first: text may look like the beginning of a pickle
        if not PLAIN.fullmatch(name):
            raise MoreThanTensorsError(
                f"{path} is refused: it is a pickle that holds more than tensors ({name.replace(' ', '.')})"
            )


def _called(content: io.BytesIO) -> Iterator[str]:
    """The functions and classes that the pickles in `content` name, as ``module name``."""
    texts = ["", ""]
    for _ in range(OLD_PICKLES):
        for code, argument, _ in pickletools.genops(content):
            if code.name == "GLOBAL":
                yield str(argument)
            elif code.name == "STACK_GLOBAL":
                yield " ".join(texts)
            elif code.name in OTHER_CALLS:
                yield str(argument or code.name)
            elif isinstance(argument, str):
                texts = [texts[1], argument]
        if content.tell() == len(content.getbuffer()):
            return


def _copied(value: Any, depth: int = 0) -> Any:
    """The value with tensors that lie in memory, each no larger than what was read for it.

    Raises:
        ValueError: a tensor repeats its values beyond what the file holds, or the value is nested too deeply.
    """
    if depth > DEEPEST:
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
