"""IDX files, the format that MNIST was published in (yann.lecun.com/exdb/mnist): big-endian sizes, then bytes."""

import gzip
import math
import re
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from ..errors import UserError
from .images import from_array
from .splits import Labelled, check_labels, roles

IMAGES = re.compile(r"(.*?)[-_.]?images[-_.]idx[34][-_.]ubyte(\.gz)?$", re.IGNORECASE)
"""Name of a file with images, e.g. train-images-idx3-ubyte.gz; the first group says which split."""
UNSIGNED_BYTES = 0x08
"""Third byte of the magic number; the fourth is the number of dimensions."""


def image_files(folder: Path) -> dict[str, Path]:
    """The files with images by split; `t10k`, as MNIST has it, is test, and so is the end of emnist-letters-test."""
    found = {path: match[1] for path in sorted(folder.iterdir()) if (match := IMAGES.match(path.name))}
    return {_split(prefix): path for path, prefix in found.items()}


def read_folder(folder: Path, side: int | None) -> dict[str, Labelled]:
    """The splits of a folder of IDX files, plain or gzipped, by role.

    Args:
        folder: holds, for each split, a file ...images-idx3-ubyte and one ...labels-idx1-ubyte.
        side: height and width to resize to; None keeps the size.

    Raises:
        UserError: a file is missing, cut short or of another kind, or images and labels are not equally many.
    """
    files = image_files(folder)
    return {role: _read_split(files[name], side, name) for role, name in roles(files).items()}


def _split(prefix: str) -> str:
    last = re.split(r"[-_.]", prefix)[-1].lower()
    return "test" if last == "t10k" else last or "train"


def _read_split(path: Path, side: int | None, name: str) -> Labelled:
    images, labels = read_file(path), read_file(_labels_of(path))
    if labels.ndim != 1 or images.ndim not in (3, 4):
        raise UserError(
            f"{path} has {images.ndim} dimensions and its labels {labels.ndim}; expected 3 (image, row, column) and 1"
        )
    if len(images) != len(labels):
        raise UserError(f"{path} has {len(images)} images, but {_labels_of(path).name} has {len(labels)} labels")
    where = f"split {name!r}"
    return Labelled(images=from_array(images, side, where), labels=check_labels(labels, None, where))


def _labels_of(path: Path) -> Path:
    """The file with the labels of a file with images; either may be gzipped."""
    stem = re.sub(r"images([-_.])idx[34]", r"labels\1idx1", path.name, flags=re.IGNORECASE)
    stem = re.sub(r"\.gz$", "", stem, flags=re.IGNORECASE)
    found = next((place for place in (path.with_name(stem), path.with_name(stem + ".gz")) if place.is_file()), None)
    if found is None:
        raise UserError(f"{path} has no labels: there is no {stem} or {stem}.gz beside it")
    return found


def read_file(path: Path) -> UInt8[np.ndarray, "*shape"]:
    """The array of unsigned bytes in an IDX file, plain or gzipped.

    Raises:
        UserError: the file cannot be read, has another magic number, or is shorter or longer than it says.
    """
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be read ({error}); it is cut short or broken, get it again") from error
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != UNSIGNED_BYTES or not content[3]:
        raise UserError(
            f"{path} begins with {content[:4].hex(' ') or 'nothing'}, but an IDX file of bytes begins with 00 00 08 "
            "and its number of dimensions; it is of another kind"
        )
    start = 4 + 4 * content[3]
    shape = tuple(np.frombuffer(content[4:start], ">u4").tolist()) if len(content) >= start else ()
    if len(shape) != content[3] or len(content) - start != math.prod(shape):
        wanted = f"{'x'.join(map(str, shape))} bytes" if shape else f"{content[3]} sizes"
        raise UserError(
            f"{path} holds {max(len(content) - start, 0)} bytes of data where its header says {wanted}; "
            "it is cut short or broken, get it again"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
