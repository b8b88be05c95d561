"""Measured values in a file, so that a long evaluation that was stopped goes on after the last finished network."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .. import distributed
from ..artifact import DistilledSet
from ..artifact.scores import CONFUSION
from ..errors import UserError
from ..storage.files import digest, read_json, write_json
from ..storage.records import list_of, mapping_of, number, record, text
from .confusion import Counts

FILE = "evaluation.json"
"""Name of the file in the folder of a run that is being evaluated."""
MOST_ROWS = 10_000
"""Networks or sets of the longest list of values that is read."""
ROWS = list_of(list_of(number(0, 1), 1, 100), 0, MOST_ROWS)
CONTENT = mapping_of(record({"of": text(), "rows": ROWS, "confusion": CONFUSION}, needed=("of", "rows")))
"""The rule of the file: under the name of a measurement, what was measured, and its values."""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """The values of one measurement in a file, a row for each network or set; several processes keep nothing."""

    folder: Path
    name: str
    """The name of the measurement in the file."""
    of: str
    """The digest of everything that the values depend on; see `kept_for`."""

    def rows(self) -> list[list[float]]:
        """Return the rows that were measured before, in their order; none if they are those of something else."""
        return [list(row) for row in self._mine().get("rows", ())]

    def counts(self) -> Counts | None:
        """Return the counts that were kept with the rows; None if there are none."""
        found = self._mine().get("confusion")
        return torch.tensor(found) if found else None

    def keep(self, rows: list[list[float]], counts: Counts | None = None) -> None:
        """Write all rows that were measured so far, and the counts of answers of some of these networks."""
        if distributed.ranks() == 1:
            mine = {"of": self.of, "rows": rows} | ({} if counts is None else {"confusion": counts.tolist()})
            write_json(self.folder / FILE, self._content() | {self.name: mine})

    def _mine(self) -> dict[str, Any]:
        there = self._content().get(self.name, {})
        return there if there.get("of") == self.of else {}

    def _content(self) -> dict[str, Any]:
        path = self.folder / FILE
        if distributed.ranks() > 1 or not path.exists():
            return {}
        try:
            return CONTENT(read_json(path), FILE)
        except UserError:  # a broken file costs only time: everything is measured again
            return {}


def kept_for(folder: Path, name: str, distilled: DistilledSet, settings: object) -> Kept:
    """Return where the values of a measurement are kept.

    Args:
        folder: the folder of the run.
        name: the name of the measurement, another one for each measurement of a run.
        distilled: the set that is measured.
        settings: the settings of the measurement, as plain JSON values.
    """
    return Kept(folder=folder, name=name, of=digest(json.dumps([distilled.plain(), settings]), distilled.tensors()))
