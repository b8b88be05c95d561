"""Following a run that another process computes: what its folder says, again and again, until the run ends."""

import math
import shlex
import sys
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from rich.progress import BarColumn, Progress, TextColumn

from .artifact import DistilledSet
from .errors import UserError
from .locks import is_in_use
from .report import score_text
from .report.words import duration, percent, spread
from .resuming import CHECKPOINT, CONFIG, SET
from .runlog import METRICS, Tail, console
from .storage.files import read_json
from .terminal import one_line

SECONDS = 1.0
"""Seconds between two looks into the folder."""
LINE_SECONDS = 10.0
"""Seconds between two lines, if the output is no terminal."""
RECENT = 50
"""The speed is that of at most this many iterations, the last ones."""


@dataclass(kw_only=True)
class Seen:
    """What the log of a run says so far."""

    iteration: int = 0
    objective: float | None = None
    """The last one; None before the first, and if it is not finite."""
    validation: Mapping[str, Any] | None = None
    """The last one; None before the first."""
    best: float | None = None
    """The best mean accuracy on validation examples."""
    times: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=RECENT + 1))
    """The last iterations with the seconds that the run had computed when they ended."""

    def add(self, record: Mapping[str, Any]) -> None:
        """Take over a record of the log."""
        if found := record.get("validation"):
            self.validation = found
            self.best = max(filter(None, (self.best, found.get("mean"))), default=None)
            return
        self.iteration = record.get("iteration", self.iteration)
        self.objective = record.get("objective")
        if isinstance(seconds := record.get("seconds"), int | float):
            self.times.append((self.iteration, seconds))

    @property
    def per_second(self) -> float | None:
        """Iterations in a second; None if that is not known yet."""
        if len(self.times) < 2:
            return None
        (first, began), (last, ended) = self.times[0], self.times[-1]
        return (last - first) / (ended - began) if ended > began and last > first else None

    def text(self, total: int | None) -> str:
        """Return what a person wants to know, in one line; `total` is the number of iterations, if it is known."""
        parts = [f"iteration {self.iteration}{f' of {total}' if total else ''}"]
        if self.objective is not None and math.isfinite(self.objective):
            parts.append(f"objective {self.objective:.4g}")
        if self.validation and self.validation.get("mean") is not None:
            last = spread(self.validation["mean"], self.validation.get("sd"))
            parts.append(f"validation {last} % (best {percent(self.best or 0)} %)")
        if rate := self.per_second:
            parts.append(f"{rate:.3g} iterations/s" if rate >= 0.1 else f"{1 / rate:.3g} s for an iteration")
            if total and total > self.iteration:
                parts.append(f"{duration((total - self.iteration) / rate)} left")
        return ", ".join(parts)


def follow(folder: Path) -> str:
    """Show how a run goes on until it ends, and return how it ended, in one line.

    The folder is only read, so the run is left alone. Nothing that its settings name is imported.

    Args:
        folder: the folder of the run.

    Raises:
        UserError: there is no run in the folder, or it was stopped before it was finished.
    """
    if folder.is_file():
        raise UserError(f"{folder} is a file, not the folder of a run; give the folder")
    if not (folder / CONFIG).exists() and not is_in_use(folder):
        raise UserError(f"there is no run in {folder}; start one with: {_command('distill --out', folder)}")
    tail, seen = Tail(folder / METRICS), Seen()
    with _View(folder.name) as view:
        while is_in_use(folder):
            _read(tail, seen)
            view.show(seen, _iterations(folder), _stage(folder, seen))
            sleep(SECONDS)
    _read(tail, seen)
    return _end(folder, seen)


def _read(tail: Tail, seen: Seen) -> None:
    for record in tail.new():
        seen.add(record)


def _stage(folder: Path, seen: Seen) -> str:
    """Return what the run does now if that is not an iteration."""
    if (folder / SET).exists():
        return "the set is made; its score is being measured"
    return "" if seen.times else "no iteration has ended yet"


def _end(folder: Path, seen: Seen) -> str:
    if (folder / SET).exists() and not (folder / CHECKPOINT).exists():
        score = DistilledSet.load(folder / SET).header.score
        return f"the run in {folder} has ended: {score_text(score) if score else 'no score was measured'}"
    total = _iterations(folder)
    raise UserError(
        f"the run in {folder} was stopped after {seen.iteration}{f' of {total}' if total else ''} iterations; go on "
        f"with: {_command('distill --resume --out', folder)}"
    )


def _command(words: str, folder: Path) -> str:
    return f"datastill {words} {shlex.quote(str(folder))}"


def _iterations(folder: Path) -> int | None:
    """Return how many iterations the run will have; None if it has not said so yet."""
    found: Any = read_json(folder / CONFIG) if (folder / CONFIG).exists() else None
    for name in ("config", "loop", "iterations"):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, int) and found > 0 else None


class _View:
    """A bar on a terminal; otherwise a line at most every ten seconds. Both are on standard error."""

    def __init__(self, name: str) -> None:
        self._said_at, self._said = -math.inf, ""
        self._bar: Progress | None = None
        if console.is_terminal:
            columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=20))
            self._bar = Progress(*columns, TextColumn("{task.fields[note]}", markup=False), console=console)
            self._task = self._bar.add_task(one_line(name), total=None, note="")

    def __enter__(self) -> "_View":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def show(self, seen: Seen, total: int | None, stage: str) -> None:
        """Show what is known of a run that has `total` iterations."""
        text = stage or seen.text(total)
        if self._bar:
            self._bar.update(self._task, completed=seen.iteration, total=total, note=text)
        elif text != self._said and monotonic() - self._said_at >= LINE_SECONDS:
            self._said, self._said_at = text, monotonic()
            print(text, file=sys.stderr, flush=True)
