"""A study: named parts that are measured one by one, each kept as soon as it is done, and one section about all."""

import abc
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from .. import migration
from ..artifact.scores import CURVE, SCORE
from ..errors import UserError, unknown
from ..locks import alone
from ..planner import duration
from ..runlog import say
from ..storage.files import as_read, is_free, parse_json, read_json, read_text, write_json, write_text
from ..storage.records import list_of, must_be_json, number, record, whole
from ..terminal import one_line
from .effect import EFFECT

Records = Mapping[str, dict[str, Any]]
"""Name of a part -> the JSON values that were measured."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One measurement of a study."""

    name: str
    seconds: float
    """Expected time on two CPU cores."""
    measure: Callable[[Path], dict[str, Any]]
    """Function that takes the folder of the part, for runs that can be resumed, and returns plain JSON values."""


@dataclass(frozen=True, kw_only=True)
class Study(abc.ABC):
    """The base class of studies. Subclasses are frozen records of settings, with an instance for each study."""

    may_lack_parts: ClassVar[bool] = False
    """Whether the section is written while parts are missing; it is then given the records of the others."""
    name: str
    """The name on the command line, and of the folder with the results."""
    title: str
    """The title of the section, in one line."""

    @abc.abstractmethod
    def parts(self) -> list[Part]:
        """Return everything to be measured, in order."""

    @abc.abstractmethod
    def text(self, records: Records) -> str:
        """Write the section of Markdown about what was measured."""

    def figure(self, records: Records) -> str | None:  # noqa: ARG002
        """Draw what was measured as the text of an SVG file; return None if the study has no picture."""
        return None

    @abc.abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return all settings that decide the numbers, as plain JSON values; a folder holds results of one setting."""

    def check(self, records: Records) -> None:  # noqa: B027
        """Raise a `UserError` if a part was measured with settings that only this part has, and that changed since."""

    def prepare(self) -> None:  # noqa: B027
        """Make what all parts of the study need, as far as it is missing."""

    def settings_except(self, *names: str) -> dict[str, Any]:
        """Return all fields but those with these names."""
        return {key: value for key, value in asdict(self).items() if key not in names}


def run(study: Study, folder: Path, only: Sequence[str] = ()) -> Path:
    """Measure the parts that are not measured yet, and write the section and its picture.

    Args:
        study: the study to measure.
        folder: the folder for study.json, parts/NAME.json for each measured part, work/NAME for runs that can be
            resumed, and in the end section.md and figure.svg.
        only: names of parts to measure now, or beginnings of names up to a hyphen; empty: all parts.

    Returns:
        The path of the section.

    Raises:
        UserError: the folder or one of its parts belongs to another study or to other settings, what the study
            needs cannot be made, or there is no part of a name in `only`.
        Stopped: SIGINT or SIGTERM was received; measured parts are kept, and an interrupted run can be resumed.
    """
    parts = _chosen(study, only)
    with alone(folder):
        _belongs(study, folder)
        study.check(_records(study, folder, partial=True))
        study.prepare()
        _measure(study, folder, parts)
        return draw(study, folder)


def _chosen(study: Study, only: Sequence[str]) -> list[Part]:
    """Return the parts with these names, or with names that begin with one of them and a hyphen; all for no names."""
    parts = study.parts()
    if only and not study.may_lack_parts:
        raise UserError(f"the study {study.name} is about all of its parts together; leave --only out")
    found = {name: [part for part in parts if f"{part.name}-".startswith(f"{name}-")] for name in only}
    if missing := [name for name in only if not found[name]]:
        raise unknown("part", missing[0], [part.name for part in parts])
    return [part for part in parts if not only or any(part in some for some in found.values())]


def _records(study: Study, folder: Path, *, partial: bool) -> Records:
    """Read what was measured; parts that are missing are left out if `partial`."""
    paths = {part.name: _record(folder, part) for part in study.parts()}
    return {name: _measured(path) for name, path in paths.items() if path.exists() or not partial}


def _measure(study: Study, folder: Path, parts: Sequence[Part]) -> None:
    left = [part for part in parts if not _record(folder, part).exists()]
    done = len(parts) - len(left)
    say(
        f"{study.name}: {len(left)} of {len(parts)} parts to measure"
        + (f" ({done} are done)" if done else "")
        + f", about {duration(math.fsum(part.seconds for part in left))} on two CPU cores"
    )
    for i, part in enumerate(left, done + 1):
        say(f"part {i} of {len(parts)}: {part.name}, about {duration(part.seconds)}")
        began = time.perf_counter()
        measured = part.measure(folder / "work" / part.name)
        write_json(_record(folder, part), measured | {"part_seconds": round(time.perf_counter() - began, 1)})


def draw(study: Study, folder: Path) -> Path:
    """Write the section and its picture from the measured parts; return the path of the section.

    Raises:
        UserError: a part is missing that the study needs, or does not hold what the study measures.
    """
    records = _records(study, folder, partial=study.may_lack_parts)
    study.check(records)
    try:
        picture, text = study.figure(records), study.text(records)
    except UserError:
        raise
    except (
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        ArithmeticError,
    ) as error:  # studies of different kinds raise different errors
        reason = one_line(f"{type(error).__name__}: {error}")
        raise UserError(
            f"the parts in {folder / 'parts'} do not hold what the study {study.name} measures ({reason}); delete the "
            "ones that were changed, and measure them again"
        ) from error
    if picture is not None:
        write_text(folder / "figure.svg", picture)
    section = folder / "section.md"
    write_text(section, text)
    return section


MEASURED = record(
    {
        "part_seconds": number(0, 1e12),
        "score": SCORE,
        "scores": list_of(SCORE, 1, 10_000),
        "curve": CURVE,
        "attacks": list_of(EFFECT, 1, 10_000),
        "bytes": whole(1, 2**62),
    },
    more=True,
)
"""The rule of what most parts hold."""


def _measured(path: Path) -> dict[str, Any]:
    """Return what was measured in a part.

    Raises:
        UserError: the file is missing or broken, or a value that most studies measure is out of its range.
    """
    return read_measured(path, _part)


def _part(found: Any) -> dict[str, Any]:
    must_be_json(found, "the part")
    part: dict[str, Any] = migration.part(found)
    MEASURED(part, "the part")
    return part


def read_measured(path: Path, check: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    """Return what was measured and written to a JSON file.

    Args:
        path: the file.
        check: returns the value of the file as it is used, or raises a `UserError`.

    Raises:
        UserError: the file is missing or broken, or `check` raised one; the message names the file.
    """
    text = read_text(path)
    try:
        return check(parse_json(text))
    except (UserError, ValueError) as error:
        raise UserError(f"{path}: {error}; delete this file, and measure it again") from error


def _record(folder: Path, part: Part) -> Path:
    return folder / "parts" / f"{part.name}.json"


def _belongs(study: Study, folder: Path) -> None:
    path = folder / "study.json"
    wanted = as_read({"study": study.name, "settings": study.settings()})
    if path.exists():
        if migration.study(read_json(path)) != migration.study(wanted):
            raise UserError(f"{folder} holds a study of other settings; give another folder with --out")
    elif not is_free(folder):
        raise UserError(f"{folder} already holds other files; give another folder with --out")
    else:
        write_json(path, wanted)
