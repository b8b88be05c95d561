"""Measuring to compare: study."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from ..errors import unknown
from ..studies import STUDIES, run
from .output import out


@dataclass(frozen=True, kw_only=True)
class MakeStudy:
    """Measure what can be compared, part by part, and draw it: tables of all baselines, and the paper's pictures.

    Says beforehand how long it takes. Stopped, it goes on with the part that it was at; nothing is measured twice.
    Some studies compare sets that must be distilled before; they say which, and `datastill list studies` does.

    Examples:
      datastill study steps                       accuracy against the number of steps
      datastill study table-mnist                 every baseline beside the distilled sets in results/
      datastill list studies                      all of them
      datastill report results                    all studies on one page
    """

    name: Positional[str]
    """Which study."""
    out: Path | None = None
    """Folder of the study; results/NAME where nothing is said."""

    def run(self) -> int:
        """Study."""
        if self.name not in STUDIES:
            raise unknown("study", self.name, STUDIES)
        section = run(STUDIES[self.name], self.out or Path("results") / self.name)
        out.print(f"wrote {section}")
        return 0
