"""The measurements of a cell of the reference table; each is kept in the folder of the cell, and made only once."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ..artifact import DistilledSet, Teacher
from ..artifact.scores import SCORE
from ..config import Config
from ..data import RealData
from ..evaluation import Protocol, score
from ..evaluation.table import labels_measured
from ..resuming import CONFIG
from ..run import distill
from ..storage.files import write_json
from ..storage.records import Rule, number, record, whole
from .base import read_measured
from .peak import PeakMemory

ABOUT_RUN = ("datastill", "torch", "hardware", "threads", "iterations", "seconds")
"""What a cell keeps of the provenance of its set."""
MADE = record({"seconds": number(0, 1e12), "peak_bytes": whole(0, 2**62)}, (*ABOUT_RUN, "peak_bytes"), more=True)
"""The rule of what `make_set` returns."""


def kept(path: Path, measure: Callable[[], dict[str, Any]], rule: Rule) -> dict[str, Any]:
    """Return what is in a JSON file, and measure and write it first if there is no such file.

    Raises:
        UserError: the file is broken, or its values are not as the rule says.
    """
    if not path.exists():
        write_json(path, measure())
    return read_measured(path, lambda found: rule(found, "the file"))


def make_set(config: Config, data: RealData, folder: Path) -> dict[str, Any]:
    """Distil a set in a folder, where a stopped run goes on, and return how it was made, as plain values.

    What is kept beside the folder was measured on a set that is gone if there is no run, and is removed.
    """
    begun = (folder / CONFIG).exists()
    if not begun:
        for stale in folder.parent.glob("*.json"):
            stale.unlink()
    with PeakMemory() as peak:
        made = distill(config, folder, data=data, resume=begun)
    about = made.header.provenance
    return {name: about[name] for name in ABOUT_RUN} | {"peak_bytes": peak.nbytes}


def contents(distilled: DistilledSet) -> dict[str, Any]:
    """Return the kind of labels, the bytes of the examples and step sizes in the file, and the bytes of the labels.

    The labels include the weights of the teacher if it gives the labels of each batch.
    """
    labels, weights = _nbytes([distilled.targets]), 0
    if isinstance(distilled.header.labels, Teacher) and (teacher := distilled.teacher_of_labels()):
        weights = _nbytes(teacher.state_dict().values())
    kind = labels_measured(distilled, {})
    return {"labels": kind, "image_bytes": distilled.nbytes - labels, "label_bytes": labels + weights}


def _nbytes(tensors: Iterable[Tensor]) -> int:
    return sum(each.numel() * each.element_size() for each in tensors)


def measured(
    distilled: DistilledSet, data: RealData, protocols: Mapping[str, Protocol], folder: Path
) -> list[dict[str, Any]]:
    """Return the scores of a set on the test split by each protocol; a stopped one goes on after its last network."""

    def one(protocol: Protocol) -> dict[str, Any]:
        return score(distilled, data, protocol, progress=True, folder=folder).as_dict()

    return [
        kept(folder / f"{name}.json", lambda protocol=protocol: one(protocol), SCORE)
        for name, protocol in protocols.items()
    ]


def own_score(distilled: DistilledSet) -> dict[str, Any]:
    """Return the score that the run of a set has measured, without its curve."""
    return {name: value for name, value in (distilled.header.score or {}).items() if name != "curve"}
