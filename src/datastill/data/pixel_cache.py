"""A cache of decoded images on disk, for data that does not fit in memory.

The images of a split are decoded once, into a file of bytes that is then memory-mapped. The name of its folder is a
digest of the source (paths, sizes and times of files, or the contents of tables and arrays) and of how images are read,
so that other or changed data has another file. The file is moved to its place when it is complete, and is read only if
its SHA-256 is the one that was kept with it: what a killed process left is removed, and what is damaged is made again.
"""

import contextlib
import hashlib
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from .. import caches
from ..errors import UserError
from ..memory import free_bytes
from ..runlog import ProgressLine, say
from ..storage.files import read_json, write_folder, write_json
from ..storage.flock import NoLocksError, is_at, lock
from .images import Reading, convert, match
from .on_disk import OnDisk

PIXELS, ABOUT = "pixels", "about.json"
"""Names of the files in the folder of a cache: the bytes of the images, and their shape and SHA-256."""
FORMAT = 1
"""Version of these files."""
COPIES = 3
"""Reading and cutting images in memory holds this many copies of them for a while."""
SMALL_BYTES = 2**28
"""The digest of a smaller file is computed without progress."""
BLOCK = 2**24
"""Bytes of a file that are read at once."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Decoded:
    """The result of reading images."""

    images: UInt8[Tensor, "n c h w"] | OnDisk
    """Pixels (n, c, h, w), 0..255: grey if all images are grey, else RGB."""
    kept: Int64[np.ndarray, " n"]
    """The index of each image in the source, ascending; indices of skipped images are missing."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Piece:
    """Images that were read one after another."""

    images: UInt8[Tensor, "n c h w"] | None
    """Their pixels; None if all of them were skipped."""
    done: int
    """How many images of the source are read or skipped, with these and all before."""
    kept: list[int]
    """The index of each image in the source."""


def belongs_on_disk(reading: Reading, count: int, each: int) -> bool:
    """Return whether `count` images of `each` bytes stay on disk: if the user says so, or memory is short."""
    if reading.store != "auto":
        return reading.store == "disk"
    return COPIES * count * each > free_bytes(torch.device("cpu"))


def key_of(reading: Reading, count: int, contents: Iterable[bytes]) -> str:
    """Return the name of a cache: a digest of how images are read, of their number, and of what they are read from."""
    digest = hashlib.sha256(repr((FORMAT, reading.side, reading.fit, reading.skip_unreadable, count)).encode())
    for content in contents:
        digest.update(content)
    return digest.hexdigest()[:32]


def from_cache(where: str, key: str, count: int, each: int, pieces: Callable[[], Iterator[Piece]]) -> Decoded:
    """Return images whose pixels stay on disk; they are read from the source only if the cache lacks them.

    Args:
        where: what to call the images in messages, e.g. "split 'train'".
        key: the name of the cache, as `key_of` makes it.
        count: the number of images of the source.
        each: the bytes of an image, about.
        pieces: returns the images of the source in order.

    Raises:
        UserError: the disk is full, the cache folder cannot be written, or an image cannot be read.
    """
    folder = caches.folder() / "images" / key
    if not _is_whole(folder, where):
        with _alone(folder):
            if not _is_whole(folder, where):  # another process may have made it meanwhile
                _make(folder, where, count, each, pieces)
    return _opened(folder, count)


def _make(folder: Path, where: str, count: int, each: int, pieces: Callable[[], Iterator[Piece]]) -> None:
    if folder.exists():
        say(f"the decoded images of {where} in {folder} are damaged; they are made again")
        shutil.rmtree(folder, ignore_errors=True)
    _must_have_room(folder, where, count * each)
    say(f"{where}: {count} images are decoded once and stay on disk, in {folder}")
    write_folder(folder, lambda into: _fill(into, where, count, pieces()))


def _opened(folder: Path, count: int) -> Decoded:
    about = read_json(folder / ABOUT)
    pixels = np.memmap(folder / PIXELS, np.uint8, "r", shape=tuple(about["shape"]))
    kept = np.delete(np.arange(count), about["left_out"])
    return Decoded(images=OnDisk(pixels=pixels, index=torch.arange(len(pixels))), kept=kept)


def _is_whole(folder: Path, where: str) -> bool:
    """Whether the file of pixels has the size and the SHA-256 that were kept with it."""
    try:
        about = read_json(folder / ABOUT)
        whole = (folder / PIXELS).stat().st_size == math.prod(about["shape"])
        return whole and _sha256(folder / PIXELS, f"check {where}") == about["sha256"]
    except (UserError, OSError, LookupError, TypeError):
        return False


def _fill(folder: Path, where: str, count: int, pieces: Iterator[Piece]) -> None:
    """Write the images and what is kept about them into a folder."""
    kept: list[int] = []
    line = ProgressLine(f"decode {where}", total=count, unit="image", any_rank=True)
    with _Writer(folder / PIXELS) as writer, line:
        for piece in pieces:
            if piece.images is not None:
                writer.add(piece.images)
            kept += piece.kept
            line.update(piece.done)
    left_out = np.delete(np.arange(count), kept).tolist()
    about = {"where": where, "shape": [len(kept), *writer.shape], "left_out": left_out}
    write_json(folder / ABOUT, about | {"sha256": _sha256(folder / PIXELS, f"digest of {where}")})


class _Writer:
    """A file of images that are grey as long as all of them are grey."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.shape: tuple[int, ...] = ()
        self._file = path.open("wb")

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, images: UInt8[Tensor, "n c h w"]) -> None:
        """Write images after those that are there; if they are the first in colour, give all others colour, too."""
        before = torch.empty((0, *(self.shape or images.shape[1:])), dtype=torch.uint8)
        before, images = match([before, images])
        if self.shape and before.shape[1:] != self.shape:
            self._colour()
        self.shape = tuple(images.shape[1:])
        self._file.write(images.contiguous().numpy().data)

    def _colour(self) -> None:
        grey = self._path.with_name("grey")
        self._file.close()
        self._path.replace(grey)
        self._file = self._path.open("wb")
        each = math.prod(self.shape)
        with grey.open("rb") as file:
            while block := file.read(max(BLOCK // each, 1) * each):
                images = torch.frombuffer(bytearray(block), dtype=torch.uint8).view(-1, *self.shape)
                self._file.write(convert(images, "colour").contiguous().numpy().data)
        grey.unlink()


def _sha256(path: Path, what: str) -> str:
    digest, total, done = hashlib.sha256(), path.stat().st_size, 0
    line = ProgressLine(what, total=total // 2**20, unit="MiB", quiet=total < SMALL_BYTES)
    with path.open("rb") as file, line:
        while block := file.read(BLOCK):
            digest.update(block)
            done += len(block)
            line.update(done // 2**20)
    return digest.hexdigest()


def _must_have_room(folder: Path, where: str, size: int) -> None:
    there = next(each for each in folder.parents if each.exists())
    free = shutil.disk_usage(there).free
    if size > free:
        raise UserError(
            f"the decoded images of {where} take {size / 2**30:.1f} GiB on disk, but {there} has "
            f"{free / 2**30:.1f} GiB free; make room there, or set XDG_CACHE_HOME to a folder on a larger disk"
        )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other process makes the cache in a folder, e.g. another rank of a run."""
    path = folder.with_name(f"{folder.name}.lock")
    try:
        handle = _locked(path)
    except OSError as error:
        raise UserError(
            f"cannot write the cache folder {folder.parent}: {error.strerror}; set XDG_CACHE_HOME to one that can be "
            "written, for images that do not fit in memory"
        ) from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


def _locked(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        with contextlib.suppress(NoLocksError):
            lock(handle, wait=True)
        if is_at(handle, path):
            return handle
        os.close(handle)
