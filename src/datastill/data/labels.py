"""Checks labels in their usual forms, and names of classes."""

import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any, cast

import numpy as np
from torch import Tensor

from ..errors import UserError

KINDS = "integers, strings, or whole numbers of another type"


def class_name(text: str) -> str:
    """Return a class name in its stored form: on one line, without spaces around it, in Unicode form NFC.

    Raises:
        UserError: the name is empty or has characters that cannot be printed.
    """
    name = unicodedata.normalize("NFC", " ".join(text.split()))
    if not name or not name.isprintable():
        raise UserError(f"a class is called {text!r}, but its name must have characters that can be printed; rename it")
    return name


def class_names(texts: Iterable[str]) -> list[str]:
    """Return different class names in their stored form, in order.

    Raises:
        UserError: a name cannot be used, or two of them differ only in spaces or in their Unicode form.
    """
    first: dict[str, str] = {}
    for text in texts:
        other = first.setdefault(class_name(text), text)
        if other != text:
            raise UserError(
                f"two classes are called {other!r} and {text!r}, which differ only in spaces or in their Unicode form; "
                "give both one name if they are one class, otherwise rename one"
            )
    return list(first)


def shown(text: str) -> str:
    """Return a name or path for a message: on one line, with unprintable characters escaped as in Python."""
    return text if text.isprintable() else repr(text)[1:-1]


def check_labels(labels: Any, names: tuple[str, ...] | None, where: str) -> np.ndarray:
    """Check labels and return them as one integer or string per image.

    Args:
        labels: an array, a tensor or a list of n integers, whole floats, strings or bytes; a column (n, 1); or rows
            (n, classes) with a single 1 and zeros.
        names: the names of the classes; None if unknown.
        where: what to call the labels in an error, e.g. "split 'train'".

    Returns:
        n strings, or n integers (int64, or uint64 if one is too large for int64).

    Raises:
        UserError: labels have another shape or type, or are missing, fractional, hidden (-1) or without a name.
    """
    labels = _plain(_one_each(_as_array(labels, where), where), where)
    if labels.dtype.kind == "U":
        values, index = np.unique(labels, return_inverse=True)
        return np.array(class_names(values.tolist()))[index] if len(labels) else labels
    if labels.dtype != np.uint64:
        labels = labels.astype(np.int64)
        hidden = int((labels == -1).sum())
        if hidden and (names is not None or hidden == len(labels)):  # -1 is a class among others, e.g. of {-1, 1}
            raise UserError(f"{where} has no labels: {hidden} of {len(labels)} are -1 (hidden); leave them out")
    if names is not None and len(labels) and not 0 <= labels.min() <= labels.max() < len(names):
        raise UserError(
            f"labels of {where} go from {labels.min()} to {labels.max()}, but there are {len(names)} class names"
        )
    return labels


def _as_array(labels: Any, where: str) -> np.ndarray:
    try:
        if isinstance(labels, Tensor):
            labels = labels.detach().cpu()
            return (labels.double() if labels.is_floating_point() else labels).numpy()  # NumPy has no bfloat16
        if isinstance(labels, list | tuple):
            labels = [label.detach().cpu().numpy() if isinstance(label, Tensor) else label for label in labels]
        if np.ma.is_masked(labels):
            raise UserError(f"{where} has no labels for {int(labels.mask.sum())} examples (masked); leave them out")
        found = np.asarray(labels)
        return _integers(labels) if found.dtype.kind == "f" and _all_integers(labels) else found
    except (ValueError, TypeError, RuntimeError, OverflowError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"labels of {where} are no array ({_line(error)}); give one class per example") from error


def _one_each(labels: np.ndarray, where: str) -> np.ndarray:
    """Return one label per image, from a column or from rows with a single 1."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        return labels[:, 0]
    if labels.ndim == 2 and labels.shape[1] > 1 and labels.dtype.kind in "biuf" and _one_hot(labels):
        return labels.argmax(1)
    if labels.ndim != 1:
        raise UserError(
            f"labels of {where} have shape {labels.shape}, but must be (n,), one class per example, "
            "or (n, classes) with a single 1 in each row"
        )
    return labels


def _one_hot(labels: np.ndarray) -> bool:
    return bool((((labels == 0) | (labels == 1)).all(1) & (labels.sum(1) == 1)).all())


def _plain(labels: np.ndarray, where: str) -> np.ndarray:
    """Convert labels to str, int64 or uint64."""
    if labels.dtype.kind == "O":
        labels = _from_objects(labels, where)
    if labels.dtype.kind in "ST":
        labels = np.array([_text(label, where) for label in labels.tolist()])
    if labels.dtype.kind == "f":
        labels = _whole(labels, where)
    if labels.dtype.kind == "u":
        return labels.astype(np.uint64 if labels.size and labels.max() > np.iinfo(np.int64).max else np.int64)
    if labels.dtype.kind not in "ibU":
        raise UserError(f"labels of {where} are {labels.dtype}, but must be {KINDS}")
    return labels


def _from_objects(labels: np.ndarray, where: str) -> np.ndarray:
    """Convert objects of one Python type to an array of the NumPy type."""
    missing = [i for i, label in enumerate(labels) if label is None or type(label).__name__ in ("NAType", "NaTType")]
    if missing:
        raise UserError(f"{where} has no labels for {len(missing)} of {len(labels)} examples; leave them out")
    items = [_text(label, where) if isinstance(label, bytes) else label for label in labels]
    kinds = {str if isinstance(item, str) else float if np.isscalar(item) else type(item) for item in items}
    if kinds == {str}:
        return np.array(items, dtype=str)
    if _all_integers(items):
        return _integers(cast(list[int], items))
    found = np.array(items) if kinds == {float} else labels
    if found.ndim != 1 or found.dtype.kind not in "biuf":
        kinds_found = ", ".join(sorted({type(item).__name__ for item in items}))
        raise UserError(f"labels of {where} are objects ({kinds_found}), but must all be {KINDS}")
    return found


def _all_integers(items: Any) -> bool:
    return isinstance(items, list | tuple) and all(isinstance(item, int | np.integer) for item in items)


def _integers(items: Sequence[int]) -> np.ndarray:
    """Return an array of integers; NumPy alone would convert integers too large for int64 to floats."""
    return np.array(items, dtype=np.uint64 if max(items) > np.iinfo(np.int64).max and min(items) >= 0 else np.int64)


def _whole(labels: np.ndarray, where: str) -> np.ndarray:
    """Convert floats that are whole numbers to integers."""
    bad = np.flatnonzero(~(np.isfinite(labels) & (labels == np.floor(labels)) & (abs(labels) < 2**53)))
    if len(bad):
        raise UserError(
            f"labels of {where} are {labels.dtype}, but {len(bad)} of {len(labels)} are not whole numbers, e.g. "
            f"{labels[bad[0]]:g} at {bad[0]}; give one class per example (numbers to predict are not supported)"
        )
    return labels.astype(np.int64)


def _text(label: Any, where: str) -> str:
    try:
        return label.decode() if isinstance(label, bytes) else str(label)
    except UnicodeDecodeError as error:
        raise UserError(f"labels of {where} are bytes that are no text (UTF-8), e.g. {label!r}") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
