"""The usual objective: networks classify the data."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from .base import Objective


@dataclass(frozen=True)
class Classification(Objective):
    """Networks that train on a set classify the data (Wang et al. 2018, equation 4)."""

    spelling: ClassVar[str] = "classification"

    kind: Literal["classification"] = field(default="classification", init=False, repr=False)

    def __str__(self) -> str:
        return self.spelling

    @classmethod
    def spelled(cls, text: str) -> "Classification | None":
        """Read ``classification``."""
        return cls() if text == cls.spelling else None
