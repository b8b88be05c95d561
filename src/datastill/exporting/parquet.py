"""The examples as a parquet table that all versions of `datasets` from 3.0 can read."""

import json
from pathlib import Path

from ..artifact import DistilledSet
from .table import to_datasets

FILE = Path("data") / "train-00000-of-00001.parquet"
"""Where the table is in a folder, so that `datasets` finds it."""


def write_table(distilled: DistilledSet, folder: Path) -> None:
    """Write the table of `to_datasets` into a folder, as its train split."""
    import pyarrow.parquet  # slow to import

    table = to_datasets(distilled).data.table
    (folder / FILE).parent.mkdir()
    described = table.replace_schema_metadata(_for_all_versions(table.schema.metadata))
    pyarrow.parquet.write_table(described, folder / FILE)


def _for_all_versions(metadata: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """Rename List to Sequence in the description of the columns: versions before 4.0 do not know List."""
    described = json.loads(metadata[b"huggingface"])
    for column in described["info"]["features"].values():
        if column["_type"] == "List":
            column["_type"] = "Sequence"
    return {**metadata, b"huggingface": json.dumps(described).encode()}
