"""The label source of a set: where the labels come from that networks are trained with."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn

from .errors import UserError
from .storage.files import digest
from .storage.records import kind_of, must_have_types, text
from .user_modules import unwrapped

FLOAT_TYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
SHA256 = text(64, 64)


@dataclass(frozen=True, kw_only=True)
class LabelSource:
    """Where labels come from: a frozen record of plain values."""

    words: ClassVar[str] = ""
    """The kind of labels in words, unless they are hard."""
    column: ClassVar[str] = "soft"
    """The column of a table that accuracies with these labels belong into, unless they are hard."""
    kind: str = field(default="", init=False)
    """The name of the label source in files."""

    def check(self, targets: Tensor, count: int, classes: int) -> None:
        """Raise a `UserError` unless the labels in a file fit the source, `count` examples and the classes.

        The values are finite already.
        """
        if targets.is_floating_point():
            _must_have_shape(targets, (count, classes))
        else:
            _must_be_classes(targets, count, classes)

    def must_be_stored(self) -> None:
        """Raise a `UserError` that says how to get the labels, unless the file holds them."""

    def code(self, shape: tuple[int, ...], classes: int) -> str:  # noqa: ARG002
        """Return Python code that gives a set called ``distilled`` its labels; empty if its file holds them."""
        return ""

    def check_teacher(self, teacher: nn.Module) -> None:  # noqa: ARG002
        """Raise a `UserError` unless this trained network gives the labels."""
        raise UserError("a teacher is given, but has no effect: the set holds its labels; leave the teacher out")


@dataclass(frozen=True, kw_only=True)
class Stored(LabelSource):
    """The file holds a label for each example: a class (hard), or a probability of every class (soft)."""

    kind: Literal["stored"] = field(default="stored", init=False)
    words = "soft"

    def check(self, targets: Tensor, count: int, classes: int) -> None:
        """Soft labels must not be negative."""
        super().check(targets, count, classes)
        if targets.is_floating_point() and not bool((targets >= 0).all()):
            raise UserError(
                f"the labels are probabilities, but the smallest is {targets.min():.3g}; for labels of any sign, such "
                "as those of squared error, give Signed() as labels of the header"
            )


@dataclass(frozen=True, kw_only=True)
class Signed(LabelSource):
    """The file holds a number of any sign for each example and class, e.g. learned targets of squared error."""

    kind: Literal["signed"] = field(default="signed", init=False)
    words = "signed"

    def check(self, targets: Tensor, count: int, classes: int) -> None:
        """Labels must be numbers for each class."""
        _must_have_shape(targets, (count, classes))


@dataclass(frozen=True, kw_only=True)
class PerEpoch(LabelSource):
    """The file holds labels of one row per epoch, (epochs, n, classes); further epochs use the rows again."""

    kind: Literal["per-epoch"] = field(default="per-epoch", init=False)
    words = "soft, other ones in each epoch"

    def check(self, targets: Tensor, count: int, classes: int) -> None:
        """There must be one row of labels, at least."""
        if targets.dim() != 3 or not len(targets):
            raise UserError(f"labels have shape {tuple(targets.shape)}, but must be (epochs, {count}, {classes})")
        _must_have_shape(targets[0], (count, classes))


@dataclass(frozen=True, kw_only=True)
class OfTeacher(LabelSource):
    """Labels that a trained network gives."""

    sha256: Annotated[str, SHA256]
    """SHA-256 of the teacher's weights and statistics (`teacher_sha256`)."""
    network: Annotated[str, text(4096, 1)]
    """The architecture of the teacher, e.g. ``convnet(depth=3)``."""
    where: Annotated[str, text(2000)] = ""
    """Where to get the teacher, e.g. an address or the command that trains it."""

    def __post_init__(self) -> None:
        must_have_types(self)


@dataclass(frozen=True, kw_only=True)
class TeacherOnce(OfTeacher):
    """The file holds the numbers of each class that a trained network gave to each example as it is stored."""

    kind: Literal["teacher-once"] = field(default="teacher-once", init=False)
    words = "soft, given once by a teacher"
    column = "teacher once"

    def check(self, targets: Tensor, count: int, classes: int) -> None:
        """Labels must be numbers for each class: probabilities, or logits for the divergence."""
        _must_have_shape(targets, (count, classes))


@dataclass(frozen=True, kw_only=True)
class Teacher(OfTeacher):
    """A trained network gives the labels while a network is trained; the file holds the class of each example."""

    kind: Literal["teacher"] = field(default="teacher", init=False)
    words = "of a teacher"
    column = "teacher"

    def check(self, targets: Tensor, count: int, classes: int) -> None:
        """The classes of the examples must be known."""
        _must_be_classes(targets, count, classes)

    @classmethod
    def of(cls, teacher: nn.Module, *, network: str, where: str = "") -> "Teacher":
        """Return the label source of a trained network; for the arguments see the fields."""
        return cls(sha256=teacher_sha256(teacher), network=network, where=where)

    def once(self) -> TeacherOnce:
        """Return the label source of the labels that this teacher gives to the examples as they are stored."""
        return TeacherOnce(sha256=self.sha256, network=self.network, where=self.where)

    def check_teacher(self, teacher: nn.Module) -> None:
        """Compare the SHA-256 of its weights."""
        found = teacher_sha256(teacher)
        if found != self.sha256:
            raise UserError(
                f"the teacher has weights of SHA-256 {found[:12]}, but the labels of this set come from weights of "
                f"SHA-256 {self.sha256[:12]}; give the teacher with these weights"
            )

    def code(self, shape: tuple[int, ...], classes: int) -> str:
        """Return Python code that reads the teacher from a file of the user."""
        return f"""from datastill.networks.teacher import read_teacher

# SHA-256 of the teacher: {self.sha256[:12]}; a file of weights, or a network of a pool: FILE#3
teacher = read_teacher("teacher.safetensors", network={self.network!r}, shape={shape}, classes={classes})
distilled = distilled.with_teacher(teacher)
"""

    def must_be_stored(self) -> None:
        """Say which teacher it is, and where to get it."""
        found = f"get it from {self.where}" if self.where else "ask the maker of the set for it"
        raise UserError(
            f"the labels of this set come from a teacher, the network {self.network!r} with weights of SHA-256 "
            f"{self.sha256}, which is not there; {found}, and give it to with_teacher(...), "
            "or give the file of its weights, or its pool, with --teacher"
        )


def source_of(targets: Tensor) -> LabelSource:
    """Return the label source of labels that a file holds, by their shape and sign."""
    if targets.dim() == 3:
        return PerEpoch()
    return Signed() if targets.is_floating_point() and bool((targets < 0).any()) else Stored()


def teacher_sha256(model: nn.Module) -> str:
    """Return the SHA-256 of all weights and statistics of a model (its ``state_dict``), in safetensors format."""
    state = unwrapped(model).state_dict()
    return digest("", {name: value.detach().cpu().contiguous().clone() for name, value in state.items()})


LABEL_SOURCES: Mapping[str, type[LabelSource]] = {
    "stored": Stored,
    "signed": Signed,
    "per-epoch": PerEpoch,
    "teacher": Teacher,
    "teacher-once": TeacherOnce,
}
"""The label sources by the name ``kind`` that a file has for them."""
LABELS = kind_of(LABEL_SOURCES)
"""The rule of a label source."""


def _must_have_shape(targets: Tensor, wanted: tuple[int, int]) -> None:
    if not targets.is_floating_point():
        raise UserError(f"labels are of type {targets.dtype}, but must be floating-point numbers, one for each class")
    if tuple(targets.shape) != wanted:
        raise UserError(
            f"soft labels have shape {tuple(targets.shape)}, but for {wanted[0]} examples and {wanted[1]} class names "
            f"it must be {wanted}"
        )


def _must_be_classes(targets: Tensor, count: int, classes: int) -> None:
    if targets.dtype != torch.int64:
        raise UserError(f"labels are of type {targets.dtype}, but must be int64, or one probability for each class")
    if tuple(targets.shape) != (count,):
        raise UserError(f"labels have shape {tuple(targets.shape)}, but for {count} examples it must be ({count},)")
    if not 0 <= int(targets.min()) <= int(targets.max()) < classes:
        raise UserError(
            f"labels go from {int(targets.min())} to {int(targets.max())}, but with {classes} class names they must be "
            f"0 to {classes - 1}"
        )
