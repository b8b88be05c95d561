"""Image folders: a folder for each class, with or without a folder for each split around them.

The rule, for a folder F:

1. Every folder in F that holds images, at any depth, is a class, and is named as the folder is. Words in names mean
   nothing: the classes of bus, car and train are these three.
2. Except where folders in F are called exactly like splits, in any case (train, training; validation, valid, val, dev;
   test, testing, eval, evaluation), and themselves hold folders with images: then these are the splits, and the folders
   in them the classes. Other folders beside at least two splits (extra, unlabelled) are left out.
3. What could be either is refused: a single such split beside other folders with images; folders that are all called
   like splits but hold images and no folders; two folders for one split.
4. Left out, and counted in the line that says what was found: images that are in no class, empty classes, files that
   are not called like images, hidden files and folders (.name, __MACOSX), pipes and devices, broken links. Links to
   files and folders are followed.
"""

import os
import stat
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..runlog import say
from .decoding import SUFFIXES, decode
from .images import Reading
from .labels import class_name, shown
from .splits import Labelled, role_of, roles

MOST_OTHERS = 50_000
"""Entries of a folder after which at least a tenth must be images or tables."""

MOST_BESIDE_TABLES = 10_000
"""Entries of a folder of tables, hidden ones included, after which at least a tenth must be images or tables."""

TABLES = frozenset(["parquet", "arrow", "csv", "tsv", "json", "jsonl", "ndjson", "tar", "zip", "gz", "zst"])
"""Ends of the names of files that the `datasets` library reads."""

SAVED = ("dataset_dict.json", "state.json")
"""Files by which a folder is known that the `datasets` library saved."""

DEPTH = 30
"""Folders inside each other that are followed."""


@dataclass(kw_only=True, eq=False)
class Found:
    """What there is in a folder, below it as a tree."""

    path: Path
    images: list[str] = field(default_factory=list)
    """Paths of images directly in this folder, sorted."""
    folders: dict[str, "Found"] = field(default_factory=dict)
    """By name, sorted."""

    def all_images(self) -> list[str]:
        """Paths of images in this folder at any depth."""
        return self.images + [path for folder in self.folders.values() for path in folder.all_images()]

    def classes(self) -> dict[str, list[str]]:
        """The images in each folder of this one that has any."""
        found = {name: folder.all_images() for name, folder in self.folders.items()}
        return {name: paths for name, paths in found.items() if paths}


@dataclass(kw_only=True, eq=False)
class Walk:
    """A folder with everything in it, and counts of what is no image."""

    root: Found
    kinds: Counter[str] = field(default_factory=Counter)
    """Other files by the end of their name, as .txt."""
    others: Counter[str] = field(default_factory=Counter)
    """What is neither a file nor a folder that is read: hidden, broken links, pipes and devices."""
    entries: int = 0
    useful: int = 0
    """Entries that are images or tables."""

    @property
    def has_tables(self) -> bool:
        """Whether there are files that may be tables."""
        return any(kind.removeprefix(".") in TABLES for kind in self.kinds)


def walk(folder: Path) -> Walk:
    """Everything in a folder; links are followed.

    Raises:
        UserError: it cannot be read, or is no data: after 50000 entries fewer than a tenth are images or tables.
    """
    found = Walk(root=Found(path=folder))
    _fill(found, found.root, ())
    return found


def is_image_folder(found: Walk) -> bool:
    """Whether a folder is to be read by the rule of this module; otherwise it may be tables."""
    classes = sum(1 for _ in _inner(found.root))
    described = any(path.name.startswith("metadata.") and _names_files(path) for path in _tables(found.root))
    return not described and (classes > 1 or not found.has_tables)


def read_folder(found: Walk, reading: Reading) -> dict[str, Labelled]:
    """The splits of an image folder, decoded, by role; says in one line what was found.

    Raises:
        UserError: no images, no folders of classes, or folders that could be splits as well as classes.
    """
    splits = _splits(found.root)
    say(_summary(found, splits))
    return {role: _read_split(splits[name].classes(), reading, name) for role, name in roles(splits).items()}


def require_tables(found: Walk) -> None:
    """Raise a `UserError` if reading a folder as tables would never end.

    It holds a pipe or a device, or so many other files (hidden ones too, which are not in `found`) that the `datasets`
    library would search it for minutes.
    """
    if count := found.others["pipes or devices"]:
        raise UserError(f"{str(found.root.path)!r} holds {count} pipes or devices beside its tables; move them away")
    most = max(10 * found.useful, MOST_BESIDE_TABLES)
    if any(
        count > most for count in accumulate(len(names) + len(files) for _, names, files in os.walk(found.root.path))
    ):
        raise UserError(
            f"{str(found.root.path)!r} holds more than {most} files and folders, hidden ones included, of which "
            f"{found.useful} are images or tables; give the folder that holds the images"
        )


def _read_split(classes: Mapping[str, list[str]], reading: Reading, name: str) -> Labelled:
    if not classes:
        raise UserError(f"split {name!r} has no folders with images; put a folder for each class into it")
    paths = [path for some in classes.values() for path in some]
    labels = np.repeat([class_name(label) for label in classes], [len(some) for some in classes.values()])
    decoded = decode(paths, f"split {name!r}", reading)
    return Labelled(images=decoded.images, labels=labels[decoded.kept])


def _splits(root: Found) -> dict[str, Found]:
    """The folders of splits by name; without any, the folder itself as train."""
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
        return UserError(f"{len(root.images)} images are directly in {str(root.path)!r}, without a class; {wanted}")
    return UserError(f"{str(root.path)!r} holds neither images nor tables; {wanted}")


def _summary(found: Walk, splits: Mapping[str, Found]) -> str:
    used = roles(splits)
    parts = []
    for role, name in used.items():
        classes = splits[name].classes()
        called = f"{role} ({name})" if splits[name] is not found.root and name != role else role
        parts.append(f"{called} with {len(classes)} classes, {sum(map(len, classes.values()))} images")
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
            yield f"the folders {_few(apart)} with {sum(len(found.root.classes()[n]) for n in apart)} images"
    if loose:
        yield f"{loose} images that are in no class"
    empty = sorted({name for split in inside for name in split.folders if name not in split.classes()})
    if empty:
        yield f"{len(empty)} empty classes ({_few(empty)})"
    if found.kinds:
        yield f"{found.kinds.total()} files of other kinds ({_few(sorted(found.kinds))})"
    for what, count in sorted(found.others.items()):
        yield f"{count} {what}"


def _few(names: list[str]) -> str:
    return ", ".join(map(shown, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _fill(found: Walk, into: Found, above: tuple[tuple[int, int], ...]) -> None:
    """Sort the entries of a folder, and those of the folders in it."""
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
    if place in above or len(above) > DEPTH:  # a link to a folder around it
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
    elif (suffix := Path(entry.name).suffix.lower()).removeprefix(".") in SUFFIXES:
        found.useful += 1
        into.images.append(entry.path)
    else:
        found.useful += suffix.removeprefix(".") in TABLES
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
    if found.entries > MOST_OTHERS and found.useful * 10 < found.entries:
        raise UserError(
            f"of the first {found.entries} files and folders in {str(found.root.path)!r} only {found.useful} are "
            "images or tables; give the folder that holds the images"
        )


def _inner(root: Found) -> Iterator[Found]:
    """The folders that could be classes: those in the folder, and those in folders that are called like splits."""
    for name, folder in root.folders.items():
        inner = [each for each in folder.folders.values() if each.all_images()] if role_of(name) else []
        yield from inner or ([folder] if folder.all_images() else [])


def _tables(root: Found) -> Iterator[Path]:
    """The files beside the images of a folder and of the folders in it that may describe them."""
    for folder in (root, *root.folders.values()):
        for name in ("metadata.csv", "metadata.jsonl", "metadata.parquet"):
            if (path := folder.path / name).is_file():
                yield path


def _names_files(path: Path) -> bool:
    """Whether a table says of files what they are: it has a column called file_name."""
    with path.open("rb") as file:
        return b"file_name" in (file.read() if path.suffix == ".parquet" else file.readline(100_000))
