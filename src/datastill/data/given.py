"""Data given in Python: arrays, tables, torch datasets, and other iterables of pairs."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import UserError
from .arrays import from_array, tensor_of
from .decoding import decode
from .images import Reading, match
from .labels import check_labels
from .on_disk import OnDisk
from .sentences import SENTENCES
from .splits import Labelled, own_roles, roles, say_unused

ITEM = ("image", "label")
"""The names that a row of a streamed table must have, in the order of a pair."""
MAX_ITEMS = 2_000_000
"""Largest number of items that are read from an iterable without a length, which may have no end."""

READABLE = (
    "a name, a folder, a datasets.Dataset, a torch dataset or another iterable of pairs, or a pair (images, labels)"
)


def read_given(source: Any, reading: Reading) -> dict[str, Labelled]:
    """Read data given in Python; return its splits by role. Data that is no mapping from split names is train.

    Raises:
        UserError: the data is of an unknown kind or cannot be used.
    """
    if not isinstance(source, Mapping):
        return {"train": _reader(source)(source, reading, "train")}
    for name in source:
        if not isinstance(name, str):
            raise UserError(f"splits must be named by strings, e.g. 'train', but one is called {name!r}")
    if type(source).__module__.startswith("datasets."):  # a DatasetDict has the splits of somebody else
        used = roles(source, reading.splits)
        say_unused(source, used)
    else:
        used = own_roles(source, reading.splits)
    return {role: _reader(source[name])(source[name], reading, name) for role, name in used.items()}


def _reader(source: Any) -> Callable[[Any, Reading, str], Labelled]:
    if isinstance(source, tuple) and len(source) == 2:
        return _from_arrays
    if isinstance(source, torch.utils.data.DataLoader):
        raise UserError("cannot read data from a DataLoader, which gives batches; give its dataset: loader.dataset")
    if isinstance(source, torch.utils.data.Dataset | list | Iterator):
        return _from_items
    from .huggingface import datasets, read_table

    if isinstance(source, datasets.Dataset):
        return lambda table, reading, split: read_table(table, reading, None, split)
    if isinstance(source, Iterable) and not hasattr(source, "__array__"):
        return _from_items
    raise UserError(f"cannot read data from {type(source).__module__}.{type(source).__qualname__}; give {READABLE}")


def _from_arrays(arrays: tuple[Any, Any], reading: Reading, split: str) -> Labelled:
    where = f"split {split!r}"
    images, labels = arrays
    if _are_texts(images):
        return Labelled(examples=list(images), labels=check_labels(labels, None, where), kind=SENTENCES)
    return Labelled(examples=from_array(images, where, reading), labels=check_labels(labels, None, where))


def _are_texts(examples: Any) -> bool:
    if not isinstance(examples, list | tuple | np.ndarray):
        return False
    return isinstance(next((each for each in examples if each is not None), None), str)


def _from_items(items: Any, reading: Reading, split: str) -> Labelled:
    """Read pairs (image, label) one at a time; an image is a PIL image, an array or a tensor."""
    where = f"split {split!r}"
    images, labels = [], []
    for i, item in enumerate(_each(items, where)):
        if isinstance(item, Mapping) and item.keys() >= set(ITEM):  # a row of a streamed table
            item = tuple(item[key] for key in ITEM)
        if not (isinstance(item, tuple | list) and len(item) == 2):
            raise UserError(f"item {i} of {where} is a {type(item).__name__}, but must be a pair (image, label)")
        images.append(item[0])
        labels.append(item[1].item() if isinstance(item[1], Tensor) and item[1].numel() == 1 else item[1])
    if not images:
        raise UserError(f"{where} has no images")
    names = getattr(items, "classes", None)  # an attribute of torchvision datasets
    names = tuple(names) if isinstance(names, list | tuple) and all(isinstance(n, str) for n in names) else None
    if _are_texts(images):
        return Labelled(examples=images, labels=check_labels(labels, names, where), names=names, kind=SENTENCES)
    pixels, kept = _stack(images, where, reading)
    return Labelled(examples=pixels, labels=check_labels(labels, names, where)[kept], names=names)


def _each(items: Any, where: str) -> Iterator[Any]:
    i = 0
    try:
        for i, item in enumerate(_in_order(items)):
            if i == MAX_ITEMS:
                raise UserError(f"{where} gives more than {MAX_ITEMS} items and may have no end; give a list")
            yield item
            i += 1
    except (UserError, MemoryError):
        raise
    except Exception as error:  # a user's code can raise anything
        why = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise UserError(f"item {i} of {where} cannot be read: {why}") from error


def _in_order(items: Any) -> Iterator[Any]:
    if hasattr(items, "__len__") and hasattr(items, "__getitem__"):
        return (items[i] for i in range(len(items)))
    return islice(items, MAX_ITEMS + 1)


def _stack(images: list[Any], where: str, reading: Reading) -> tuple[Tensor | OnDisk, Any]:
    """Return the images as one tensor, and their indices: unreadable images may be skipped."""
    if all(isinstance(image, Image.Image) for image in images):
        decoded = decode(images, where, reading)
        return decoded.images, decoded.kept
    arrays = [np.asarray(image.detach().cpu() if isinstance(image, Tensor) else image) for image in images]
    if len({array.shape for array in arrays}) == 1:
        return from_array(np.stack(arrays), where, reading), slice(None)
    return torch.cat(match([tensor_of(array[None], where, reading) for array in arrays])), slice(None)
