"""The contract of an objective: what networks that train on a distilled set are to answer, said once for everything."""

import abc
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from jaxtyping import Int64
from torch import Tensor

from .measures import Measure


@dataclass(frozen=True)
class Objective(abc.ABC):
    """What networks that train on a set are to answer for real examples: a frozen record of plain values.

    Configurations, tasks, sets, baselines, exports and pages have one of these and ask it; nothing else knows the
    kinds. A new kind is a subclass in a file of its own, listed in `KINDS`. Its first field is ``kind``, which names
    it in JSON.
    """

    kind: str = field(init=False, repr=False)
    """Its name in JSON, e.g. ``misread``; see `KINDS`."""
    spelling: ClassVar[str]
    """How a user writes it, e.g. ``misread(0,1)``. ``str(objective)`` writes it so; `parse_objective` reads it."""
    names_classes: ClassVar[bool] = False
    """Whether it names classes by number, so that the classes of a run must stay in the order of its data."""
    is_accuracy: ClassVar[bool] = True
    """Whether a good set for it gives accurate networks, so that a low accuracy is a fault."""
    title: ClassVar[str] = ""
    """Words in front of the title of an exported set, e.g. ``ATTACK SET``."""

    @abc.abstractmethod
    def __str__(self) -> str: ...

    @classmethod
    @abc.abstractmethod
    def spelled(cls, text: str) -> "Objective | None":
        """Return the objective that a text spells; None if the text is no spelling of this kind.

        Raises:
            UserError: it is nearly a spelling of this kind; the message says what is wrong with it.
        """

    @property
    def measures(self) -> Sequence[Measure]:
        """What a score measures of each network besides its accuracy, before and after training; the main one first."""
        return ()

    def check(self, class_names: Sequence[str]) -> None:  # noqa: B027
        """Raise a `UserError` unless data with these classes can have this objective."""

    def wanted(self, labels: Int64[Tensor, "*shape"]) -> Int64[Tensor, "*shape"]:
        """Return the answers that are wanted for real examples with these true labels."""
        return labels

    def counts(self, labels: Int64[Tensor, "*shape"]) -> Int64[Tensor, "*shape"] | None:  # noqa: ARG002
        """Return how often real examples with these true labels count; None if each counts once."""
        return None

    def about(self, class_names: Sequence[str]) -> dict[str, str]:  # noqa: ARG002
        """Return its kind, and the classes that it names, as plain values for people."""
        return {"kind": self.kind}

    def words(self, class_names: Sequence[str]) -> str:  # noqa: ARG002
        """Say what networks that train on a set do; empty if they classify, as everybody expects."""
        return ""

    def warning(self, class_names: Sequence[str]) -> str:  # noqa: ARG002
        """Return the sentence that warns of a set; empty if nobody must be warned."""
        return ""
