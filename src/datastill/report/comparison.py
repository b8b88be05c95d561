"""One HTML page that compares runs: a table to sort and to filter, their curves in one chart, and their examples."""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ..errors import UserError
from ..evaluation.table import column, labels_measured, pixels_of
from ..storage.files import write_text
from ..terminal import one_line
from . import sentences
from .figures import data_uri, grid
from .lines import Line
from .page import script, template
from .reading import Run, read_run
from .words import bytes_of, duration, number, score_text

PAGE = "comparison.html"
"""Name of the file, if the user gives none."""
MOST_RUNS = 100
"""The largest number of runs on one page."""
MOST_SENTENCES = 10
"""The largest number of sentences of a run that are shown."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell of the table."""

    text: str
    value: int | float | None = None
    """The number to sort by; None: the text is sorted, and an empty one comes last."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What the page shows of one run."""

    name: str
    cells: list[Cell]
    picture: str
    """The examples as the address of a picture; empty if they are lines of text."""
    lines: list[sentences.Line]
    score: str


@dataclass(frozen=True, kw_only=True)
class Curves:
    """A chart with a line for each run that has one."""

    title: str
    svg: Markup
    missing: str
    """The runs without a line; empty if there are none."""


def write_comparison(folders: Sequence[Path], to: Path | None = None) -> Path:
    """Write a page that compares runs.

    Args:
        folders: two or more run folders; only ``distilled.safetensors`` is required in each.
        to: the file to write; None: ``comparison.html`` in the folder that holds all of them.

    Returns:
        The file written.

    Raises:
        UserError: a folder is given twice, or it or its set is missing or broken, or the page cannot be written.
    """
    _must_differ(folders)
    path = to or Path(os.path.commonpath([folder.resolve().parent for folder in folders])) / PAGE
    write_text(path, render({name: read_run(folder) for name, folder in _named(folders).items()}))
    return path


def render(runs: Mapping[str, Run]) -> str:
    """Return the page about runs, by name, as HTML."""
    kinds = sorted({kind for run in runs.values() if (kind := _kind(run))})
    beside = any("baseline" in (run.score or {}) for run in runs.values())
    columns = [*kinds, *(["random real"] if beside else [])]
    return template("comparison.html.jinja").render(
        script=script("comparison.js"),
        titles=["run", "data", "method", "network", *columns, "examples", "steps", "size", "time"],
        runs=[_shown(name, run, columns) for name, run in runs.items()],
        swatches=_swatches(len(runs)),
        curves=list(_curves(runs)),
    )


def _must_differ(folders: Sequence[Path]) -> None:
    if len(folders) > MOST_RUNS:
        raise UserError(f"{len(folders)} runs were given, but a page compares at most {MOST_RUNS}; give fewer")
    seen: dict[Path, Path] = {}
    for folder in folders:
        if (other := seen.setdefault(folder.resolve(), folder)) is not folder:
            raise UserError(f"{folder} and {other} are one folder; give each run once")


def _named(folders: Sequence[Path]) -> dict[str, Path]:
    """Return each folder under its own name, or under its whole path if two have one name."""
    short = [one_line(folder.resolve().name) for folder in folders]
    names = short if len(set(short)) == len(short) else [one_line(folder) for folder in folders]
    return dict(zip(names, folders, strict=True))


def _kind(run: Run) -> str:
    """Return the title of the column for the score of a run; empty if it has none. Kinds must not be compared."""
    if not run.score:
        return ""
    title = column(labels_measured(run.distilled, run.score["protocol"]), pixels_of(run.distilled))
    return title if run.score["split"] == "test" else f"{title}, {run.score['split']} split"


def _shown(name: str, run: Run, columns: Sequence[str]) -> Shown:
    lines = sentences.lines(run.distilled)
    return Shown(
        name=name,
        cells=list(_cells(run, columns)),
        picture=data_uri(grid(run.distilled, transparent=True)) if lines is None else "",
        lines=(lines or [])[:MOST_SENTENCES],
        score=score_text(run.score) if run.score else "no score",
    )


def _cells(run: Run, columns: Sequence[str]) -> Iterator[Cell]:
    """Yield the cells of a run after its name; `columns` are those of accuracies."""
    distilled, header, score = run.distilled, run.distilled.header, run.score or {}
    yield Cell(text=header.data.rstrip("/").rsplit("/", 1)[-1])
    yield Cell(text=header.method)
    yield Cell(text=str((score.get("protocol") or {}).get("network") or header.network))
    accuracies = {_kind(run): score, "random real": score.get("baseline")}
    yield from (_score_cell(accuracies.get(title)) for title in columns)
    yield Cell(text=number(distilled.size), value=distilled.size)
    steps = distilled.program.length(distilled.size)
    yield Cell(text=number(steps), value=steps)
    size = distilled.nbytes + distilled.initial_nbytes
    yield Cell(text=bytes_of(size), value=size)
    seconds = header.provenance.get("seconds")
    yield Cell(text="" if seconds is None else duration(seconds), value=seconds)


def _score_cell(score: Mapping[str, Any] | None) -> Cell:
    return Cell(text=score_text(score), value=score["mean"]) if score else Cell(text="")


def _curves(runs: Mapping[str, Run]) -> Iterator[Curves]:
    """Yield the charts for which at least one run has a line."""
    for title, axis, line_of in (
        ("Validation accuracy while distilling", "outer iteration", _validation),
        ("Accuracy along the program", "gradient steps taken", _program),
    ):
        lines = [line_of(name, run) for name, run in runs.items()]
        if any(lines):
            from . import charts  # imports matplotlib, which takes a second

            none = [name for name, line in zip(runs, lines, strict=True) if line is None]
            missing = f"Without a line: {', '.join(none)}." if none else ""
            yield Curves(title=title, svg=Markup(charts.runs_chart(lines, axis)), missing=missing)


def _validation(name: str, run: Run) -> Line | None:
    found = {line["iteration"]: line["validation"] for line in run.lines if {"iteration", "validation"} <= line.keys()}
    whole = {at: (each["mean"], each.get("sd")) for at, each in sorted(found.items()) if _is_finite(each.get("mean"))}
    if not whole:
        return None
    means, sds = zip(*whole.values(), strict=True)
    return Line(name=name, at=list(whole), mean=means, sd=[sd if _is_finite(sd) else 0.0 for sd in sds])


def _is_finite(value: int | float | None) -> bool:
    return value is not None and math.isfinite(value)


def _program(name: str, run: Run) -> Line | None:
    curve = (run.score or {}).get("curve")
    if not curve:
        return None
    mean = curve["mean"]
    at = list(curve.get("steps") or range(len(mean)))
    return Line(name=name, at=at, mean=mean, sd=curve.get("sd") or [0.0] * len(mean))


def _swatches(count: int) -> list[Markup]:
    from . import charts  # imports matplotlib, which takes a second

    return [Markup(charts.swatch(which)) for which in range(count)]
