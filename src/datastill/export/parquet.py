"""The examples as a parquet table that all versions of `datasets` from 3.0 can read."""

import json
from pathlib import Path
from typing import Any

import numpy as np


def write_table(path: Path, rows: list[dict[str, Any]], *, class_names: tuple[str, ...], example: np.ndarray) -> None:
    """Write a table with the columns image, label, example, and those of further values that its rows have.

    These are step, index and step_sizes of ordered steps, and label_values of soft labels.

    Args:
        path: the file to write.
        rows: the columns of each example.
        class_names: the names of the classes, in the order of their numbers.
        example: one example, for the shape (channels, height, width) and the type of its values.
    """
    import pyarrow.parquet  # these packages are slow to import
    from datasets import Array3D, ClassLabel, Dataset, Features, Image, Sequence, Value

    listed = Sequence(Value("float32"))
    nested = isinstance(rows[0].get("label_values", [0.0])[0], list)
    columns = {
        "image": Image(),
        "label": ClassLabel(names=list(class_names)),
        "step": Value("int32"),
        "index": Value("int32"),
        "step_sizes": listed,
        "label_values": Sequence(listed) if nested else listed,
        "example": Array3D(example.shape, str(example.dtype)),
    }
    features = Features({name: kind for name, kind in columns.items() if name in rows[0]})
    table = Dataset.from_list(rows, features=features).data.table
    pyarrow.parquet.write_table(table.replace_schema_metadata(_for_all_versions(table.schema.metadata)), path)


def _for_all_versions(metadata: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """Rename List to Sequence in the description of the columns: versions before 4.0 do not know List."""
    described = json.loads(metadata[b"huggingface"])
    for column in described["info"]["features"].values():
        if column["_type"] == "List":
            column["_type"] = "Sequence"
    return {**metadata, b"huggingface": json.dumps(described).encode()}
