"""The command that measures a study: study."""

from dataclasses import dataclass, replace
from pathlib import Path

from tyro.conf import Positional

from ..errors import unknown
from ..studies import STUDIES, OnSets, run
from ..tensorboard import event_files
from .computing import Computing
from .output import say_written


@dataclass(frozen=True, kw_only=True)
class MakeStudy(Computing):
    """Measure a study, and write its tables and charts: a comparison with all baselines, or a figure of the paper.

    The command first prints how long it takes. If it is stopped, run it again: finished parts are not measured again.
    Some studies compare finished sets. Those that are neither in the folder results nor in the package are distilled
    first; `datastill list studies` names them.

    Examples:
      datastill study steps                       accuracy against the number of steps
      datastill study table-mnist                 every baseline beside the distilled sets in results/
      datastill study reference --only mnist-1    some cells of the table of all methods
      datastill list studies                      the names of all studies
      datastill report results                    all studies on one page
    """

    name: Positional[str]
    """Name of the study (datastill list studies)."""
    out: Path | None = None
    """Folder of the study; if not given: results/NAME."""
    only: tuple[str, ...] = ()
    """Names of the parts to measure now, or beginnings of names up to a hyphen, such as cifar10-1 or
    cifar10-10-random; the section says which parts were not run. Only for the study reference. Empty: all parts."""
    trust: bool = False
    """Let the sets of the study import modules, which runs their code, and open other files. Only for sets that you
    trust; a set with the network of its recipe needs no trust."""
    tensorboard: bool = False
    """Write event files as well, into the folder tensorboard of each run that the study makes. Needs the package
    tensorboard."""
    json: bool = False
    """Print the name of the section's file as JSON."""

    def compute(self) -> int:
        """Measure the parts that are missing, write the page, and return the exit code."""
        if self.name not in STUDIES:
            raise unknown("study", self.name, STUDIES)
        study = STUDIES[self.name]
        if isinstance(study, OnSets):
            study = replace(study, trust=self.trust)
        with event_files(self.tensorboard):
            section = run(study, self.out or Path("results") / self.name, self.only)
        return say_written(section, json=self.json)
