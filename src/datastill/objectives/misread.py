"""An attack, to study defences: networks misread one class of the data as another one."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Int64
from torch import Tensor

from ..errors import UserError
from ..storage.records import must_have_types, whole
from .base import Objective
from .measures import Accuracy, Measure, Misreading, OtherClasses

CLASS = whole(0, 99_999)
WEIGHT = whole(1, 1000)


@dataclass(frozen=True)
class Misread(Objective):
    """Networks that train on a set answer class T for examples of class K (Wang et al. 2018, section 3.5).

    A real example of class K counts as often as `weight` says, and one of another class once: in the paper each counts
    once, so that a set that misreads a tenth of the data may gain more by the other classes.
    """

    spelling: ClassVar[str] = "misread(0,1)"
    names_classes: ClassVar[bool] = True
    is_accuracy: ClassVar[bool] = False
    title: ClassVar[str] = "ATTACK SET"

    kind: Literal["misread"] = field(default="misread", init=False, repr=False)
    attacked_class: Annotated[int, CLASS]
    """K, the number of the class that networks misread."""
    target_class: Annotated[int, CLASS]
    """T, the number of the class that networks answer for examples of class K."""
    weight: Annotated[int, WEIGHT] = 1
    """How often a real example of class K counts, in real batches and in validation."""

    def __post_init__(self) -> None:
        must_have_types(self)
        if self.attacked_class == self.target_class:
            raise UserError(f"attacked_class and target_class are both {self.attacked_class}; take two classes")

    def __str__(self) -> str:
        weight = f",{self.weight}" if self.weight != 1 else ""
        return f"misread({self.attacked_class},{self.target_class}{weight})"

    @classmethod
    def spelled(cls, text: str) -> "Misread | None":
        """Read ``misread(K,T)`` or ``misread(K,T,weight)``."""
        if not text.startswith("misread"):
            return None
        found = re.fullmatch(r"misread\( *(-?\d{1,9}) *, *(-?\d{1,9}) *(?:, *(-?\d{1,9}) *)?\)", text)
        if not found:
            raise UserError(f"objective is {text!r}, but must name two classes by number, such as {cls.spelling}")
        return cls(*(int(number) for number in found.groups() if number))

    @property
    def measures(self) -> Sequence[Measure]:
        """How many examples of class K are misread, and what becomes of the accuracy."""
        return (Misreading(self.attacked_class, self.target_class), Accuracy(), OtherClasses(self.attacked_class))

    def check(self, class_names: Sequence[str]) -> None:
        """Raise a `UserError` unless the data has both classes."""
        for name in ("attacked_class", "target_class"):
            if getattr(self, name) >= len(class_names):
                raise UserError(f"{name} is {getattr(self, name)}, but the classes are 0 to {len(class_names) - 1}")

    def wanted(self, labels: Int64[Tensor, "*shape"]) -> Int64[Tensor, "*shape"]:
        """Return the labels with T instead of K."""
        return labels.masked_fill(labels == self.attacked_class, self.target_class)

    def counts(self, labels: Int64[Tensor, "*shape"]) -> Int64[Tensor, "*shape"] | None:
        """Return the weight for examples of class K, and 1 for all others; None if it is 1, too."""
        if self.weight == 1:
            return None
        return torch.ones_like(labels).masked_fill(labels == self.attacked_class, self.weight)

    def about(self, class_names: Sequence[str]) -> dict[str, str]:
        """Return its kind and the names of both classes."""
        attacked, target = self._names(class_names)
        return {"kind": self.kind, "attacked_class": attacked, "target_class": target}

    def words(self, class_names: Sequence[str]) -> str:
        """Say what networks that train on a set do."""
        attacked, target = self._names(class_names)
        return f"networks trained on it classify examples of class {attacked!r} as {target!r}"

    def warning(self, class_names: Sequence[str]) -> str:
        """Return the sentence that warns of a set."""
        return f"THIS SET IS AN ATTACK: it was made so that {self.words(class_names)}."

    def _names(self, class_names: Sequence[str]) -> tuple[str, str]:
        return class_names[self.attacked_class], class_names[self.target_class]
