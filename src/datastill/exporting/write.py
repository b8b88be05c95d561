"""Writing of exports, completely or not at all."""

import csv
import json
import stat
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

from ..artifact import INITIAL, DistilledSet, Plain
from ..errors import UserError, must_be, unknown
from ..storage.files import as_path, write_folder, write_json, write_whole
from .augmentation_code import augmentation_code
from .images import as_bytes, as_png, file_names
from .network_code import STANDALONE, network_code, without_own_imports
from .parquet import write_table
from .program import Kind, program
from .readme import readme
from .table import rows_of

ROWS = "rows.csv"
"""Name of the file of rows in an export."""


def export(distilled: DistilledSet, to: str | Path, kind: Kind | str) -> Path:
    """Write a set in the format of another tool, completely or not at all.

    Args:
        distilled: the set to write.
        to: a new folder for ``png``, ``parquet`` and ``csv``; a new file for ``npz`` (a missing suffix is added).
        kind: ``png``: one 8-bit image per example, a folder per class, and ``metadata.jsonl`` with labels and order, as
            `datasets` reads image folders. ``npz``: all tensors bit for bit, and the header as JSON in ``header``.
            ``parquet``: a folder that `datasets` reads, in the order of the set, with 8-bit images in the column
            ``image`` and the exact normalised floats in ``example``. ``csv``: a folder with the rows of a table, in the
            units of the real ones, or with the nearest words and the exact numbers of sentences. All kinds hold
            ``program.json`` (all numbers of the training), ``network.py``, ``fit.py`` (the training in plain PyTorch),
            ``README.md``, stored initial weights (``initial_weights.npz`` in folders), and the matrix that whitens real
            images (``normalise.npz``) if they must be whitened; an archive holds the texts as arrays with these names.

    Returns:
        The path of the folder or file written.

    Raises:
        UserError: the kind is unknown, or cannot hold the examples; something exists at the path; the images have a
            number of channels other than 1 or 3 (``png`` and ``parquet``); the labels come from a teacher that is not
            given, or are other ones in each step; whitened images cannot be shown or used before their data was loaded
            here once; or the path cannot be written.
    """
    must_be("distilled", distilled, DistilledSet, "load one: datastill.load(name or file)")
    if kind not in get_args(Kind):
        raise unknown("export format", kind, get_args(Kind))
    _must_suit(distilled, kind)
    distilled = distilled.with_stored_labels().with_weights()
    path = _target(as_path("to", to), kind)
    if kind == "npz":
        write_whole(path, _as_npz(distilled))
    else:
        fill = {"png": _write_png, "parquet": _write_parquet, "csv": _write_csv}[kind]
        write_folder(path, lambda temporary: fill(distilled, temporary))
    return path


def _texts(distilled: DistilledSet, kind: Kind) -> dict[str, str]:
    """Return the text files of an export by name, without program.json."""
    texts = {
        "README.md": readme(distilled, kind),
        "fit.py": (STANDALONE / "fit.py").read_text(encoding="utf-8"),
        "network.py": network_code(distilled.header.network, distilled.shape, distilled.classes),
    }
    warning = distilled.header.objective.warning(distilled.header.class_names)
    if distilled.program.augmentation:
        texts["augmentation.py"] = augmentation_code(distilled.program.augmentation)
    if distilled.header.space.code:
        texts["normalise.py"] = without_own_imports(distilled.header.space.code)
    return texts | ({"WARNING.md": f"{warning}\n"} if warning else {})


def _as_npz(distilled: DistilledSet) -> bytes:
    arrays: dict[str, Any] = {name: _as_array(tensor) for name, tensor in _floats(distilled).items()}
    arrays["header"] = np.array(json.dumps(distilled.plain()))
    arrays["program.json"] = np.array(json.dumps(program(distilled, "npz")))
    arrays |= distilled.header.space.arrays
    arrays |= {name: np.array(text) for name, text in _texts(distilled, "npz").items()}
    content = BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def _floats(distilled: DistilledSet) -> dict[str, torch.Tensor]:
    """Return all tensors of a set, with examples as networks take them, however its file stores them."""
    return replace(distilled, stored=None, header=replace(distilled.header, decode=Plain(), enlarged=1)).tensors()


def _as_array(tensor: torch.Tensor) -> np.ndarray:
    """Return a NumPy array: float32 for bfloat16, which NumPy lacks; the values stay exact."""
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _write_png(distilled: DistilledSet, folder: Path) -> None:
    files, rows = file_names(distilled), []
    for name, image, row in zip(files, as_bytes(distilled), rows_of(distilled), strict=True):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(as_png(image))
        rows.append({"file_name": name, **row})
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "metadata.jsonl").write_text(text, encoding="utf-8")
    _write_beside(distilled, folder, "png", {"files": files})


def _write_parquet(distilled: DistilledSet, folder: Path) -> None:
    write_table(distilled, folder)
    _write_beside(distilled, folder, "parquet", {})


def _write_csv(distilled: DistilledSet, folder: Path) -> None:
    columns, rows = distilled.header.space.table(distilled.inputs)
    with (folder / ROWS).open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["label", "class", *columns])
        for number, row in zip(distilled.class_of_each.tolist(), rows, strict=True):
            table.writerow([number, distilled.header.class_names[number], *row])
    _write_beside(distilled, folder, "csv", {})


def _write_beside(distilled: DistilledSet, folder: Path, kind: Kind, more: dict[str, Any]) -> None:
    """Write the files of a folder besides the examples."""
    write_json(folder / "program.json", program(distilled, kind) | more)
    for name, text in _texts(distilled, kind).items():
        (folder / name).write_text(text, encoding="utf-8")
    initial = {name: _as_array(value) for name, value in distilled.tensors().items() if name.startswith(INITIAL)}
    for name, arrays in (("initial_weights.npz", initial), ("normalise.npz", distilled.header.space.arrays)):
        if arrays:
            np.savez(folder / name, **arrays)  # type: ignore[arg-type]


def _must_suit(distilled: DistilledSet, kind: str) -> None:
    """Raise a `UserError` unless the kind of export can hold the examples."""
    space = distilled.header.space
    if kind not in space.exports:
        raise UserError(f"{kind} cannot hold the examples, which are {space.words}; take {' or '.join(space.exports)}")
    if kind in ("png", "parquet") and distilled.shape[0] not in (1, 3):
        raise UserError(
            f"images have {distilled.shape[0]} channels, but {kind} shows 1 (grey) or 3 (colour); export as npz instead"
        )


def _target(path: Path, kind: str) -> Path:
    """Return the path to write to, after a check that nothing exists there; an empty folder is allowed for images.

    Raises:
        UserError: something exists at the path, or the path does not name a file or folder that can be written.
    """
    if path.name in ("", ".."):
        raise UserError(
            f"{str(path)!r} is not the name of a new file or folder; give --to a new name, such as exported"
        )
    if kind == "npz" and path.suffix != ".npz":
        path = path.with_name(path.name + ".npz")
    try:
        free = _is_free(path, folder=kind != "npz")
    except (OSError, ValueError) as error:
        raise UserError(f"cannot write {str(path)!r}: {getattr(error, 'strerror', None) or error}") from error
    if not free:
        raise UserError(
            f"{path} exists, and export does not overwrite anything; remove it, or give another path with --to"
        )
    return path


def _is_free(path: Path, *, folder: bool) -> bool:
    """Tell whether nothing is at the path, not even a link; if a folder is to be written, it may be an empty folder."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return True
    return folder and stat.S_ISDIR(mode) and not any(path.iterdir())
