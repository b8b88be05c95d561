"""Where real data comes from: a name, a folder, a table, a torch dataset or arrays."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import UserError, at_least, unknown
from ..rng import generator
from . import idx
from .images import Channels, decode, from_array, match
from .real import RealData
from .splits import TEST_SEED, TEST_SHARE, Labelled, assemble, check_labels, roles, stratified

VARIABLE = "DATASTILL_DATA"
"""Environment variable with the folder that holds a folder per data set."""


@dataclass(frozen=True, kw_only=True)
class KnownSet:
    """A data set that has a name here."""

    hub: str | None
    """Its name on the Hugging Face hub; None if it comes with scikit-learn."""
    config: str | None = None
    """The configuration of it, where there are several."""
    image: str = "image"
    """The column with the images."""
    label: str = "label"
    """The column with the labels."""


KNOWN = {
    "digits": KnownSet(hub=None),
    "mnist": KnownSet(hub="ylecun/mnist"),
    "fashion_mnist": KnownSet(hub="zalando-datasets/fashion_mnist"),
    "usps": KnownSet(hub="flwrlabs/usps"),
    "svhn": KnownSet(hub="ufldl-stanford/svhn", config="cropped_digits"),
    "cifar10": KnownSet(hub="uoft-cs/cifar10", image="img"),
    "cifar100": KnownSet(hub="uoft-cs/cifar100", image="img", label="fine_label"),
}
"""The data sets that have a name here; any folder in `$DATASTILL_DATA` has one too."""


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """What the user may say about the data."""

    name: str = "digits"
    """A known name, the name of a folder in `$DATASTILL_DATA`, or the path of a folder."""
    channels: Channels = "keep"
    """Conversion of the images: none, to grey (ITU-R 601 luma), or to colour (repeating the grey channel)."""
    resize: int | None = None
    """Height and width in pixels to resize to (bilinear, antialiased, aspect ratio not kept); None keeps the size."""
    pad: int = 0
    """Black pixels added on each side, after resizing: resize=20 and pad=4 centre the 16x16 digits of USPS in 28x28 as
    those of MNIST are."""
    validation: float = 0.1
    """Share of each class of train that becomes validation, in (0, 1), where the source has no validation split."""
    seed: int = 0
    """Of the validation split; the test split never depends on it."""

    def __post_init__(self) -> None:
        if self.channels not in get_args(Channels):
            raise unknown("channels", self.channels, get_args(Channels))
        if self.resize is not None:
            at_least("resize", self.resize, 1)
        at_least("pad", self.pad, 0)
        if not 0 < self.validation < 1:
            raise UserError(f"validation is {self.validation}, but must be between 0 and 1, e.g. 0.1")


def load_data(source: Any = "digits", **settings: Any) -> RealData:
    """Real data from wherever it is, as uint8 tensors on the CPU.

    Where the source has no test split, a fixed 20 % of each class becomes one, with a warning; a lone validation
    split is the test split. Where it has no validation split, that is cut off train.

    Args:
        source: one of

            - a known name (see `KNOWN`): the folder of that name in `$DATASTILL_DATA`, else the hub (`digits` comes
              with scikit-learn); or the name of any other folder in `$DATASTILL_DATA`;
            - the path of a folder: images in a folder per class, or parquet, as `datasets.load_dataset` reads it,
              or IDX files (train-images-idx3-ubyte.gz and the like);
            - `DataSettings`;
            - a `datasets.Dataset` or `DatasetDict`;
            - a torch map-style dataset of (image, label), read once, so without random transforms;
            - a pair (images, labels) of arrays: (n, h, w), (n, c, h, w) or (n, h, w, c), 0..255 or floats in [0, 1];
            - a dict from the name of a split to any one of the last three.
        settings: fields of `DataSettings`, which override those of `source`.

    Raises:
        UserError: no such data, or data that cannot be used as it is; says why, and what to do.
    """
    for name in settings:
        known = [field.name for field in fields(DataSettings)]
        if name not in known:
            raise unknown("data setting", name, known)
    if isinstance(source, str | Path | DataSettings):
        chosen = replace(_settings(source), **settings)
        parts, name = _named(chosen.name, chosen.resize), Path(chosen.name).name or chosen.name
    else:
        chosen = replace(DataSettings(name="custom"), **settings)
        parts, name = _in_memory(source, chosen.resize), chosen.name
    return assemble(
        name, parts, channels=chosen.channels, margin=chosen.pad, validation=chosen.validation, seed=chosen.seed
    )


def _settings(source: str | Path | DataSettings) -> DataSettings:
    if isinstance(source, DataSettings):
        return source
    # a path is never a known name, and means the same after a change of the working directory
    return DataSettings(name=str(source.expanduser().resolve()) if isinstance(source, Path) else source)


def _named(name: str, side: int | None) -> dict[str, Labelled]:
    if name == "digits":
        return _digits(side)
    folder = _folder(name)
    if folder is not None and idx.image_files(folder):
        return idx.read_folder(folder, side)
    # here, not above: `datasets` takes a second to import, which digits, arrays and torch datasets do not need
    from .huggingface import from_folder, from_hub, read_tables

    known = KNOWN.get(name)
    columns = (known.image, known.label) if known else None
    if folder is not None:
        return read_tables(from_folder(folder), side, columns)
    if known is None or known.hub is None:
        raise _not_found(name)
    try:
        tables = from_hub(known.hub, known.config)
    except ConnectionError as error:
        raise UserError(
            f"cannot get {name!r}: {_looked(name)}, and the hub does not give {known.hub} ({error}); set {VARIABLE} "
            f"to a folder that holds one called {name}, or give the path of a folder with the images"
        ) from error
    return read_tables(tables, side, columns)


def _folder(name: str) -> Path | None:
    """The folder that a name means, if there is one: in `$DATASTILL_DATA`, else (not for known names) as a path."""
    root = os.environ.get(VARIABLE)
    places = [Path(root) / name] if root and _is_bare(name) else []
    if name not in KNOWN:
        places.append(Path(name).expanduser())
    return next((place for place in places if place.is_dir()), None)


def _is_bare(name: str) -> bool:
    return Path(name).parts == (name,) and name not in (".", "..", "~")


def _not_found(name: str) -> UserError:
    if not _is_bare(name):
        return UserError(f"there is no folder {name!r}; give the path of a folder with the images, or a known name")
    root = Path(os.environ.get(VARIABLE, ""))
    there = (
        [place.name for place in root.iterdir() if place.is_dir()] if os.environ.get(VARIABLE) and root.is_dir() else []
    )
    return UserError(f"{unknown('data', name, {*KNOWN, *there})}; {_looked(name)}")


def _looked(name: str) -> str:
    root = os.environ.get(VARIABLE)
    return f"there is no folder {Path(root) / name}" if root else f"{VARIABLE} is not set"


def _digits(side: int | None) -> dict[str, Labelled]:
    from sklearn.datasets import load_digits  # two seconds to import

    flat, labels = load_digits(return_X_y=True)  # 0..16
    images = from_array(np.asarray(flat).reshape(-1, 8, 8) / 16, side, "digits")
    index = stratified(torch.from_numpy(labels), TEST_SHARE, generator(TEST_SEED, "test split"))
    return {
        role: Labelled(images=images[chosen], labels=labels[chosen.numpy()])
        for role, chosen in zip(("train", "test"), index, strict=True)
    }


def _in_memory(source: Any, side: int | None) -> dict[str, Labelled]:
    if not isinstance(source, Mapping):
        return {"train": _reader(source)(source, side, "train")}
    return {role: _reader(source[name])(source[name], side, name) for role, name in roles(source).items()}


def _reader(source: Any) -> Callable[[Any, int | None, str], Labelled]:
    if isinstance(source, tuple) and len(source) == 2:
        return _from_arrays
    if isinstance(source, torch.utils.data.Dataset) and not isinstance(source, torch.utils.data.IterableDataset):
        return _from_items
    from .huggingface import datasets, read_table

    if isinstance(source, datasets.Dataset):
        return lambda table, side, split: read_table(table, side, None, split)
    raise UserError(
        f"cannot read data from {type(source).__module__}.{type(source).__qualname__}; give a name, a folder, "
        "a datasets.Dataset, a torch dataset with a length, or a pair (images, labels)"
    )


def _from_arrays(arrays: tuple[Any, Any], side: int | None, split: str) -> Labelled:
    where = f"split {split!r}"
    images, labels = arrays
    labels = np.asarray(labels.detach().cpu() if isinstance(labels, Tensor) else labels)
    return Labelled(images=from_array(images, side, where), labels=check_labels(labels, None, where))


def _from_items(items: Any, side: int | None, split: str) -> Labelled:
    """A torch dataset: PIL images or arrays, one at a time."""
    where = f"split {split!r}"
    images, labels = [], []
    for i in range(len(items)):
        item = items[i]
        if not (isinstance(item, tuple | list) and len(item) == 2):
            raise UserError(f"item {i} of {where} is a {type(item).__name__}, but must be a pair (image, label)")
        images.append(item[0])
        labels.append(item[1].item() if isinstance(item[1], Tensor) and item[1].numel() == 1 else item[1])
    names = getattr(items, "classes", None)  # as the datasets of torchvision have it
    names = tuple(names) if isinstance(names, list | tuple) and all(isinstance(n, str) for n in names) else None
    return Labelled(
        images=_stack(images, side, where), labels=check_labels(np.asarray(labels), names, where), names=names
    )


def _stack(images: list[Any], side: int | None, where: str) -> Tensor:
    if all(isinstance(image, Image.Image) for image in images):
        return decode(images, side, where)
    arrays = [np.asarray(image.detach().cpu() if isinstance(image, Tensor) else image) for image in images]
    if len({array.shape for array in arrays}) == 1:
        return from_array(np.stack(arrays), side, where)
    return torch.cat(match([from_array(array[None], side, where) for array in arrays]))
