"""Event files for TensorBoard: what a run writes to its log; step sizes and examples at each validation."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np

from . import distributed
from .artifact import DistilledSet
from .errors import UserError
from .report import sentences
from .report.figures import grid
from .runlog import METRICS, read_lines

FOLDER = "tensorboard"
"""Name of the folder with the event files, in the folder of a run."""
_wanted: ContextVar[bool] = ContextVar("event files", default=False)


@contextmanager
def event_files(wanted: bool = True) -> Iterator[None]:
    """Let each run that is distilled in the block write event files into the folder ``tensorboard`` of its own folder.

    Args:
        wanted: False writes none.

    Raises:
        UserError: the package tensorboard is not installed.
    """
    if wanted:
        _writer_class()
    before = _wanted.set(wanted)
    try:
        yield
    finally:
        _wanted.reset(before)


@contextmanager
def open_events(folder: Path) -> "Iterator[Events | None]":
    """Open the event files of the run in a folder; None if none are wanted, or if another process writes them."""
    if not _wanted.get() or distributed.rank():
        yield None
        return
    events = Events(folder)
    try:
        yield events
    finally:
        events.close()


class Events:
    """The event files of one run; each event is in the file when a method returns."""

    def __init__(self, folder: Path) -> None:
        """Open a new file; in a folder without event files, it begins with what the run has in its log already."""
        there = (folder / FOLDER).exists()
        self._writer = _writer_class()(str(folder / FOLDER))
        for each in [] if there else read_lines(folder / METRICS):
            self.record(each)

    def record(self, record: Mapping[str, Any]) -> None:
        """Write a record of the log: objective and gradient norms of an iteration, or the accuracy of a validation."""
        for name, value in _numbers(record):
            self._writer.add_scalar(name, value, record["iteration"])
        self._writer.flush()

    def examples(self, distilled: DistilledSet, iteration: int) -> None:
        """Write the step sizes of a set and its examples: a picture, or the nearest words of sentences."""
        sizes = distilled.step_sizes.double()
        for name, value in {"smallest": sizes.min(), "mean": sizes.mean(), "largest": sizes.max()}.items():
            self._writer.add_scalar(f"step size/{name}", float(value), iteration)
        shown = sentences.lines(distilled)
        if shown is None:
            self._writer.add_image("examples", np.asarray(grid(distilled)), iteration, dataformats="HWC")
        else:
            self._writer.add_text("examples", "  \n".join(f"{line.label}: {line.words}" for line in shown), iteration)
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()


def _numbers(record: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Return the names and values of what TensorBoard draws of a record."""
    if validation := record.get("validation"):
        yield "accuracy/validation", validation["mean"]
        return
    yield "objective", record["objective"]
    for name, norm in record.get("gradient_norm", {}).items():
        yield f"gradient norm/{name}", norm


def _writer_class() -> Any:
    """Return the class that writes event files."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UserError(
            f"event files need the package tensorboard ({error}); install it with: pip install tensorboard"
        ) from error
    return SummaryWriter
