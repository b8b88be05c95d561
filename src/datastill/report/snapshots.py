"""How examples changed while distilling: small pictures of them at some iterations, kept in the folder of the run."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from safetensors.torch import save
from torch import Tensor

from ..artifact import DistilledSet
from ..errors import UserError
from ..space import Pixels
from ..storage.files import read_tensors, write_whole
from .figures import data_uri, shown_range, tiles_of

FILE = "snapshots.safetensors"
"""Name of the file in the folder of a run."""
MOST_KEPT = 10
"""The largest number of snapshots of a run."""
MOST_VALUES = 100_000
"""The largest number of bytes of a snapshot; of more examples only the first ones are kept."""
MOST_COLUMNS = 12
"""The largest number of examples side by side."""


def sets_in(folder: Path) -> list[Path]:
    """Return the files of sets in a folder, in the order of their names: the snapshots of a run are none."""
    return sorted(file for file in folder.glob("*.safetensors") if file.name != FILE)


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The examples after an outer iteration, with 8 bits for each value."""

    iteration: int
    low: float
    """The pixel value of the byte 0."""
    high: float
    """The pixel value of the byte 255."""
    pictures: UInt8[Tensor, "n h w 3"]


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One position of the slider."""

    name: str
    picture: str
    """The address of a picture of all examples."""


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What the page shows: the frames of the slider, of which the last one is the set itself."""

    frames: list[Frame]
    shown: int
    """How many examples, the first ones, each frame has."""
    width: int
    """The largest width of a frame, in pixels."""


class Keeper:
    """Keeps snapshots of a run at about evenly spaced iterations, at most `MOST_KEPT`."""

    def __init__(self, folder: Path, iterations: int, done: int) -> None:
        """Begin, or go on with what the folder holds of the first `done` of all `iterations`."""
        self._path, self._iterations = folder / FILE, iterations
        self._kept = [each for each in _read_or_none(self._path) if each.iteration <= done]

    def take(self, iteration: int, make: Callable[[], DistilledSet]) -> None:
        """Keep the set of images that `make` returns if it is an iteration to keep."""
        count = len(self._kept)
        known = any(each.iteration >= iteration for each in self._kept)
        if known or count == MOST_KEPT or iteration < self._iterations * count / (MOST_KEPT - 1):
            return
        distilled = make()
        if _first(distilled):
            new = _snapshot(distilled, iteration)
            alike = [each for each in self._kept if each.pictures.shape == new.pictures.shape]
            self._kept = [*alike, new]
            write_whole(self._path, _as_file(self._kept))


def changes(folder: Path, distilled: DistilledSet) -> Changes | None:
    """Return the frames of the slider for a run; None if it kept no snapshots.

    Raises:
        UserError: the file of the snapshots is broken, or holds pictures of other examples.
    """
    kept = read(folder / FILE) if (folder / FILE).is_file() else []
    if not kept or not isinstance(distilled.header.space, Pixels):
        return None
    last = _snapshot(distilled, 0)
    if any(each.pictures.shape != last.pictures.shape for each in kept):
        raise UserError(f"{folder / FILE} has pictures of other examples than the set; remove it")
    columns = _columns(distilled, len(last.pictures))
    frames = [Frame(name=_name(each), picture=_montage(_as_in(each, last), columns)) for each in kept]
    frames.append(Frame(name="the set", picture=_montage(last.pictures, columns)))
    return Changes(frames=frames, shown=len(last.pictures), width=columns * max(56, last.pictures.shape[2]))


def read(path: Path) -> list[Snapshot]:
    """Return the snapshots in a file.

    Raises:
        UserError: the file is missing or broken.
    """
    _, tensors = read_tensors(path)
    iterations, ranges, pictures = (tensors.get(name) for name in ("iterations", "ranges", "pictures"))
    if iterations is None or ranges is None or pictures is None or not _fit(iterations, ranges, pictures):
        raise UserError(f"{path} holds no snapshots of a run; remove it")
    return [
        Snapshot(iteration=iteration, low=low, high=high, pictures=each)
        for iteration, (low, high), each in zip(iterations.tolist(), ranges.tolist(), pictures, strict=True)
    ]


def _fit(iterations: Tensor, ranges: Tensor, pictures: Tensor) -> bool:
    """Whether the tensors of a file are those of snapshots."""
    count = len(iterations) if iterations.dim() == 1 else 0
    return (
        0 < count <= MOST_KEPT
        and iterations.dtype == torch.int64
        and ranges.dtype == torch.float64
        and ranges.shape == (count, 2)
        and bool(ranges.isfinite().all() and (ranges[:, 0] < ranges[:, 1]).all())
        and pictures.dtype == torch.uint8
        and pictures.dim() == 5
        and len(pictures) == count
        and pictures.shape[-1] == 3
        and pictures[0].numel() > 0
    )


def _read_or_none(path: Path) -> list[Snapshot]:
    try:
        return read(path) if path.is_file() else []
    except UserError:  # a broken file costs only pictures
        return []


def _as_file(kept: list[Snapshot]) -> bytes:
    return save(
        {
            "iterations": torch.tensor([each.iteration for each in kept]),
            "ranges": torch.tensor([(each.low, each.high) for each in kept], dtype=torch.float64),
            "pictures": torch.stack([each.pictures for each in kept]),
        }
    )


def _first(distilled: DistilledSet) -> int:
    """Return how many examples a snapshot holds."""
    height, width = distilled.shape[1:]
    return min(distilled.size, MOST_VALUES // (3 * height * width))


def _snapshot(distilled: DistilledSet, iteration: int) -> Snapshot:
    low, high = shown_range(distilled)
    tiles = tiles_of(distilled)[: _first(distilled)]
    return Snapshot(iteration=iteration, low=low, high=high, pictures=torch.from_numpy(np.ascontiguousarray(tiles)))


def _as_in(each: Snapshot, last: Snapshot) -> UInt8[Tensor, "n h w 3"]:
    """Return the pictures of a snapshot with the black and the white of the last one, so that they can be compared."""
    values = each.low + each.pictures.double() * ((each.high - each.low) / 255)
    return ((values - last.low) / (last.high - last.low) * 255).round().clamp(0, 255).byte()


def _name(each: Snapshot) -> str:
    return f"after iteration {each.iteration}" if each.iteration else "before the first iteration"


def _columns(distilled: DistilledSet, shown: int) -> int:
    """Return how many examples are side by side: one for each class if they are few, as in the order of most sets."""
    return min(shown, distilled.classes if distilled.classes <= MOST_COLUMNS else MOST_COLUMNS)


def _montage(pictures: UInt8[Tensor, "n h w 3"], columns: int) -> str:
    """Return the address of one picture of all examples, with a pixel between them."""
    count, height, width, _ = pictures.shape
    rows = -(-count // columns)
    whole = np.zeros((rows * (height + 1) - 1, columns * (width + 1) - 1, 4), dtype=np.uint8)
    for i, picture in enumerate(pictures.numpy()):
        top, left = i // columns * (height + 1), i % columns * (width + 1)
        whole[top : top + height, left : left + width, :3] = picture
        whole[top : top + height, left : left + width, 3] = 255
    return data_uri(Image.fromarray(whole))
