"""The header of a distilled set: what its tensors mean, and how they were made."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from ..errors import UserError
from ..label_source import LABELS, SHA256, LabelSource, Stored
from ..networks.start import START, Start
from ..objectives import OBJECTIVE, Classification, Objective
from ..parts import MOST_FACTOR
from ..space import SPACE, Space
from ..storage.files import parse_json
from ..storage.records import (
    FLAG,
    list_of,
    must_be_json,
    must_have_types,
    number,
    optional,
    read,
    record,
    shown,
    text,
    whole,
)
from .decode import DECODE, Decode, Plain
from .scores import SCORE, SHARE, SIZE, must_have_classes

MOST_CLASSES = 100_000
"""The largest number of classes of a set."""
NAME = text(4096, 1)
CONFIG = record(
    {
        "data": record(
            {
                "name": NAME,
                "resize": optional(whole(1, 100_000)),
                "pad": whole(0, 100_000),
                "validation": number(0, 1),
                "seed": whole(-(2**62), 2**62),
                "in_memory": FLAG,
            },
            more=True,
        )
    },
    more=True,
)
PROVENANCE = record(
    {
        "datastill": text(100),
        "hardware": text(200),
        "seconds": number(0, 1e12),
        "real_images": SIZE,
        "validation": optional(SHARE),
        "data_sha256": record(dict.fromkeys(("train", "validation", "test"), SHA256)),
        "pool": record({"sha256": SHA256}, more=True),
    },
    more=True,
)


@dataclass(frozen=True, kw_only=True)
class Header:
    """The header of a distilled set: what its tensors mean and how they were made. All values are plain data."""

    data: Annotated[str, NAME]
    """Name of the real data, or the path that it was read from."""
    class_names: Annotated[tuple[str, ...], list_of(text(1000), 1, MOST_CLASSES)]
    """Names of the classes, in the order of the labels."""
    space: Annotated[Space, SPACE]
    """What an example is, and how real ones are normalised: see `datastill.space`."""
    network: Annotated[str, NAME]
    """The network that the set was made for, e.g. ``lenet`` or ``convnet(depth=2)``."""
    start: Annotated[Start, START]
    """The initial weights of the network, e.g. ``parse_start("random(xavier)")``."""
    frozen: Annotated[str, text(64)] = ""
    """SHA-256 of the frozen parameters, which the user's network must already have. Empty if there are none."""
    labels: Annotated[LabelSource, LABELS] = field(default_factory=Stored)
    """Where labels come from: `Stored` (classes or probabilities), `Signed`, `PerEpoch`, `Teacher` or
    `TeacherOnce`."""
    decode: Annotated[Decode, DECODE] = field(default_factory=Plain)
    """How the examples are stored in the file: see `datastill.artifact.decode`. `DistilledSet.save` stores real images
    as their bytes (`PixelBytes`) instead of `Plain`, as that loses nothing."""
    enlarged: Annotated[int, whole(1, MOST_FACTOR)] = 1
    """Parts along each side of a stored image; examples are these parts, enlarged (see `datastill.parts`). 1: stored
    images are the examples."""
    objective: Annotated[Objective, OBJECTIVE] = field(default_factory=Classification)
    """What networks that train on the set are to answer, e.g. ``parse_objective("misread(0,1)")`` of an attack."""
    method: Annotated[str, text(200)] = ""
    """Name of the method that made the set."""
    config: Annotated[Mapping[str, Any], CONFIG] = field(default_factory=dict)
    """The resolved configuration of the run; the run can be repeated from it."""
    provenance: Annotated[Mapping[str, Any], PROVENANCE] = field(default_factory=dict)
    """How the set was made: versions, hardware class, seconds, iterations."""
    score: Annotated[Mapping[str, Any] | None, optional(SCORE)] = None
    """The measured score with its protocol; None if it was not measured."""


def parsed(written: str) -> dict[str, Any]:
    """Return the values that the JSON text of a file holds.

    Raises:
        UserError: the text is not JSON of named values, or it is nested too deeply.
    """
    try:
        stored = parse_json(written)
    except ValueError as error:
        raise UserError(f"its header cannot be read: {str(error)[:200]}") from error
    must_be_json(stored, "header")
    return record({}, more=True)(stored, "header")


def from_plain(stored: Mapping[str, Any]) -> Header:
    """Return the header that plain values stand for.

    Raises:
        UserError: a value has a wrong type or range, or a name is not known.
    """
    header = read(Header, stored, "header")
    must_have_classes(header.score, header.class_names, "header.score")
    return header


def asks_for(stored: Mapping[str, Any]) -> str:
    """Return a text with the module that a broken header would run; an empty text if it names none."""
    protocols = [("config", name, "network") for name in ("protocol", "validation")]
    for place in (("network",), ("score", "protocol", "network"), ("config", "network"), *protocols):
        name: Any = stored
        for key in place:
            name = name.get(key) if isinstance(name, Mapping) else None
        if isinstance(name, str) and ":" in name.partition("(")[0]:
            module = name.partition(":")[0].strip()
            return f"it asks for the network {shown(name)}, which runs code of the module {shown(module)}; moreover, "
    return ""


def written_by(stored: Mapping[str, Any]) -> str:
    """Return a text with the version that wrote the file; an empty text if the header does not name it."""
    provenance = stored.get("provenance")
    version = provenance.get("datastill") if isinstance(provenance, Mapping) else None
    return f" (the file was written by datastill {version[:100]})" if isinstance(version, str) else ""


def check_header(header: Header) -> None:
    """Raise a `UserError` unless what a user gives has the right types and ranges, and fits together.

    What a run adds (configuration, provenance, score) is checked where it is read from a file.
    """
    must_have_types(replace(header, config={}, provenance={}, score=None))
    names = header.class_names
    if len(set(names)) < len(names):
        double = next(name for i, name in enumerate(names) if name in names[:i])
        raise UserError(f"class_names holds {double!r} twice; give every class another name")
    header.objective.check(names)
