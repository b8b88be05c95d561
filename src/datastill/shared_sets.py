"""Sets that other projects share: read from their files, and made into distilled sets that can be evaluated.

Four kinds of files are read, none of which can run code:

- ``FILE.npz``: arrays of images and labels (kernel inducing points: Nguyen, Chen and Lee 2021);
- ``FILE.pt`` with one set or several: a pair of images and labels, or a list of such pairs under the name ``data``
  (gradient matching and distribution matching: Zhao and Bilen 2021, 2023);
- ``images.pt`` and ``labels.pt`` (trajectory matching: Cazenavette et al. 2022);
- a folder with a folder of pictures for each class.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from . import __version__
from .artifact import DistilledSet, Header
from .data import RealData
from .data.files import EXAMPLES, LABELS, arrays_in
from .data.folders import class_folders
from .data.labels import check_labels
from .errors import UserError, counted
from .label_source import Signed, Stored
from .networks import Network, build
from .networks.start import Fixed, Start
from .program import PROGRAMS, ShuffledName, SquaredError, suited
from .runlog import say
from .space import Pixels, Whitened
from .storage.files import as_read
from .storage.pickled import read_pickled

Values = Literal["auto", "normalised", "unit", "bytes"]
IMAGE_NAMES = (*EXAMPLES, "image", "images_best", "x_train")
LABEL_NAMES = (*LABELS, "labels_best", "y_train")
EXPORTED = "program.json"
"""The array of an archive, and the file of a folder, that `datastill export` wrote."""
LARGEST = 50.0
"""Floats that are not negative and reach beyond this are pixels rather than normalised values."""
MOST_FROM_ONE = 0.01
"""How far the probabilities of an image may sum to another number than 1, by rounding."""
SUFFIXES = (".npz", ".pt", ".pth")


@dataclass(frozen=True, kw_only=True)
class Found:
    """Images and labels as they are in the files of another project."""

    images: Tensor
    """(n, c, h, w) or (n, h, w, c)."""
    labels: Tensor
    """Classes (n,), or one number for each class (n, classes)."""


def read_shared(path: Path, data: RealData, labels: Path | None = None, number: int = 0) -> Found:
    """Read a set of another project.

    Args:
        path: a file of `SUFFIXES`, or a folder with a folder of pictures for each class.
        data: the real data; a folder is a name or the number of a class.
        labels: the file of the labels, if `path` holds only images.
        number: which set of a file with several, from 0.

    Raises:
        UserError: the file cannot be read, or does not hold images and labels.
    """
    if number and (path.is_dir() or labels is not None):
        raise UserError(f"number is {number}, but has no effect: {path} holds one set; leave number out")
    if path.is_dir():
        if labels is not None:
            raise UserError(f"labels is {labels}, but has no effect: folders in {path} are the classes; leave it out")
        _say_what_is_lost(path, exported=(path / EXPORTED).exists())
        return _from_folder(path, data)
    value = _content(path)
    if labels is not None:
        return Found(images=_only(value, path, IMAGE_NAMES), labels=_only(_content(labels), labels, LABEL_NAMES))
    _say_what_is_lost(path, exported=isinstance(value, Mapping) and EXPORTED in value)
    pairs = _pairs(value, path)
    if not 0 <= number < len(pairs):
        raise UserError(
            f"{path} holds {counted(len(pairs), 'set')}, but number is {number}; take 0 to {len(pairs) - 1}"
        )
    images, found = pairs[number]
    return Found(images=_tensor(images, path), labels=_tensor(found, path))


def distilled_from(
    found: Found,
    data: RealData,
    *,
    network: str,
    start: Start,
    program: ShuffledName,
    values: Values,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    mirror: bool = True,
    source: str = "",
) -> DistilledSet:
    """Make a distilled set of images and labels.

    Args:
        found: the images and labels.
        data: the real data that the set stands for: its classes, image shape, mean and standard deviation.
        network: the network that the set was made for.
        start: the initial weights that it was made for.
        program: how networks are trained on it.
        values: what the numbers are: ``normalised`` ((pixel - mean) / std), ``unit`` (pixels in 0..1) or ``bytes``
            (0..255); ``auto``: bytes for whole numbers, otherwise normalised. If `data` is whitened (ZCA), so are
            normalised values, and they stay as they are.
        mean: with normalised values, the mean of each channel by which they were normalised; empty: that of `data`.
        std: likewise the standard deviation.
        mirror: whether the program may mirror images; not for digits or letters.
        source: where the set comes from; kept with it.

    Raises:
        UserError: images or labels do not fit the data, or the network cannot start so.
    """
    if not isinstance(data.space, Pixels):
        raise UserError(f"the data has {data.space.nouns}, but only sets of images can be read from other projects")
    labels = _labels(found.labels, len(found.images), data.classes)
    _warn_of_empty_classes(labels, data.class_names)
    images = _channels_first(found.images, data.shape)
    _must_be_finite(images)
    inputs = _normalised(images, data.space, values, mean, std)
    signed = labels.is_floating_point() and bool((labels < 0).any())
    chosen = suited(PROGRAMS[program], data.shape, mirror=mirror)
    _must_start(build(network, shape=data.shape, classes=data.classes), start)
    header = Header(
        data=data.name,
        class_names=data.class_names,
        space=data.space,
        network=network,
        start=start,
        labels=Signed() if signed else Stored(),
        method="",
        config={"data": as_read(asdict(data.settings))},
        provenance={"datastill": __version__, "source": source},
    )
    return DistilledSet(
        inputs=inputs,
        targets=labels,
        program=replace(chosen, loss=SquaredError()) if signed else chosen,
        header=header,
    )


def _must_start(network: Network, start: Start) -> None:
    """Raise a `UserError` if the initial weights cannot be had: there is no such file, or the files lack them."""
    if isinstance(start, Fixed):
        raise UserError(
            f"the start is {start}, but the files of other projects hold no initial weights; take {start.fresh()}, or "
            "the pool of the weights"
        )
    start.bound(network, seed=0)


def _say_what_is_lost(path: Path, *, exported: bool) -> None:
    """Say which parts of a set that `datastill export` wrote are not read."""
    if exported:
        say(
            f"{path} was written by datastill export: its images and labels are read, but not its program, network, "
            "start and score; use the file of the set itself, or give them with --program, --network and --start"
        )


def _content(path: Path) -> Any:
    if path.is_dir():
        raise UserError(f"{path} is a folder, but must be a file that ends in {', '.join(SUFFIXES)}")
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"{path} is no folder, and no file that ends in {', '.join(SUFFIXES)}; give one of these")
    return arrays_in(path) if path.suffix.lower() == ".npz" else read_pickled(path)


def _pairs(value: Any, path: Path) -> list[tuple[Any, Any]]:
    """Return the pairs of images and labels in the value of a file."""
    if isinstance(value, Mapping):
        images, labels = (_named(value, names) for names in (IMAGE_NAMES, LABEL_NAMES))
        if images is not None and labels is not None:
            return [(images, labels)]
        value = value.get("data")
    if _is_pair(value):
        return [(value[0], value[1])]
    if isinstance(value, list | tuple) and value and all(map(_is_pair, value)):
        return [(each[0], each[1]) for each in value]
    raise UserError(
        f"{path} must hold images and labels: arrays of these names, a pair, or a list of pairs under 'data'; if the "
        "labels are in a file of their own, give it with --labels"
    )


def _is_pair(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_array, value))


def _is_array(value: Any) -> bool:
    return isinstance(value, Tensor | np.ndarray)


def _named(value: Mapping[Any, Any], names: Sequence[str]) -> Any:
    return next((value[name] for name in names if _is_array(value.get(name))), None)


def _only(value: Any, path: Path, names: Sequence[str]) -> Tensor:
    """Return the one tensor of a file, or the one with a usual name."""
    found = _named(value, names) if isinstance(value, Mapping) else value
    if not _is_array(found):
        raise UserError(f"{path} must hold one tensor, or one called {names[0]}")
    return _tensor(found, path)


def _tensor(value: Any, path: Path) -> Tensor:
    """Return an array or a tensor as a tensor of a type that can be computed with."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biuf":
            raise UserError(f"{path} holds values of type {value.dtype}; images and labels must be numbers")
        value = torch.as_tensor(value.astype(value.dtype.newbyteorder("=")))
    if value.is_complex() or not value.dim():
        what = "complex numbers" if value.is_complex() else "a single number"
        raise UserError(f"{path} holds {what} in the place of images or labels; give an array of real numbers")
    return value.detach().long() if value.dtype in (torch.uint16, torch.uint32, torch.uint64) else value.detach()


def _from_folder(path: Path, data: RealData) -> Found:
    images, names = class_folders(path)
    numbers = {name: i for i, name in enumerate(data.class_names)}
    if not set(names) <= numbers.keys():
        numbers = {str(i): i for i in range(data.classes)}
    if unknown := sorted(set(names) - numbers.keys()):
        raise UserError(
            f"the folder {unknown[0]!r} in {path} is neither a class of {data.name} ({', '.join(data.class_names)}) "
            f"nor a number from 0 to {data.classes - 1}"
        )
    return Found(images=images, labels=torch.tensor([numbers[name] for name in names]))


def _channels_first(images: Tensor, shape: tuple[int, ...]) -> Tensor:
    channels, height, width = shape
    if images.dim() == 3 and channels == 1:
        images = images[:, None]
    if tuple(images.shape[1:]) == (height, width, channels) != shape:
        images = images.permute(0, 3, 1, 2)
    if tuple(images.shape[1:]) != shape or not len(images):
        raise UserError(f"the images have shape {tuple(images.shape)}, but must be (n, {channels}, {height}, {width})")
    return images.contiguous()


def _must_be_finite(images: Tensor) -> None:
    """Raise a `UserError` if an image holds NaN or infinity."""
    if len(wrong := (~images.isfinite()).flatten(1).any(1).nonzero()):
        raise UserError(
            f"{len(wrong)} of {counted(len(images), 'image')} hold values that are not finite (the first is image "
            f"{int(wrong[0])}); take a set that was saved before its training diverged"
        )


def _normalised(images: Tensor, space: Pixels, values: Values, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    if values == "auto":
        values = "normalised" if images.is_floating_point() else "bytes"
        low, high = float(images.min()), float(images.max())
        if values == "normalised" and low >= 0 and high > LARGEST:
            raise UserError(
                f"the values of the images are floats from {low:.3g} to {high:.3g}, which look like pixels in 0..255; "
                "say what they are with --values bytes or --values normalised"
            )
        if values == "normalised" and 0 <= low <= high <= 1:
            say(
                "the values of the images lie in 0..1 and are taken as normalised, (pixel - mean) / std; "
                "if they are pixels, take --values unit"
            )
    if (mean or std) and values != "normalised":
        raise UserError(f"mean and std have no effect on values {values}; leave them out, or take values normalised")
    if values != "normalised":
        _must_reach(images, 255.0 if values == "bytes" else 1.0, values)
        return space.renormalised(images.float() / (255 if values == "bytes" else 1))
    if isinstance(space, Whitened):
        if mean or std:
            raise UserError("mean and std have no effect on whitened values, which stay as they are; leave them out")
        return images.float()
    theirs = replace(space, mean=tuple(mean or space.mean), std=tuple(std or space.std))
    return space.renormalised(theirs.original(images.float()))


def _must_reach(images: Tensor, highest: float, values: Values) -> None:
    low, high = float(images.min()), float(images.max())
    if low < -highest or high > 2 * highest or (values == "bytes" and high <= 1):
        raise UserError(
            f"the values of the images lie between {low:.3g} and {high:.3g}, which are not {values}; take another "
            "--values: normalised, unit or bytes"
        )


def _warn_of_empty_classes(labels: Tensor, names: Sequence[str]) -> None:
    """Say which classes have no image."""
    present = set((labels.argmax(1) if labels.dim() == 2 else labels).tolist())
    if missing := [name for i, name in enumerate(names) if i not in present]:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        say(f"{len(missing)} of {len(names)} classes have no image in the set: {', '.join(missing[:5])}{more}")


def _labels(labels: Tensor, count: int, classes: int) -> Tensor:
    """Return classes (n,), or a number for each class (n, classes); one-hot labels become classes."""
    if len(labels) != count:
        raise UserError(f"there are {counted(count, 'image')}, but {counted(len(labels), 'label')}")
    if labels.dim() == 1:
        return torch.from_numpy(check_labels(labels, None, "the set"))
    if tuple(labels.shape) != (count, classes):
        raise UserError(f"the labels have shape {tuple(labels.shape)}, but must be ({count},) or ({count}, {classes})")
    hard = labels.argmax(1)
    if torch.equal(labels.double(), one_hot(hard, classes).double()):
        return hard
    sums = labels.double().sum(1)
    if bool((labels >= 0).all()) and (wrong := (sums - 1).abs() > MOST_FROM_ONE).any():
        k = int(wrong.nonzero()[0])
        raise UserError(
            f"the labels of image {k} sum to {sums[k]:.4g}, but probabilities sum to 1; divide each row by its sum"
        )
    return labels.float()
