"""The folder of a run: free, begun, stopped or finished, and whether what is asked for is what was begun there."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .artifact import DistilledSet
from .errors import UserError
from .files import as_read, is_free, read_json
from .identity import must_match
from .loop import load
from .recipes import Config, as_dict, from_dict
from .runlog import say

CONFIG = "config.json"
"""The first file that a run writes: its settings and its way to compute."""
CHECKPOINT = "checkpoint.pt"
"""The state of a run that is not finished."""
SET = "distilled.safetensors"
"""The result."""


def must_be_possible(folder: Path, resume: bool) -> bool:
    """Whether there is a finished run to be resumed, which leaves nothing to do.

    Raises:
        UserError: there is a file in place of the folder, or no run to resume.
    """
    if not resume:
        if folder.exists() and not folder.is_dir():
            raise _occupied(folder)
        return False
    if (folder / CHECKPOINT).exists():
        return False
    if (folder / SET).exists():
        return True
    if not (folder / CONFIG).exists():
        raise _missing(folder)
    return False


def begun(folder: Path, resume: bool) -> dict[str, Any] | None:
    """The identity in the checkpoint of a run to be resumed; None where there is no checkpoint.

    Raises:
        UserError: a new run is to begin in a folder that is occupied, or the checkpoint is broken.
    """
    if not resume:
        if not is_free(folder):
            raise _occupied(folder)
        return None
    if not (folder / CHECKPOINT).exists():
        return None
    then = load(folder / CHECKPOINT).identity
    if not then:
        say(f"the run in {folder} was begun by an older version: whether settings and data changed is not known")
    return then


def finished(folder: Path, config: Config) -> DistilledSet:
    """The result of a finished run, if it is of this configuration.

    Raises:
        UserError: it is of another, or broken.
    """
    distilled = DistilledSet.load(folder / SET)
    then = {key: value for key, value in distilled.header.config.items() if key != "method"}  # fitted to the data
    fix = "leave --resume out and give another folder with --out"
    must_match(f"the finished run in {folder}", {"config": then}, {"config": as_read(as_dict(config))}, fix)
    return distilled


def must_go_on(folder: Path, then: Mapping[str, Any] | None, now: Mapping[str, Any]) -> None:
    """Raise a `UserError` that names what changed since the run in a folder began; see `identity.must_match`."""
    fix = "restore what it began with, or begin a new run in another folder with --out"
    must_match(f"the run in {folder}", then or {}, now, fix)


def stored_config(folder: Path, *, trust: bool = False, named: str = "") -> Config:
    """The configuration of the run in a folder.

    Args:
        folder: of the run.
        trust: let it name a module in which its method is.
        named: the method that the user names, which needs no trust.

    Raises:
        UserError: there is none, it is broken, or it needs trust.
    """
    if not (folder / CONFIG).exists():
        raise _missing(folder)
    record = read_json(folder / CONFIG)
    try:
        method = record["config"].get("method", {}).get("name", "")
        return from_dict(record["config"], trust=trust or method == named)
    except (TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{folder / 'config.json'} holds no settings of a run; begin a new one elsewhere") from error
    except UserError as error:
        raise UserError(f"{folder / 'config.json'}: {error}") from error


def _occupied(folder: Path) -> UserError:
    return UserError(f"{folder} already holds a run or other files; give another folder with --out, or --resume")


def _missing(folder: Path) -> UserError:
    return UserError(f"there is no run in {folder} to resume (no {CONFIG}); leave --resume out to start one")
