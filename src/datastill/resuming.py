"""Checking the folder of a run: whether it is free, begun, stopped or finished, and whether its settings are equal."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import migration
from .artifact import NAME as SET
from .artifact import DistilledSet
from .config import Config, as_dict, from_dict
from .errors import UserError
from .identity import must_match
from .report.reading import CONFIG
from .run_state import RunState, load
from .runlog import say
from .storage.files import as_read, is_free, read_json
from .storage.seal import is_sealed

CHECKPOINT = "checkpoint.pt"
"""Name of the file with the state of an unfinished run."""


def must_be_possible(folder: Path, resume: bool) -> bool:
    """Check that a run can begin or be resumed; return True if it is already finished, so that nothing is left to do.

    Raises:
        UserError: `folder` is a file, or there is no run to resume.
    """
    if not resume:
        if folder.exists() and not folder.is_dir():
            raise occupied(folder)
        return False
    if (folder / CHECKPOINT).exists():
        return False
    if (folder / SET).exists():
        return True
    if not (folder / CONFIG).exists():
        raise _missing(folder)
    return False


def begun(folder: Path) -> RunState | None:
    """Return the state in the checkpoint of a run to resume; None if there is no checkpoint.

    Raises:
        UserError: the checkpoint is broken.
    """
    if not (folder / CHECKPOINT).exists():
        return None
    state = load(folder / CHECKPOINT)
    if not state.identity:
        say(f"the run in {folder} was begun by an older version: it is unknown whether settings and data changed")
    return state


def finished(folder: Path, config: Config) -> DistilledSet:
    """Return the distilled set of a finished run that has this configuration.

    Raises:
        UserError: the run has another configuration, or its file is broken.
    """
    distilled = DistilledSet.load(folder / SET)
    then = migration.config(distilled.header.config)
    then.pop("method", None)  # fitted to the data
    fix = "leave --resume out and give another folder with --out"
    must_match(f"the finished run in {folder}", {"config": then}, {"config": as_read(as_dict(config))}, fix)
    return distilled


def must_go_on(folder: Path, then: Mapping[str, Any] | None, now: Mapping[str, Any]) -> None:
    """Raise a `UserError` that names what changed since the run in a folder began; see `identity.must_match`."""
    fix = "restore what it began with, or begin a new run in another folder with --out"
    must_match(f"the run in {folder}", then or {}, now, fix)


def stored_config(folder: Path, *, trust: bool = False, named: str = "") -> Config:
    """Return the configuration of the run in a folder.

    Args:
        folder: the folder of the run.
        trust: let the configuration name a method in a module, which is then imported.
        named: the method that the user names; it needs no trust.

    Raises:
        UserError: there is no run, its configuration is broken, or its method needs trust.
    """
    if not (folder / CONFIG).exists():
        raise _missing(folder)
    record = read_json(folder / CONFIG)
    try:
        method = record["config"].get("method", {}).get("name", "")
        return from_dict(record["config"], trust=trust or method == named)
    except (TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{folder / 'config.json'} holds no settings of a run; begin a new run elsewhere") from error
    except UserError as error:
        raise UserError(f"{folder / 'config.json'}: {error}") from error


def first_words(folder: Path) -> list[str]:
    """Return the words of the command that began the run in a folder; none if it was begun in Python."""
    command = read_json(folder / CONFIG).get("command")
    try:
        return shlex.split(command) if isinstance(command, str) else []
    except ValueError:  # an open quotation
        return []


def is_sealed_run(folder: Path) -> bool:
    """Whether this user began the run in a folder on this machine, and nobody changed its settings since then."""
    return (folder / CONFIG).exists() and is_sealed(read_json(folder / CONFIG))


def occupied(folder: Path) -> UserError:
    """Return the error for a new run in a folder that holds other files, or is none."""
    if not folder.is_dir():
        return UserError(f"{folder} is a file, not a folder; give another folder with --out")
    return UserError(f"{folder} already holds a run or other files; give another folder with --out, or --resume")


def _missing(folder: Path) -> UserError:
    if folder.exists() and not folder.is_dir():
        return UserError(f"{folder} is a file, not the folder of a run; give the folder of the run with --out")
    fix = "leave --resume out to start one" if is_free(folder) else "give the folder of a run with --out"
    return UserError(f"there is no run in {folder} to resume (no {CONFIG}); {fix}")
