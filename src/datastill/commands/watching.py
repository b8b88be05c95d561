"""The command that follows a run: watch."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from ..watching import follow
from .output import out


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Follow a run that another process computes, until it ends: iteration, objective, validation, speed, time left.

    Ctrl-C ends only the watching: the run goes on.

    Examples:
      datastill watch runs/mnist
    """

    folder: Positional[Path]
    """The folder of the run."""

    def run(self) -> int:
        """Show how the run goes on, print how it ended, and return the exit code."""
        out.print(follow(self.folder))
        return 0
