"""The log of a long run: JSON lines in a file, and progress with rate and remaining time on the terminal."""

import errno
import inspect
import itertools
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.errors import LiveError
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from . import distributed
from .errors import UserError
from .storage.files import must_be_file, read_text, write_text
from .storage.records import INTEGER_LIMIT, WHOLE, Rule, optional, record, whole
from .terminal import Terminal, printable

MOST_BYTES = 2**30
"""Bytes of the largest log that is read."""
METRICS = "metrics.jsonl"
"""Name of the log in the folder of a run: a record on each line."""
console = Terminal(stderr=True)
"""The terminal for messages, on standard error; standard output is for results."""


Logger = Callable[[Mapping[str, Any]], object]
"""What a user gives to follow a run: it is called with each record of the log."""
_silent: ContextVar[bool] = ContextVar("silent", default=False)


@contextmanager
def silent() -> Iterator[None]:
    """Print no messages and no progress inside."""
    before = _silent.set(True)
    try:
        yield
    finally:
        _silent.reset(before)


def _prints() -> bool:
    """Whether this process prints messages: of several, only the first one."""
    return distributed.rank() == 0 and not _silent.get()


def say(message: str) -> None:
    """Print one line on standard error; with several processes only the first one prints it."""
    if _prints():
        console.print(message)


def warn(message: str) -> None:
    """Give a warning that names the line of the user's code which called this package."""
    frame, roots = inspect.currentframe(), list[str]()
    while frame:
        roots.append(frame.f_globals.get("__name__", "").partition(".")[0])
        frame = frame.f_back
    outermost = max(level for level, root in enumerate(roots) if root == __name__.partition(".")[0])
    between = itertools.takewhile(lambda root: root == "contextlib", roots[outermost + 1 :])  # our decorators
    warnings.warn(message, stacklevel=outermost + 2 + len(list(between)))


class JsonLines:
    """A file of JSON objects, one on each line; lines are only added, never changed.

    A resumed run computes the iterations after its checkpoint again. Records of these iterations are in the file
    already, and are not written a second time.
    """

    def __init__(
        self, path: Path, *, resume: bool = False, iterations: int = 0, follower: Logger | None = None
    ) -> None:
        """Open `path` as an empty file; with `resume`, keep the complete records that it already holds.

        Args:
            path: the file.
            resume: whether to go on with the file.
            iterations: the number of iterations whose records it must hold already; it is said if some are lost.
            follower: is called with each record after it is written.
        """
        self._follower = follower
        old = read_lines(path) if resume else []
        self._there = {_key(each) for each in old}
        if lost := sum((i, False) not in self._there for i in range(1, iterations + 1)):
            say(
                f"{path} lacks the records of {lost} of {iterations} iterations; the curve of the report has gaps there"
            )
        self._path = path
        try:
            if resume and not _whole(path, old):
                write_text(path, "".join(map(_line, old)))
            self._file = path.open("ab" if resume else "wb", buffering=0)
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}; resume when this is fixed") from error

    def write(self, **record: Any) -> None:
        """Append one record, unless the file has it already, and pass it to the operating system at once.

        Raises:
            UserError: the disk is full, or the file cannot be written.
        """
        if _key(record) in self._there:
            return
        line = _line(record).encode()
        try:
            if self._file.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise UserError(f"cannot write {self._path}: {error.strerror}; resume when there is room") from error
        if self._follower:
            self._follower(record)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _line(record: dict[str, Any]) -> str:
    return json.dumps(record) + "\n"


def _key(record: dict[str, Any]) -> tuple[Any, bool]:
    """Return what identifies a record: its iteration, and whether it records a validation."""
    return record.get("iteration"), "validation" in record


def _whole(path: Path, records: list[dict[str, Any]]) -> bool:
    """Whether a file holds exactly these records, without an incomplete last line that a killed process left."""
    content = path.read_bytes() if path.is_file() else b""
    return content.count(b"\n") == len(records) and content[-1:] in (b"", b"\n")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return all records of a file of JSON lines; an empty list if it does not exist.

    What is no JSON object is left out: the last line of a killed run may be cut short.

    Raises:
        UserError: it is not a file, or a record holds values that no run writes.
    """
    if not path.exists():
        return []
    text = read_text(path, MOST_BYTES, errors="replace")
    records = [(number, _parse(line)) for number, line in enumerate(text.splitlines(), 1)]
    return [_checked(record, f"{path}, line {number}") for number, record in records if isinstance(record, dict)]


class Tail:
    """The end of a file of JSON lines that another process writes."""

    def __init__(self, path: Path) -> None:
        self._path, self._seen = path, 0

    def new(self) -> list[dict[str, Any]]:
        """Return the complete records that were added since the last call; all of them if the file was written anew.

        Raises:
            UserError: it is not a file, or a record holds values that no run writes.
        """
        if not self._path.exists():
            return []
        must_be_file(self._path, MOST_BYTES)
        with self._path.open("rb") as file:
            self._seen = 0 if os.fstat(file.fileno()).st_size < self._seen else self._seen
            file.seek(self._seen)
            content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        self._seen += len(whole)
        records = map(_parse, whole.decode(errors="replace").splitlines())
        return [_checked(record, str(self._path)) for record in records if isinstance(record, dict)]


def _parse(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _checked(record: dict[str, Any], where: str) -> dict[str, Any]:
    try:
        RECORD(record, "the record")
    except UserError as error:
        raise UserError(f"{where}: {error}; delete this line") from error
    return record


FIGURE = optional(Rule("a number", lambda value: isinstance(value, float) or WHOLE.fits(value)))
"""The rule of a measured number: one that is not finite, or nothing (null), is written after a step that failed."""
RECORD = record(
    {
        "iteration": whole(0, INTEGER_LIMIT),
        "objective": FIGURE,
        "validation": record({"mean": FIGURE, "sd": FIGURE}, more=True),
        "skipped": whole(0, INTEGER_LIMIT),
        "seconds": FIGURE,
    },
    more=True,
)
"""The rule of what a run writes after an iteration or a validation, as far as it is read again."""


_outer: ContextVar["ProgressLine | None"] = ContextVar("outer", default=None)
"""The line inside which other lines are shown as its note."""


class ProgressLine:
    """A progress bar on a terminal; one line in a notebook; in a file or a pipe, a plain line every ten seconds.

    Work inside other work, such as a validation in a run, is shown as the note of the outer line, also if it is quiet.
    """

    INTERVAL = 10.0
    IN_NOTEBOOK = 0.5

    def __init__(
        self,
        what: str,
        *,
        total: int,
        done: int = 0,
        unit: str = "iteration",
        quiet: bool = False,
        any_rank: bool = False,
    ) -> None:
        """Show nothing yet; of several processes only the first one shows progress, or each with `any_rank`."""
        self.what, self.total, self.unit = printable(what), total, unit
        self.quiet = quiet or _silent.get() or not (any_rank or _prints())
        self._done: int | float = done
        self._first = done
        self._began = self._said = time.monotonic()
        self._bar: Progress | None = None
        self._inside: ProgressLine | None = None
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
        self._inside = _outer.get()
        if self._inside:
            return self
        _outer.set(self)
        if self._bar:
            try:
                self._bar.start()
            except LiveError:  # another thread shows a bar on this terminal, so plain lines are printed
                self._bar = None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._inside:
            return
        _outer.set(None)
        if self._bar:
            self._bar.stop()

    def update(self, done: int | float, note: str = "") -> None:
        """Show that `done` of the total are done, with rate, remaining time and a note.

        Half of one counts as 0.5, and what was shown as done stays done.
        """
        self._done = done = max(done, self._done)
        now = time.monotonic()
        rate = (done - self._first) / max(now - self._began, 1e-9)
        if self._inside:
            self._inside.beside(f"{self._now}, {note}" if note else self._now)
            return
        text = f"{rate:.2f}/s {note}" if rate >= 0.1 else f"{1 / max(rate, 1e-9):.1f} s each {note}"
        left = (self.total - done) / max(rate, 1e-9)
        self._show(text, f"{text}, {left:.0f} s left", last=done == self.total)

    def beside(self, note: str) -> None:
        """Show what other work is done between two updates."""
        self._show(note, note)

    def _show(self, in_bar: str, in_line: str, *, last: bool = False) -> None:
        now = time.monotonic()
        if self._bar:
            self._bar.update(self._task, completed=self._done, note=printable(in_bar))
        elif not self.quiet and (now - self._said >= self._interval or last):
            self._said = now
            self._print(f"{self._now}, {printable(in_line)}")

    @property
    def _now(self) -> str:
        """How much is done."""
        return f"{self.what}: {self.unit} {int(self._done)}/{self.total}"

    @property
    def _interval(self) -> float:
        """Seconds between two lines."""
        return self.IN_NOTEBOOK if console.is_jupyter else self.INTERVAL

    def _print(self, line: str) -> None:
        """Print a line; in a notebook, in place of the line before, until all is done."""
        if console.is_jupyter:
            print("\r" + line, end="\n" if self._done == self.total else "", flush=True)
        else:
            print(line, file=sys.stderr, flush=True)
