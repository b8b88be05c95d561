"""The examples as a parquet table that all versions of `datasets` from 3.0 can read."""

import json
from pathlib import Path
from typing import Any

import numpy as np


def write_table(
    path: Path, rows: list[dict[str, Any]], *, class_names: tuple[str, ...], hard: bool, example: np.ndarray
) -> None:
    """Write a table with the columns image, label, step, index, step_sizes, probabilities (soft labels) and example.

    Args:
        path: the file to write.
        rows: the columns of each example.
        class_names: the names of the classes, in the order of their numbers.
        hard: whether labels are classes; then the rows have no probabilities.
        example: one example, for the shape (channels, height, width) and the type of its values.
    """
    import pyarrow.parquet  # these packages are slow to import
    from datasets import Array3D, ClassLabel, Dataset, Features, Image, Sequence, Value

    features = Features(
        {
            "image": Image(),
            "label": ClassLabel(names=list(class_names)),
            "step": Value("int32"),
            "index": Value("int32"),
            "step_sizes": Sequence(Value("float32")),
            **({} if hard else {"probabilities": Sequence(Value("float32"))}),
            "example": Array3D(example.shape, str(example.dtype)),
        }
    )
    table = Dataset.from_list(rows, features=features).data.table
    pyarrow.parquet.write_table(table.replace_schema_metadata(_for_all_versions(table.schema.metadata)), path)


def _for_all_versions(metadata: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """Rename List to Sequence in the description of the columns: versions before 4.0 do not know List."""
    described = json.loads(metadata[b"huggingface"])
    for column in described["info"]["features"].values():
        if column["_type"] == "List":
            column["_type"] = "Sequence"
    return {**metadata, b"huggingface": json.dumps(described).encode()}
