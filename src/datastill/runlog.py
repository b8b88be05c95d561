"""What a long run says: JSON lines in a file, and progress with rate and remaining time on the terminal."""

import json
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from . import distributed
from .errors import UserError
from .terminal import Terminal, printable

console = Terminal(stderr=True)
"""Messages for people go to standard error; standard output is for results."""


def say(message: str) -> None:
    """One line for the person at the terminal; the first process says it."""
    if distributed.rank() == 0:
        console.print(message)


class JsonLines:
    """A file of JSON objects, one per line, that can be taken up again at an earlier iteration."""

    def __init__(self, path: Path, *, keep: int = 0) -> None:
        """Open `path`, keeping only records of iterations up to `keep`: a resumed run writes the later ones again."""
        old = path.read_text(encoding="utf-8").splitlines() if keep and path.exists() else []
        self._file: TextIO = path.open("w", encoding="utf-8")
        for line in old:
            record = _parse(line)
            if record is not None and record.get("iteration", 0) <= keep:
                self._file.write(line + "\n")
        self._file.flush()

    def write(self, **record: Any) -> None:
        """Append one record, at once on disk."""
        try:
            self._file.write(json.dumps(record) + "\n")
            self._file.flush()
        except OSError as error:
            raise UserError(f"cannot write {self._file.name}: {error.strerror}; resume when there is room") from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _parse(line: str) -> dict[str, Any] | None:
    try:
        return json.loads(line)
    except ValueError:
        return None  # the last line of a killed run may be cut short


def read_lines(path: Path) -> list[dict[str, Any]]:
    """All whole records of a JSON-lines file; none when it does not exist."""
    if not path.exists():
        return []
    return [record for line in path.read_text(encoding="utf-8").splitlines() if (record := _parse(line)) is not None]


class ProgressLine:
    """A progress bar on a terminal; elsewhere a plain line every ten seconds."""

    INTERVAL = 10.0

    def __init__(self, what: str, *, total: int, done: int = 0, unit: str = "iteration", quiet: bool = False) -> None:
        self.what, self.total, self.unit, self.quiet = printable(what), total, unit, quiet or distributed.rank() > 0
        self._done = self._first = done
        self._began = self._said = time.monotonic()
        self._bar: Progress | None = None
        if console.is_terminal and not self.quiet:
            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[note]}", markup=False),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=console,
                transient=False,
            )
            self._task = self._bar.add_task(what, total=total, completed=done, note="")

    def __enter__(self) -> "ProgressLine":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def update(self, done: int, note: str = "") -> None:
        """Show that `done` of the total are done."""
        self._done = done
        now = time.monotonic()
        rate = (done - self._first) / max(now - self._began, 1e-9)
        note = printable(note)
        text = f"{rate:.2f}/s {note}" if rate >= 0.1 else f"{1 / max(rate, 1e-9):.1f} s each {note}"
        if self._bar:
            self._bar.update(self._task, completed=done, note=text)
        elif not self.quiet and (now - self._said >= self.INTERVAL or done == self.total):
            self._said = now
            left = (self.total - done) / max(rate, 1e-9)
            print(
                f"{self.what}: {self.unit} {done}/{self.total}, {text}, {left:.0f} s left", file=sys.stderr, flush=True
            )
