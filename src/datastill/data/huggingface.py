"""Reads tables of the `datasets` library: from a folder, from the hub, or given in Python."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
from huggingface_hub import HfApi
from huggingface_hub.constants import HF_HUB_CACHE
from torch import Tensor

from ..errors import UserError, unknown
from .arrays import from_array
from .decoding import decode
from .folders import SAVED_FILES
from .images import Reading
from .labels import check_labels
from .on_disk import OnDisk
from .rows import Rows
from .sentences import SENTENCES
from .splits import Labelled, roles, say_unused

IMAGE_COLUMNS = ("image", "img", "images", "pixel_values", "pixels", "picture", "photo", "png", "jpg", "jpeg", "webp")
"""Usual names of the column with the images, the most usual first."""

TEXT_COLUMNS = ("text", "sentence", "question", "content", "review", "title")
"""Usual names of the column with sentences, the most usual first; it is used if no column holds images."""

LARGE_BYTES = 2**28
"""A larger file in parquet format is memory-mapped, from a copy that the `datasets` library keeps."""

NUMBER = re.compile(r"(u?int|float|bool)\d*$")
"""The types of columns of numbers."""

SEPARATORS = re.compile(r"[;\t|]")
"""What some programs write between columns instead of a comma."""

LABEL_COLUMNS = ("label", "labels", "fine_label", "digit", "class", "classes", "target", "category", "cls", "y")
"""Usual names of the column with the labels, the most usual first."""

CHOOSE = "set config to one of its configurations"
"""What to do where data has several configurations."""
LAYOUT = (
    "a folder per class (train/cat/1.png, train/dog/2.png, test/cat/3.png) or a column called 'label' "
    "(or of another name, which label_column is set to)"
)


def from_folder(folder: Path, config: str = "") -> dict[str, datasets.Dataset]:
    """Read the splits of a folder in any form that `datasets.load_dataset` reads: images, parquet and others.

    Args:
        folder: the folder.
        config: the configuration, if the folder has several as on the hub.

    Raises:
        UserError: the folder cannot be read.
    """
    try:
        if any((folder / name).is_file() for name in SAVED_FILES):
            read = datasets.load_from_disk(str(folder))
        else:
            with _no_progress_bars(), _cache() as where:
                read = datasets.load_dataset(str(folder.resolve()), config or None, **where)
    except (datasets.exceptions.DatasetsError, OSError, ValueError, RuntimeError, TypeError) as error:
        wanted = (
            CHOOSE if _lacks_config(error) else f"it must hold images in {LAYOUT}, or parquet files with such columns"
        )
        raise UserError(f"cannot read the folder {str(folder)!r} ({_first_line(error)}); {wanted}") from error
    return splits_of(read)


def table_in(path: Path) -> datasets.Dataset:
    """Read a file in CSV or parquet format.

    Raises:
        UserError: it cannot be read.
    """
    import pyarrow.parquet

    read = _csv if path.suffix.lower() == ".csv" else pyarrow.parquet.read_table
    try:
        if path.suffix.lower() == ".parquet" and path.stat().st_size > LARGE_BYTES:
            with _no_progress_bars(), _cache() as where:
                found = datasets.load_dataset("parquet", data_files=str(path.resolve()), split="train", **where)
        else:
            table = read(str(path))
            if twice := [name for name, count in Counter(table.column_names).items() if count > 1]:
                raise UserError(f"the table {str(path)!r} has several columns called {twice[0]!r}; rename all but one")
            found = datasets.Dataset(datasets.table.InMemoryTable(table))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"cannot read the table {str(path)!r}: {_first_line(error)}") from error
    if not len(found):
        raise UserError(f"the table {str(path)!r} has no rows")
    return found


def _csv(path: str) -> pa.Table:
    import pyarrow.csv

    table = pyarrow.csv.read_csv(path)
    if any(map(pa.types.is_binary, table.schema.types)):
        raise ValueError("it is not in UTF-8; save it in this encoding")
    first, *others = table.column_names
    if not others and SEPARATORS.search(first):
        raise ValueError(f"its only column is called {first!r}; separate columns by commas")
    return table


def from_hub(name: str, config: str = "") -> dict[str, datasets.Dataset]:
    """Load the splits of a data set from the Hugging Face hub.

    Args:
        name: the name on the hub, as owner/name.
        config: the configuration, if there are several.

    Raises:
        ConnectionError: the data cannot be loaded; the error has the reason in one line.
    """
    cache = Path(datasets.config.HF_DATASETS_CACHE) / name.replace("/", "___")
    try:
        if not cache.is_dir():  # this fails at once; `load_dataset` would retry for half a minute
            HfApi().dataset_info(name, timeout=10)
        return splits_of(datasets.load_dataset(name, config or None))
    except Exception as error:  # each version of the HTTP client raises other errors
        if _lacks_config(error):
            raise UserError(f"{name} on the hub cannot be read ({_first_line(error)}); {CHOOSE}") from error
        closed = f"; the cache folder {HF_HUB_CACHE} cannot be written, set HF_HOME to one that can"
        hint = "" if _can_write(Path(HF_HUB_CACHE)) else closed
        raise ConnectionError(_first_line(error) + hint) from error


def splits_of(source: Any) -> dict[str, datasets.Dataset]:
    """Return the splits by name; a single table is train.

    The type of `source`, `Dataset | DatasetDict`, is not in the signature because beartype cannot check it: the base
    class of `DatasetDict` names another class by a string.
    """
    if isinstance(source, datasets.Dataset):
        return {"train": source}
    return {str(name): table for name, table in source.items()}


def read_tables(
    tables: Mapping[str, datasets.Dataset], reading: Reading, columns: tuple[str, str] | None = None
) -> dict[str, Labelled]:
    """Read the used splits, by role.

    Args:
        tables: the splits by name.
        reading: the size of the result, and whether to skip unreadable images.
        columns: names of the image and the label column; None to find them.
    """
    used = roles(tables, reading.splits)
    say_unused(tables, used)
    return {role: read_table(tables[name], reading, columns, name) for role, name in used.items()}


def read_table(table: datasets.Dataset, reading: Reading, columns: tuple[str, str] | None, split: str) -> Labelled:
    """Read one split.

    Raises:
        UserError: there is no column with images, sentences or labels, there are several, or they cannot be used.
    """
    where = f"split {split!r}"
    if columns and set(columns) <= set(table.features) and not (reading.label or reading.image):
        image, label = columns
    else:
        label = _label_column(table.features, where, reading.label)
        if reading.image:
            return _read_column(table, reading, label, where)
        if rows := _row_columns(table.features, label, where, reading.categories):
            labels, names = _labels(table, label, where)
            frame = table.select_columns(rows).with_format("pandas")[:]
            return Labelled(examples=frame, labels=labels, names=names, kind=Rows())
        if text := _text_column(table.features):
            labels, names = _labels(table, label, where)
            return Labelled(examples=_arrow(table, text).to_pylist(), labels=labels, names=names, kind=SENTENCES)
        image = _image_column(table.features, where)
    return _read_images(table, image, reading, label, where)


def _read_column(table: datasets.Dataset, reading: Reading, label: str, where: str) -> Labelled:
    """Read the images or the sentences in the column that the user names."""
    column, features = reading.image, table.features
    if column not in features:
        raise unknown("image column", column, features, f"of {where}")
    if not _is_text(features[column]):
        return _read_images(table, column, reading, label, where)
    labels, names = _labels(table, label, where)
    return Labelled(examples=_arrow(table, column).to_pylist(), labels=labels, names=names, kind=SENTENCES)


def _read_images(table: datasets.Dataset, column: str, reading: Reading, label: str, where: str) -> Labelled:
    labels, names = _labels(table, label, where)
    images, kept = _images(table, column, reading, where)
    return Labelled(examples=images, labels=labels[kept], names=names)


def _image_column(features: datasets.Features, where: str) -> str:
    typed = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    name = _usual(typed or list(features), IMAGE_COLUMNS)
    if name is None and len(typed) == 1:
        return typed[0]
    if name is None:
        found = f"several image columns ({', '.join(typed)})" if typed else f"no image column among {_list(features)}"
        raise UserError(f"{where} has {found}; set image_column to the one to use")
    return name


def _text_column(features: datasets.Features) -> str | None:
    """Return the column with sentences; None if there is none, or if a column holds images."""
    if _usual(list(features), IMAGE_COLUMNS) or any(isinstance(each, datasets.Image) for each in features.values()):
        return None
    texts = [name for name, feature in features.items() if _is_text(feature)]
    return _usual(texts, TEXT_COLUMNS)


def _is_text(feature: Any) -> bool:
    return getattr(feature, "dtype", "") in ("string", "large_string")


def _row_columns(features: datasets.Features, label: str, where: str, categories: tuple[str, ...]) -> list[str]:
    """Return the columns of a table of rows; none if a column holds images, or if none holds numbers or categories.

    Raises:
        UserError: beside the numbers, there is a column of another type.
    """
    others = [name for name in features if name != label]
    numbers = [name for name in others if name in categories or NUMBER.match(str(getattr(features[name], "dtype", "")))]
    images = [name for name in others if isinstance(features[name], datasets.Image)]
    if images or _usual(others, IMAGE_COLUMNS) or not numbers:
        return []
    if wrong := [name for name in others if name not in numbers and name.lower() not in TEXT_COLUMNS]:
        raise UserError(
            f"column {wrong[0]!r} of {where} holds no numbers; if its values are categories, name it in "
            "categories, otherwise leave it out, or write its values as numbers"
        )
    return numbers if len(numbers) == len(others) else []


def _label_column(features: datasets.Features, where: str, asked: str = "") -> str:
    if asked:
        if asked not in features:
            raise unknown("label column", asked, features, f"of {where}")
        return asked
    typed = [name for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    name = _usual(list(features), LABEL_COLUMNS)
    if name is None and len(typed) == 1:
        return typed[0]
    if name is None and typed:
        found = f"several label columns ({', '.join(typed)})"
        raise UserError(f"{where} has {found}; set label_column to the one to use")
    if name is None:
        raise UserError(f"{where} has no labels among its columns {_list(features)}; wanted: {LAYOUT}")
    return name


def _images(table: datasets.Dataset, column: str, reading: Reading, where: str) -> tuple[Tensor | OnDisk, Any]:
    """Return the images and the indices of their rows."""
    feature = table.features[column]
    kind = getattr(feature, "dtype", "")
    if isinstance(feature, datasets.Image | dict) or kind in ("binary", "large_binary"):
        decoded = decode(_Cells(_arrow(table, column), where), where, reading)
        return decoded.images, decoded.kept
    if kind in ("string", "large_string"):
        raise UserError(f"column {column!r} of {where} holds text, not images; cast it to datasets.Image()")
    return from_array(table.select_columns([column]).with_format("numpy")[:][column], where, reading), slice(None)


class _Cells(Sequence[Any]):
    """The encoded images of a column, as bytes or paths; they stay in the table until they are asked for."""

    def __init__(self, cells: pa.ChunkedArray, where: str) -> None:
        self._cells, self._where = cells, where

    def __len__(self) -> int:
        return len(self._cells)

    def __getitem__(self, which: int | slice) -> Any:
        """Return an image, or those in a slice."""
        if not isinstance(which, slice):
            return self[which : which + 1][0]
        start, stop, _ = which.indices(len(self))
        cells = self._cells.slice(start, stop - start).to_pylist()
        items = [cell.get("bytes") or cell.get("path") if isinstance(cell, dict) else cell for cell in cells]
        if None in items:
            raise UserError(f"image {start + items.index(None)} of {self._where} is missing; leave that row out")
        return items


def _labels(table: datasets.Dataset, column: str, where: str) -> tuple[np.ndarray, tuple[str, ...] | None]:
    cells = _arrow(table, column)
    if cells.null_count:
        raise UserError(f"{where} has no labels for {cells.null_count} of {len(cells)} examples; leave them out")
    feature = table.features[column]
    names = tuple(feature.names) if isinstance(feature, datasets.ClassLabel) else None
    scalar = pa.types.is_integer(cells.type) or pa.types.is_floating(cells.type)
    labels = cells.to_numpy() if scalar else cells.to_pylist()
    return check_labels(labels, names, f"{where}, column {column!r},"), names


def _arrow(table: datasets.Dataset, column: str) -> pa.ChunkedArray:
    """Return all rows of a column as stored, with images still encoded."""
    return table.select_columns([column]).with_format("arrow")[:][column]


def _usual(columns: list[str], usual: tuple[str, ...]) -> str | None:
    by_name = {column.lower(): column for column in reversed(columns)}
    return next((by_name[name] for name in usual if name in by_name), None)


def _list(features: datasets.Features) -> str:
    return ", ".join(features) or "(none)"


def _first_line(error: Exception) -> str:
    """Return the first line of an error; all of them if they name the configurations that there are."""
    lines = str(error).splitlines()
    if _lacks_config(error):
        return " ".join(str(error).split()).partition(" Example of usage")[0]
    return lines[0].strip() if lines else type(error).__name__


def _lacks_config(error: Exception) -> bool:
    """Whether `datasets` wants the name of one of several configurations, or another name."""
    return "Config name is missing" in str(error) or "BuilderConfig" in str(error)


@contextmanager
def _cache() -> Iterator[dict[str, Any]]:
    """Yield arguments for `load_dataset`: a temporary cache if the user's cache cannot be written."""
    if _can_write(Path(datasets.config.HF_DATASETS_CACHE)):
        yield {}
        return
    with TemporaryDirectory() as folder:
        yield {"cache_dir": folder, "keep_in_memory": True}


def _can_write(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Hide the progress bars of `datasets`: a local folder is read in seconds. Downloads keep their bars."""
    hidden = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if not hidden:
            datasets.enable_progress_bars()
