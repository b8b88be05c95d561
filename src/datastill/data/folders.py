"""Image folders: a folder for each class, with or without a folder for each split around them.

The rule, for a folder F:

1. Each folder in F that holds images, at any depth, is a class, and the class has the name of the folder. Folders
   called bus, car and train are three classes.
2. Exception: folders in F have the names of splits, in upper or lower case (train, training; validation, valid, val,
   dev; test, testing, eval, evaluation), and hold folders with images. Then they are splits, and the folders in them
   are the classes. Beside at least two splits, other folders (extra, unlabelled) are left out.
3. Ambiguous folders are refused: one such split beside other folders with images; folders that all have the names of
   splits but hold images and no folders; two folders for one split.
4. Some entries are left out, and counted in the printed summary: images in no class, empty classes, files without an
   image suffix, hidden files and folders (.name, __MACOSX), pipes and devices, broken links. Links to files and folders
   are followed.
"""

import os
import stat
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from ..errors import UserError, counted
from ..runlog import say
from .decoding import IMAGE_SUFFIXES, decode
from .images import Reading
from .labels import class_names, shown
from .splits import Labelled, role_of, roles

UNCHECKED_ENTRIES = 50_000
"""Above this number of entries, at least a tenth of a folder's entries must be images or tables."""

UNCHECKED_BESIDE_TABLES = 10_000
"""Above this number of entries (hidden ones too), at least a tenth in a folder of tables must be images or tables."""

TABLE_SUFFIXES = frozenset(["parquet", "arrow", "csv", "tsv", "json", "jsonl", "ndjson", "tar", "zip", "gz", "zst"])
"""Suffixes of files that the `datasets` library reads as tables."""

SAVED_FILES = ("dataset_dict.json", "state.json")
"""Files in a folder that was saved by the `datasets` library."""

MAX_DEPTH = 30
"""Largest depth to which folders inside folders are read."""


@dataclass(kw_only=True, eq=False)
class Found:
    """The images and folders in a folder, as a tree."""

    path: Path
    images: list[str] = field(default_factory=list)
    """Paths of images directly in this folder, sorted."""
    folders: dict[str, "Found"] = field(default_factory=dict)
    """The folders directly in this folder by name, sorted."""

    def all_images(self) -> list[str]:
        """Return the paths of all images in this folder, at any depth."""
        return self.images + [path for folder in self.folders.values() for path in folder.all_images()]

    def classes(self) -> dict[str, list[str]]:
        """Return the paths of images by the name of the folder in this one; folders without images are left out."""
        found = {name: folder.all_images() for name, folder in self.folders.items()}
        return {name: paths for name, paths in found.items() if paths}


@dataclass(kw_only=True, eq=False)
class Walk:
    """The tree of a folder, and counts of its entries that are not images."""

    root: Found
    kinds: Counter[str] = field(default_factory=Counter)
    """Counts of files that are not images, by suffix, e.g. .txt."""
    others: Counter[str] = field(default_factory=Counter)
    """Counts of skipped entries by kind: hidden ones, broken links, pipes and devices."""
    entries: int = 0
    """Count of all entries."""
    useful: int = 0
    """Count of entries that are images or tables."""

    @property
    def has_tables(self) -> bool:
        """Whether the folder holds files that may be tables."""
        return any(kind.removeprefix(".") in TABLE_SUFFIXES for kind in self.kinds)


def walk(folder: Path) -> Walk:
    """Read the names of all entries in a folder and in its folders; links are followed.

    Raises:
        UserError: the folder cannot be read, or fewer than a tenth of the first 50000 entries are images or tables.
    """
    found = Walk(root=Found(path=folder))
    _fill(found, found.root, ())
    return found


def is_image_folder(found: Walk) -> bool:
    """Return whether a folder is read by the rule of this module; if not, it may hold tables."""
    classes = sum(1 for _ in _inner(found.root))
    described = any(path.name.startswith("metadata.") and _names_files(path) for path in _tables(found.root))
    return not described and (classes > 1 or not found.has_tables)


def read_folder(found: Walk, reading: Reading) -> dict[str, Labelled]:
    """Read the splits of an image folder, by role; print a summary in one line.

    Raises:
        UserError: there are no images or no folders of classes, or folders could be splits as well as classes.
    """
    splits = _splits(found.root)
    used = roles(splits, reading.splits, f"of {str(found.root.path)!r}")
    say(_summary(found, splits, used))
    return {role: _read_split(splits[name].classes(), reading, f"split {name!r}") for role, name in used.items()}


def require_tables(found: Walk) -> None:
    """Raise a `UserError` if reading a folder as tables would not end.

    The folder holds a pipe or a device, or too many other files (hidden ones too, which are not in `found`): the
    `datasets` library would search it for minutes.
    """
    if count := found.others["pipes or devices"]:
        raise UserError(f"{str(found.root.path)!r} holds {count} pipes or devices beside its tables; move them away")
    most = max(10 * found.useful, UNCHECKED_BESIDE_TABLES)
    if any(
        count > most for count in accumulate(len(names) + len(files) for _, names, files in os.walk(found.root.path))
    ):
        raise UserError(
            f"{str(found.root.path)!r} holds more than {most} files and folders, hidden ones included, of which "
            f"{found.useful} are images or tables; give the folder that holds the images"
        )


def class_folders(path: Path) -> tuple[UInt8[Tensor, "n c h w"], list[str]]:
    """Return the images in the folders of a folder, and for each image the name of its folder.

    Raises:
        UserError: there are no folders with images, or an image cannot be read.
    """
    found = _read_split(walk(path).root.classes(), Reading(store="memory"), f"folder {str(path)!r}")
    return found.examples, [str(label) for label in found.labels]


def _read_split(classes: Mapping[str, list[str]], reading: Reading, what: str) -> Labelled:
    if not classes:
        raise UserError(f"the {what} has no folders with images; put a folder for each class into it")
    paths = [path for some in classes.values() for path in some]
    labels = np.repeat(class_names(classes), [len(some) for some in classes.values()])
    decoded = decode(paths, what, reading)
    return Labelled(examples=decoded.images, labels=labels[decoded.kept])


def _splits(root: Found) -> dict[str, Found]:
    """Return the folders of splits by name; if there are none, the folder itself as train."""
    named = {name: folder for name, folder in root.folders.items() if role_of(name) and folder.classes()}
    others = [name for name in root.classes() if name not in named]
    if not root.classes():
        raise _no_classes(root)
    if not named and all(role_of(name) for name in others) and len(others) > 1:
        raise UserError(
            f"the folders {_few(others)} of {str(root.path)!r} are called like splits but hold images directly; "
            "put a folder for each class into each of them"
        )
    beside = [name for name in others if not role_of(name)]
    if len(named) == 1 and beside:
        split = next(iter(named))
        raise UserError(
            f"{str(root.path)!r} has the folder {split!r}, which holds folders as a split does, beside {_few(beside)}; "
            f"rename {split!r} if it is a class, or move the others away if it is a split"
        )
    _require_one_each(named, root.path)
    return named or _whole(root)


def _whole(root: Found) -> dict[str, Found]:
    (name, only), *more = ((name, root.folders[name]) for name in root.classes())
    if not more and len(only.classes()) > 1:
        raise UserError(
            f"all images of {str(root.path)!r} are in its folder {name!r}, so that there is one class; if the folders "
            f"{_few(list(only.classes()))} in it are the classes, give {str(only.path)!r}"
        )
    return {"train": root}


def _require_one_each(named: Mapping[str, Found], path: Path) -> None:
    by_role: dict[str | None, str] = {}
    for name in named:
        other = by_role.setdefault(role_of(name), name)
        if other != name:
            raise UserError(
                f"the folders {other!r} and {name!r} of {str(path)!r} are both {role_of(name)}; move one away"
            )


def _no_classes(root: Found) -> UserError:
    wanted = "put the images into a folder for each class (cat/1.png, dog/2.png, or train/cat/1.png, test/cat/2.png)"
    if root.images:
        return UserError(f"{str(root.path)!r} holds {counted(len(root.images), 'image')} without a class; {wanted}")
    return UserError(f"{str(root.path)!r} holds neither images nor tables; {wanted}")


def _summary(found: Walk, splits: Mapping[str, Found], used: Mapping[str, str]) -> str:
    parts = []
    for role, name in used.items():
        classes = splits[name].classes()
        called = f"{role} ({name})" if splits[name] is not found.root and name != role else role
        parts.append(
            f"{called} with {counted(len(classes), 'class')}, {counted(sum(map(len, classes.values())), 'image')}"
        )
    left = ", ".join(_left_out(found, {name: splits[name] for name in used.values()}))
    split = f"{len(parts)} splits" if len(parts) > 1 else "one split"
    return f"{shown(str(found.root.path))}: image folder, {split}: {'; '.join(parts)}. Left out: {left or 'nothing'}"


def _left_out(found: Walk, used: Mapping[str, Found]) -> Iterator[str]:
    inside = list(used.values())
    loose = sum(len(split.images) for split in inside)
    if found.root not in inside:
        loose += len(found.root.images)
        apart = [name for name in found.root.classes() if name not in used]
        if apart:
            images = sum(len(found.root.classes()[name]) for name in apart)
            yield f"the folders {_few(apart)} with {counted(images, 'image')}"
    if loose:
        yield f"{counted(loose, 'image')} in no class"
    empty = sorted({name for split in inside for name in split.folders if name not in split.classes()})
    if empty:
        yield f"{counted(len(empty), 'empty class')} ({_few(empty)})"
    if found.kinds:
        yield f"{counted(found.kinds.total(), 'file')} of other kinds ({_few(sorted(found.kinds))})"
    for what, count in sorted(found.others.items()):
        yield f"{count} {what}"


def _few(names: list[str]) -> str:
    return ", ".join(map(shown, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _fill(found: Walk, into: Found, above: tuple[tuple[int, int], ...]) -> None:
    """Read the entries of a folder, and of the folders in it, into `found`."""
    try:
        with os.scandir(into.path) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
        here = into.path.stat()
    except OSError as error:
        if not above:
            raise UserError(f"the folder {str(into.path)!r} cannot be read: {error.strerror}") from error
        found.others["folders that cannot be read"] += 1
        return
    place = (here.st_dev, here.st_ino)
    if place in above or len(above) > MAX_DEPTH:  # a link to a folder that contains it
        found.others["folders that are inside themselves by a link, or too deep"] += 1
        return
    for entry in listed:
        _sort(found, into, entry, (*above, place))


def _sort(found: Walk, into: Found, entry: os.DirEntry[str], above: tuple[tuple[int, int], ...]) -> None:
    found.entries += 1
    _require_data(found)
    kind = _kind(entry)
    if kind == "folders":
        inner = into.folders[entry.name] = Found(path=into.path / entry.name)
        _fill(found, inner, above)
    elif kind != "files":
        found.others[kind] += 1
    elif (suffix := Path(entry.name).suffix.lower()).removeprefix(".") in IMAGE_SUFFIXES:
        found.useful += 1
        into.images.append(entry.path)
    else:
        found.useful += suffix.removeprefix(".") in TABLE_SUFFIXES
        found.kinds[suffix or "no suffix"] += 1


def _kind(entry: os.DirEntry[str]) -> str:
    if entry.name.startswith(".") or entry.name == "__MACOSX":
        return "hidden files or folders"
    try:
        mode = entry.stat().st_mode
    except OSError:
        return "broken links"
    return "folders" if stat.S_ISDIR(mode) else "files" if stat.S_ISREG(mode) else "pipes or devices"


def _require_data(found: Walk) -> None:
    if found.entries > UNCHECKED_ENTRIES and found.useful * 10 < found.entries:
        raise UserError(
            f"of the first {found.entries} files and folders in {str(found.root.path)!r} only {found.useful} are "
            "images or tables; give the folder that holds the images"
        )


def _inner(root: Found) -> Iterator[Found]:
    """Yield the folders that could be classes: folders in the root, and in its folders with the names of splits."""
    for name, folder in root.folders.items():
        inner = [each for each in folder.folders.values() if each.all_images()] if role_of(name) else []
        yield from inner or ([folder] if folder.all_images() else [])


def _tables(root: Found) -> Iterator[Path]:
    """Yield the files called metadata in a folder and in its folders, which may describe images."""
    for folder in (root, *root.folders.values()):
        for name in ("metadata.csv", "metadata.jsonl", "metadata.parquet"):
            if (path := folder.path / name).is_file():
                yield path


def _names_files(path: Path) -> bool:
    """Return whether a table describes image files: it has a column called file_name."""
    with path.open("rb") as file:
        return b"file_name" in (file.read() if path.suffix == ".parquet" else file.readline(100_000))
