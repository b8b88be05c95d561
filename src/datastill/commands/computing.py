"""The option --device, of every command that computes and is not described by the settings of a run."""

import abc
from dataclasses import dataclass

from ..device import automatic


@dataclass(frozen=True, kw_only=True)
class Computing(abc.ABC):
    """A command that computes on a device; subclasses give `compute`."""

    device: str = "auto"
    """Device to compute on: cpu, cuda, cuda:1, ...; auto: cuda if this machine has it, or else cpu."""

    def run(self) -> int:
        """Do what the command does on its device, and return the exit code."""
        with automatic(self.device):
            return self.compute()

    @abc.abstractmethod
    def compute(self) -> int:
        """Do what the command does, and return the exit code."""
