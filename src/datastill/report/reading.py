"""Reading the folder of a run: the set, its settings, its log and its score, each checked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import migration
from ..artifact import NAME as ARTIFACT
from ..artifact import DistilledSet
from ..artifact.scores import SCORE as SCORE_RULE
from ..artifact.scores import must_have_classes
from ..errors import UserError
from ..runlog import METRICS, read_lines
from ..storage.files import read_json
from ..storage.records import TEXT, Rule, must_be_json, record
from .snapshots import sets_in

CONFIG = "config.json"
"""Name of the first file that a run writes: its settings, and how it computes."""
SCORE, PAGE = "score.json", "report.html"


@dataclass(frozen=True, kw_only=True)
class Run:
    """The contents of a run folder."""

    folder: Path
    distilled: DistilledSet
    config: Mapping[str, Any] | None
    """The contents of config.json; None if the file is missing."""
    lines: list[dict[str, Any]]
    """The lines of metrics.jsonl that could be read."""
    score: Mapping[str, Any] | None
    """The score of the set; None if it was not measured yet."""


def read_run(folder: Path) -> Run:
    """Read everything in a run folder that the page shows.

    Raises:
        UserError: the folder or the distilled set in it is missing or broken.
    """
    try:
        return _read_run(folder)
    except OSError as error:
        raise UserError(f"cannot read the run in {folder}: {error.strerror or error}") from error


def _read_run(folder: Path) -> Run:
    if not folder.is_dir():
        if folder.exists():
            raise UserError(f"{folder} is a file, not the folder of a run or of results; give the folder")
        raise UserError(f"there is no run folder at {folder}; make one with: datastill distill --out {folder}")
    if not (folder / ARTIFACT).is_file():
        if sets_in(folder):
            raise UserError(
                f"{folder} holds sets, but no run, of which a page could be made; datastill evaluate {folder} compares "
                "sets in one table"
            )
        raise UserError(f"{folder} holds no {ARTIFACT}; finish the run first, or give the folder of a finished one")
    distilled = DistilledSet.load(folder / ARTIFACT)
    config = _read_record(folder / CONFIG, RUN_RULE)
    score = distilled.header.score or _read_record(folder / SCORE, SCORE_RULE, migration.score)
    must_have_classes(score, distilled.header.class_names, str(folder / SCORE))
    return Run(folder=folder, distilled=distilled, config=config, lines=read_lines(folder / METRICS), score=score)


def _read_record(
    path: Path, rule: Rule, migrated: Callable[[Any], Any] = lambda plain: plain
) -> Mapping[str, Any] | None:
    """Read the JSON object in a file; return None if there is no such file.

    Raises:
        UserError: the file is broken, or holds something other than a run writes.
    """
    if not path.is_file():
        return None
    found = read_json(path)
    try:
        must_be_json(found, path.stem)
        found = migrated(found)
        rule(found, path.stem)
    except UserError as error:
        raise UserError(f"{path}: {error}; remove it, or run again") from error
    return found


RUN_RULE = record({"command": TEXT, "version": TEXT, "config": record({}, more=True)}, more=True)
"""The rule of the settings of a run, as far as the page shows them by name."""
