"""Where real data comes from: a name, a folder, a table, a torch dataset or arrays."""

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import UserError, unknown
from ..rng import generator
from . import idx
from .images import decode, from_array, match
from .names import KNOWN, VARIABLE, folder_of, looked_for, not_found
from .real import RealData
from .settings import DataSettings
from .splits import TEST_SEED, TEST_SHARE, Labelled, assemble, check_labels, roles, stratified

UNNAMED = "arrays"
"""What data is called that is given as arrays, a table or a torch dataset, and without a name."""


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
        parts, name = _named(chosen), Path(chosen.name).name or chosen.name
    else:
        chosen = replace(DataSettings(name=UNNAMED, in_memory=True), **settings)
        parts, name = _in_memory(source, chosen.resize), chosen.name
    data = assemble(
        name, parts, channels=chosen.channels, margin=chosen.pad, validation=chosen.validation, seed=chosen.seed
    )
    return replace(data, source=chosen)


def _settings(source: str | Path | DataSettings) -> DataSettings:
    if isinstance(source, DataSettings):
        return source
    # a path is never a known name, and means the same after a change of the working directory
    return DataSettings(name=str(source.expanduser().resolve()) if isinstance(source, Path) else source)


def _named(settings: DataSettings) -> dict[str, Labelled]:
    name, side = settings.name, settings.resize
    if settings.in_memory:
        raise UserError(
            f"the data {name!r} was given in Python (arrays, a table or a torch dataset) and cannot be found by name; "
            "give it again with data=, or name a folder that holds it with --data"
        )
    if name == "digits":
        return _digits(side)
    folder = folder_of(name)
    if folder is not None and idx.image_files(folder):
        return idx.read_folder(folder, side)
    # here, not above: `datasets` takes a second to import, which digits, arrays and torch datasets do not need
    from .huggingface import from_folder, from_hub, read_tables

    known = KNOWN.get(name)
    columns = (known.image, known.label) if known else None
    if folder is not None:
        return read_tables(from_folder(folder), side, columns)
    if known is None or known.hub is None:
        raise not_found(name)
    try:
        tables = from_hub(known.hub, known.config)
    except ConnectionError as error:
        raise UserError(
            f"cannot get {name!r}: {looked_for(name)}, and the hub does not give {known.hub} ({error}); set {VARIABLE} "
            f"to a folder that holds one called {name}, or give the path of a folder with the images"
        ) from error
    return read_tables(tables, side, columns)


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
