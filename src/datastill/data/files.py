"""Reads one file with data: a table (.csv, .parquet) or arrays (.npz)."""

import zipfile
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from .arrays import from_array
from .images import Reading
from .labels import check_labels
from .names import SUFFIXES
from .rows import kind_of
from .sentences import SENTENCES
from .splits import ROLES, SPLIT_NAMES, Labelled, own_roles, role_of, roles, say_unused

EXAMPLES = ("x", "inputs", "images", "rows", "signals", "sentences", "data")
"""The names of arrays of examples, in upper or lower case."""
IMAGES = ("image", "images")
"""Names of arrays that hold images, whatever their type: without channels, they get one."""
LARGE_BYTES = 2**26
"""Arrays of more bytes in an npz file that is not compressed are memory-mapped."""
SIMILAR = 0.8
"""Least similarity, 0 to 1, of a word to the name of a split by which it is meant to be one."""
LABELS = ("y", "labels", "label", "targets", "target")
"""The names of arrays of labels."""


def file_of(name: str) -> Path | None:
    """Return the file that a name means, if it has one of `SUFFIXES`; otherwise None."""
    path = Path(name)
    return path if path.suffix.lower() in SUFFIXES and path.is_file() else None


def read_file(path: Path, reading: Reading) -> dict[str, Labelled]:
    """Read the splits of a file, by role. A table is train; arrays may have the name of a split: x_train, y_test.

    Raises:
        UserError: the file cannot be read, or its contents cannot be used.
    """
    if path.suffix.lower() == ".npz":
        return _from_arrays(arrays_in(path), path, reading)
    from .huggingface import read_table, table_in

    return {"train": read_table(table_in(path), reading, None, "train")}


def arrays_in(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of an npz file by name.

    Raises:
        UserError: the file cannot be read, or holds Python objects.
    """
    try:
        mapped = _mapped(path)
        with np.load(path, allow_pickle=False) as archive:
            return {name: mapped[name] if name in mapped else archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, KeyError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if "Object arrays" in reason:
            reason = "they hold Python objects; write numbers or texts, and signals of one length as one array"
        raise UserError(f"cannot read the arrays in {str(path)!r}: {reason}") from error


def _mapped(path: Path) -> dict[str, np.ndarray]:
    """Return the large arrays of an npz file that is not compressed, memory-mapped, by name."""
    with zipfile.ZipFile(path) as archive:
        large = [each for each in archive.infolist() if each.file_size >= LARGE_BYTES and each.filename[-4:] == ".npy"]
        stored = [each for each in large if each.compress_type == zipfile.ZIP_STORED]
    return {each.filename[:-4]: _mapped_array(path, each.header_offset) for each in stored}


def _mapped_array(path: Path, start: int) -> np.ndarray:
    """Return the array that is stored in a zip file as the member whose header is at `start`."""
    with path.open("rb") as file:
        file.seek(start)
        sizes = file.read(30)[26:]  # of the name and of an extra field, between the header and the array
        file.seek(int.from_bytes(sizes[:2], "little") + int.from_bytes(sizes[2:], "little"), 1)
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, columns_first, dtype = header(file)
        if dtype.hasobject:
            raise ValueError("it holds Python objects")
        return np.memmap(path, dtype, "r", file.tell(), shape, "F" if columns_first else "C")


def _from_arrays(arrays: Mapping[str, np.ndarray], path: Path, reading: Reading) -> dict[str, Labelled]:
    labels = LABELS if not reading.label else (reading.label.lower(),)
    wanted = EXAMPLES if not reading.image else (reading.image.lower(),)
    found: dict[str, dict[str, np.ndarray]] = {}
    for name, array in arrays.items():
        split, word = _split_and_word(name, (*labels, *wanted))
        part = "labels" if word in labels else "examples" if word in wanted else ""
        if part:
            found.setdefault(split, {})[part] = array[:, None] if word in IMAGES and array.ndim == 3 else array
    whole = {split: parts for split, parts in found.items() if _is_split(split, parts)}
    if not whole:
        raise UserError(
            f"{str(path)!r} holds the arrays {', '.join(arrays) or '(none)'}, but must hold examples (x, rows, "
            "signals, images or sentences) and labels (y or labels), or those of several splits (x_train, y_train, "
            "x_test, y_test)"
        )
    for split in found.keys() - whole.keys():
        if role_of(split):
            (part,) = found[split]
            raise UserError(
                f"{str(path)!r} holds the {part} of split {split!r} alone (arrays found: {', '.join(arrays)}); give "
                f"examples and labels of it, such as x_{split} and y_{split}, or leave the split out"
            )
    # what is called like a split by mistake is refused, and pairs of any other name are left out
    meant = [split for split in whole if role_of(split) or get_close_matches(split, SPLIT_NAMES, cutoff=SIMILAR)]
    where = f"of {str(path)!r}"
    if meant and not any(reading.splits):
        used = own_roles(meant, reading.splits, where)
    else:
        used = roles(whole, reading.splits, where)
    say_unused(whole, used)
    return {role: _labelled(whole[split], split, reading) for role, split in used.items()}


def _split_and_word(name: str, known: Iterable[str]) -> tuple[str, str]:
    """Return the split and the other word in the name of an array, such as ``x_train``; without a split, train.

    Args:
        name: the name of the array.
        known: the words for examples and labels; what is beside one of them is a split, too, as in ``x_extra``.
    """
    name = name.lower()
    words = name.split("_")
    if (splits := [word for word in words if role_of(word)]) or name in known:
        return (splits or [ROLES["train"][0]])[0], "_".join(word for word in words if word not in splits)
    for word in known:
        if name.startswith(f"{word}_") or name.endswith(f"_{word}"):
            return name.removeprefix(f"{word}_").removesuffix(f"_{word}"), word
    return ROLES["train"][0], name


def _is_split(name: str, parts: Mapping[str, np.ndarray]) -> bool:
    """Whether arrays are a split: examples with labels; beside a word that names no split, there may be anything."""
    if len(parts) < 2:
        return False
    examples, labels = parts["examples"], parts["labels"]
    return bool(role_of(name)) or (labels.ndim > 0 and (examples.ndim > 1 or examples.dtype.kind == "U"))


def _labelled(parts: Mapping[str, Any], split: str, reading: Reading) -> Labelled:
    """Return a split: texts, bytes or four dimensions are sentences or images; other numbers are rows or signals."""
    where, examples = f"split {split!r}", parts["examples"]
    labels = check_labels(parts["labels"], None, where)
    if examples.dtype.kind == "U":
        return Labelled(examples=examples.tolist(), labels=labels, kind=SENTENCES)
    if examples.ndim == 4 or (examples.ndim == 3 and examples.dtype == np.uint8):
        return Labelled(examples=from_array(examples, where, reading), labels=labels)
    return Labelled(examples=examples, labels=labels, kind=kind_of(examples))
