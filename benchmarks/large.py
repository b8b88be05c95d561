"""Memory and time for a million images that stay on disk."""

import io
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from PIL import Image
from rich.table import Table

from datastill import DistilledSet
from datastill.resuming import SET

TRAIN, TEST, SHARD = 1_000_000, 10_000, 100_000
CLASSES, SIDE, BLOCK = 10, 32, 4
SIGNAL, NOISE = 12, 60
"""Grey levels by which the blocks of two classes differ, and by which those of two images of a class do."""
NETWORK = "convnet(width=16,depth=3)"
LEARN = [
    "--method", "distribution-matching", "--network", NETWORK, "--method.ipc", "10", "--data.store", "disk",
    "--loop.iterations", "10", "--loop.validate-every", "10", "--random-sets", "1", "--validation.networks", "1",
    "--protocol.networks", "2", "--protocol.epochs", "50",
]  # fmt: skip
COLUMNS = {"seconds": "seconds", "cpu_seconds": "of the processor", "peak_gib": "peak GiB", "own_gib": "without files"}


def large() -> tuple[list[dict], Table]:
    """Measure the time and the peak memory of each command, in a process of its own; the first decodes the images."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        began, used = time.perf_counter(), time.process_time()
        make_images(folder / "images")
        taken = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - used}
        rows: list[dict] = [{"what": f"write {TRAIN} images as PNG in parquet", **taken}]
        run, images = folder / "run", str(folder / "images")
        distil = ["distill", *LEARN, "--data.name", images, "--out", str(run)]
        rows.append({"what": "distil; decode all images first", **measured(distil, folder)})
        evaluate = ["evaluate", str(run / SET), "--data", images, "--networks", "3", "--epochs", "50"]
        rows.append({"what": "evaluate three networks", **measured(evaluate, folder)})
        found = DistilledSet.load(run / SET).header.score or {}
        rows.append({name: found[name] for name in ("mean", "sd", "n", "images", "baseline")})
    return rows, _table(rows[:-1])


def make_images(folder: Path) -> None:
    """Write images in the layout of the hub: blocks of colour around those of their class, as PNG in parquet files."""
    folder.mkdir(parents=True)
    draw = np.random.default_rng(0)
    means = 128 + SIGNAL * draw.standard_normal((CLASSES, SIDE // BLOCK, SIDE // BLOCK, 3))
    for split, count in (("train", TRAIN), ("test", TEST)):
        for start in range(0, count, SHARD):
            labels = np.arange(start, min(start + SHARD, count)) % CLASSES
            images = pa.array([{"bytes": _png(means[label], draw), "path": None} for label in labels])
            table = pa.table({"image": images, "label": labels})
            pyarrow.parquet.write_table(table, folder / f"{split}-{start // SHARD:05}.parquet")


def _png(mean: np.ndarray, draw: np.random.Generator) -> bytes:
    blocks = (mean + NOISE * draw.standard_normal(mean.shape, dtype=np.float32)).clip(0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(blocks.repeat(BLOCK, 0).repeat(BLOCK, 1)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def measured(words: list[str], folder: Path) -> dict[str, float]:
    """Run a command of datastill; return the seconds, and the peak of the memory of the process in GiB.

    The peak counts the pages of mapped files too, which the system takes back when memory is short.
    """
    places = {"XDG_CACHE_HOME": str(folder / "cache"), "HF_HOME": str(folder / "cache" / "huggingface")}
    began = time.perf_counter()
    command = [sys.executable, "-m", "datastill", *words]
    process = subprocess.Popen(command, env=os.environ | places, stdout=subprocess.DEVNULL)
    own = 0
    while (ended := os.wait4(process.pid, os.WNOHANG))[0] == 0:
        own = max(own, _own_memory(process.pid))
        time.sleep(0.2)
    process.returncode = os.waitstatus_to_exitcode(ended[1])
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    used = ended[2]
    return {
        "seconds": time.perf_counter() - began,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "peak_gib": used.ru_maxrss / 2**20,
        "own_gib": own / 2**20,
    }


def _own_memory(process: int) -> int:
    """Return the KiB of memory of a process without the pages of mapped files; 0 where the system does not say."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0)


def _table(rows: list[dict]) -> Table:
    table = Table(title=f"{TRAIN} images of 3 x {SIDE} x {SIDE}, distribution matching with {NETWORK}")
    for column in ("what", *COLUMNS.values()):
        table.add_column(column, justify="left" if column == "what" else "right")
    for row in rows:
        table.add_row(row["what"], *(f"{row[name]:.2f}" if name in row else "" for name in COLUMNS))
    return table
