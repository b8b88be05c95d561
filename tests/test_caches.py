"""A home folder that cannot be written to is no obstacle."""

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from datastill.caches import find_room

CLOSED = "/dev/null"  # no folder can be made below it, not even by the administrator


def test_only_a_folder_that_is_closed_is_replaced(tmp_path: Path) -> None:
    found = {"XDG_CACHE_HOME": CLOSED, "XDG_CONFIG_HOME": str(tmp_path)}
    find_room(found)
    assert Path(found["HF_HOME"]).is_dir()
    assert "MPLCONFIGDIR" not in found
    named = {"HF_HOME": CLOSED, "MPLCONFIGDIR": CLOSED}
    find_room(named)
    assert named == {"HF_HOME": CLOSED, "MPLCONFIGDIR": CLOSED}, "what a user names is the user's"


def test_parquet_is_read_and_charts_are_drawn_without_a_home(tmp_path: Path) -> None:
    for split, first in (("train", 0), ("test", 40)):
        pixels = [[[3 * i] * 4] * 4 for i in range(first, first + 40)]
        pq.write_table(pa.table({"image": pixels, "label": [i % 2 for i in range(40)]}), tmp_path / f"{split}.parquet")
    script = f"import datastill, matplotlib.pyplot; print(datastill.load_data({str(tmp_path)!r}).classes)"
    closed = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "MPL", "XDG_"))}
    process = subprocess.run(
        [sys.executable, "-c", script], env=closed | {"HOME": CLOSED}, capture_output=True, text=True
    )
    assert (process.returncode, process.stdout, process.stderr) == (0, "2\n", "")
