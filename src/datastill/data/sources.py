"""Loads real data from a name, a folder, a table, a torch dataset or arrays."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import UserError, unknown
from ..modes import usual_modes
from ..rng import generator
from . import folders, idx
from .arrays import from_array
from .files import file_of, read_file
from .given import read_given
from .images import Reading
from .names import KNOWN, folder_of, hub_name, not_found, not_on_hub
from .real import RealData
from .settings import DataSettings
from .splits import TEST_SEED, TEST_SHARE, Labelled, assemble, stratified

UNNAMED = "arrays"
"""Name of arrays, tables and torch datasets that are given without a name."""


@usual_modes()
def load_data(source: Any = "digits", **settings: Any) -> RealData:
    """Load real data from any source, as uint8 tensors on the CPU.

    If the source has no test split, its validation split is the test split; if it has neither, a fixed 20 % of each
    class of train becomes the test split, with a warning. If there is no validation split then, it is cut off train.
    A cut keeps identical images in one split, except in known data sets, whose cuts are those of published results. A
    warning counts images of the source that are in several splits.

    Args:
        source: one of

            - a known name (see `KNOWN`), which is looked up in `$DATASTILL_DATA`, then on the hub (`digits` comes with
              scikit-learn); or the name of any other folder in `$DATASTILL_DATA`; or owner/name on the hub;
            - the path of a folder: images in a folder for each class (the rule is in `data/folders.py`); or IDX files
              (train-images-idx3-ubyte.gz and the like; FOLDER/SET names one of several sets in a folder); or
              parquet and other tables that `datasets.load_dataset` reads;
            - the path of one file: a table (.csv, .parquet), or arrays (.npz) called x and y, or x_train, y_train and
              so on; columns of numbers are rows, arrays (n, channels, length) signals, bytes images;
            - a `DataSettings`;
            - a `datasets.Dataset` or `DatasetDict`;
            - a torch dataset, a list or any other iterable of pairs (image, label), read once, so without random
              transforms;
            - a pair (images, labels) of arrays: (n, h, w), (n, c, h, w) or (n, h, w, c), 0..255 or floats in [0, 1];
            - a dict from the name of a split to a table, a dataset or iterable of pairs, or a pair of arrays.
        settings: fields of `DataSettings`, which override those of `source`.

    Raises:
        UserError: there is no such data, or it cannot be used; the error says why, and what to do.
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
        parts, name = read_given(source, chosen.reading), chosen.name
    # cuts of known data sets are those of published results
    return assemble(name, parts, chosen, together=chosen.in_memory or chosen.name not in KNOWN)


def _settings(source: str | Path | DataSettings) -> DataSettings:
    if isinstance(source, DataSettings):
        return source
    # absolute: never a known name, and valid after a change of the working directory
    return DataSettings(name=str(source.expanduser().resolve()) if isinstance(source, Path) else source)


def _named(settings: DataSettings) -> dict[str, Labelled]:
    name, reading = settings.name, settings.reading
    if settings.in_memory:
        raise UserError(
            f"the data {name!r} was given in Python (arrays, a table or a torch dataset) and cannot be found by name; "
            "give it again with data=, or name a folder that holds it with --data"
        )
    if name == "digits":
        _must_be_no_table(settings, "train_split", "validation_split", "test_split")
        return _digits(reading)
    if path := file_of(name):
        return read_file(path, reading)
    folder = folder_of(name)
    if files := idx.split_files(folder) if folder else idx.named_set(Path(name)):
        _must_be_no_table(settings)
        return idx.read_splits(files, reading)
    known = KNOWN.get(name) or hub_name(name)
    columns = (known.image, known.label) if known else None
    if folder is not None:
        return _read_folder(folder, settings, columns)
    if known is None or known.hub is None:
        raise not_found(name)
    # imported here, because `datasets` takes a second to import, and most sources do not need it
    from .huggingface import from_hub, read_tables

    try:
        tables = from_hub(known.hub, settings.config or known.config)
    except ConnectionError as error:
        raise not_on_hub(name, known.hub, str(error)) from error
    return read_tables(tables, reading, columns)


def _read_folder(folder: Path, settings: DataSettings, columns: tuple[str, str] | None) -> dict[str, Labelled]:
    reading = settings.reading
    if not any((folder / name).is_file() for name in folders.SAVED_FILES):
        found = folders.walk(folder)
        if folders.is_image_folder(found):
            _must_be_no_table(settings)
            return folders.read_folder(found, reading)
        folders.require_tables(found)
    from .huggingface import from_folder, read_tables

    return read_tables(from_folder(folder, settings.config), reading, columns)


def _must_be_no_table(settings: DataSettings, *more: str) -> None:
    """Raise a `UserError` if settings for tables, or some others, were changed: they have no effect on the source."""
    for setting in ("config", "image_column", "label_column", *more):
        if value := getattr(settings, setting):
            raise UserError(
                f"{setting} is {value!r}, but has no effect: it is for tables, and {settings.name!r} is none; leave it "
                "out"
            )


def _digits(reading: Reading) -> dict[str, Labelled]:
    from sklearn.datasets import load_digits  # two seconds to import

    flat, labels = load_digits(return_X_y=True)  # 0..16
    images = from_array(np.asarray(flat).reshape(-1, 8, 8) / 16, "digits", reading)
    index = stratified(torch.from_numpy(labels), TEST_SHARE, generator(TEST_SEED, "test split"))
    return {
        role: Labelled(examples=images[chosen], labels=labels[chosen.numpy()])
        for role, chosen in zip(("train", "test"), index, strict=True)
    }
