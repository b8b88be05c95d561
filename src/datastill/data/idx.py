"""Reads IDX files, the format of MNIST (yann.lecun.com/exdb/mnist): big-endian sizes, then bytes."""

import gzip
import math
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from ..errors import UserError
from .arrays import from_array
from .images import Reading
from .labels import check_labels
from .splits import Labelled, role_of, roles

IMAGES_NAME = re.compile(r"(.*?)[-_.]?images[-_.]idx[34][-_.]ubyte(\.gz)?$", re.IGNORECASE)
"""Name of a file with images, e.g. train-images-idx3-ubyte.gz; the first group is the set and split."""
MAX_EXPANSION = 200
"""Largest size of an unpacked file, in multiples of its gzipped size. Hostile files have a thousand."""

UNSIGNED_BYTES = 0x08
"""Third byte of the magic number of a file of bytes; the fourth byte is the number of dimensions."""


def split_files(folder: Path) -> dict[str, Path]:
    """Return the IDX files with images in a folder, by split; empty if there are none.

    Raises:
        UserError: the folder holds several sets, e.g. those of EMNIST. The error lists them and says how to name one.
    """
    sets = _sets(folder)
    if len(sets) > 1:
        raise UserError(
            f"{folder} holds {len(sets)} sets: {', '.join(name or 'one without a name' for name in sorted(sets))}; "
            f"name one of them, e.g. {folder / max(sets)}"
        )
    return next(iter(sets.values()), {})


def named_set(path: Path) -> dict[str, Path]:
    """Return the IDX files with images of the set `path`, FOLDER/SET, by split; empty if there is no such set."""
    folder = path.expanduser().parent
    return _sets(folder).get(path.name, {}) if len(path.parts) > 1 and folder.is_dir() else {}


def read_splits(files: Mapping[str, Path], reading: Reading) -> dict[str, Labelled]:
    """Read the splits of a set in IDX files, plain or gzipped; return them by role.

    Args:
        files: the file with images of each split, ...images-idx3-ubyte; a file ...labels-idx1-ubyte is beside it.
        reading: the size of the resulting images.

    Raises:
        UserError: a file is missing, cut short or no IDX file, or the numbers of images and labels differ.
    """
    return {role: _read_split(files[name], reading, name) for role, name in roles(files, reading.splits).items()}


def _sets(folder: Path) -> dict[str, dict[str, Path]]:
    """Return the files with images by set and split; a plain file comes before its gzipped copy."""
    sets: dict[str, dict[str, Path]] = {}
    for path in sorted(_entries(folder)):
        if (match := IMAGES_NAME.match(path.name)) and path.is_file():
            name, split = _name_and_split(match[1])
            sets.setdefault(name, {}).setdefault(split, path)  # file sorts before file.gz
    return sets


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise UserError(f"the folder {str(folder)!r} cannot be read: {error.strerror}") from error


def _name_and_split(prefix: str) -> tuple[str, str]:
    """Split emnist-letters-test into emnist-letters and test; `t10k`, the name in MNIST, means test."""
    name, last = re.match(r"(.*?)[-_.]?([^-_.]*)$", prefix, re.DOTALL).groups()  # type: ignore[union-attr]
    if last.lower() == "t10k":
        return name, "test"
    return (name, last.lower()) if role_of(last) else (prefix, "train")


def _read_split(path: Path, reading: Reading, name: str) -> Labelled:
    beside = _labels_of(path)
    shape, labels = read_shape(path), read_shape(beside)
    if len(labels) != 1 or len(shape) not in (3, 4):
        raise UserError(
            f"{path} has {len(shape)} dimensions and its labels {len(labels)}; expected 3 (image, row, column) and 1"
        )
    if shape[0] != labels[0]:
        raise UserError(f"{path} has {shape[0]} images, but {beside.name} has {labels[0]} labels; get both again")
    where = f"split {name!r}"
    images = from_array(read_file(path), where, reading)
    return Labelled(examples=images, labels=check_labels(read_file(beside), None, where))


def _labels_of(path: Path) -> Path:
    """Return the file with the labels for a file with images; each may be gzipped."""
    stem = re.sub(r"images([-_.])idx[34]", r"labels\1idx1", path.name, flags=re.IGNORECASE)
    stem = re.sub(r"\.gz$", "", stem, flags=re.IGNORECASE)
    found = next((place for place in (path.with_name(stem), path.with_name(stem + ".gz")) if place.is_file()), None)
    if found is None:
        raise UserError(f"{path} has no labels: there is no {stem} or {stem}.gz beside it")
    return found


def read_file(path: Path) -> UInt8[np.ndarray, "*shape"]:
    """Read the unsigned bytes of an IDX file, plain or gzipped; at most the size in its header is unpacked.

    Raises:
        UserError: the file cannot be read or has another magic number, its size is not the one in its header, or the
            size in its header is more than `MAX_EXPANSION` times its size.
    """
    with _opened(path) as file:
        shape = _shape(path, file)
        size = math.prod(shape)
        if size > MAX_EXPANSION * path.stat().st_size:
            limit = f"more than {MAX_EXPANSION} times its own size"
            raise UserError(f"{path} says that it holds {size} bytes, {limit}; get it again")
        content = file.read(size)
        if len(content) < size or file.read(1):
            found = f"{len(content)} bytes" if len(content) < size else "more bytes"
            raise UserError(
                f"{path} holds {found} of data where its header says {'x'.join(map(str, shape))} bytes; "
                "it is cut short or broken, get it again"
            )
    return np.frombuffer(content, np.uint8).reshape(shape)


def read_shape(path: Path) -> tuple[int, ...]:
    """Read the sizes in the header of an IDX file.

    Raises:
        UserError: the file cannot be read, or has another magic number.
    """
    with _opened(path) as file:
        return _shape(path, file)


@contextmanager
def _opened(path: Path) -> Iterator[BufferedIOBase]:
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            yield gzip.GzipFile(fileobj=file) if packed else file
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be read ({error}); it is cut short or broken, get it again") from error


def _shape(path: Path, file: BufferedIOBase) -> tuple[int, ...]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:3] != bytes([0, 0, UNSIGNED_BYTES]) or not magic[3]:
        raise UserError(
            f"{path} begins with {magic.hex(' ') or 'nothing'}, but an IDX file of bytes begins with 00 00 08 "
            "and its number of dimensions; it is no such file"
        )
    sizes = file.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise UserError(f"{path} ends within its header, which says {magic[3]} sizes; get it again")
    return tuple(np.frombuffer(sizes, ">u4").tolist())
