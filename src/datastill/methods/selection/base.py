"""The contract of a selection: it gives the images of each class; all else is equal for all of them."""

import abc
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal

import torch
import tyro
from jaxtyping import Float
from torch import Tensor

from ...data import RealData
from ...errors import UserError, at_least, must_be
from ...parts import decoded, must_divide, reduced, together
from ...program import PROGRAMS, Ordered, Program, ShuffledName, suited
from ...space import Space
from ...storage.records import must_have_types
from ...synthetic import SyntheticData, by_step, must_share_evenly, start_labels
from ..base import Method, Mirror, OuterRate, State, Task
from ..teacher_labels import TeacherLabels

PROVISIONAL_STEP_SIZE = 0.01
"""The step size of an open program, before a run chooses one."""


@dataclass(frozen=True, kw_only=True)
class Selection(Method, abc.ABC):
    """Examples that follow from real images by a rule, without any iteration. Subclasses give `images`."""

    any_objective: ClassVar[bool] = True

    program: Literal["open", ShuffledName] = "open"
    """How networks are trained on the set (datastill list programs). open: in ordered steps of one step size; the step
    size, the number of epochs and the optimiser are chosen on validation images (--tune)."""
    mirror: Mirror = True
    """mirror: the siamese augmentation of a named program mirrors images left to right. no-mirror, for digits and
    letters: it does not."""
    teacher_labels: Annotated[TeacherLabels, tyro.conf.arg(name="")] = field(default=TeacherLabels())
    """The trained network that gives the labels (Qin et al. 2024); without one, labels are classes."""

    def __post_init__(self) -> None:
        must_have_types(self)
        self.teacher_labels.must_have_effect()
        if self.has_open_program and not self.mirror:
            raise UserError("mirror is False, but has no effect: the open program mirrors no image; leave mirror out")

    @abc.abstractmethod
    def images(self, task: Task) -> Float[Tensor, "classes each *shape"]:
        """Return the normalised images of each class, equally many of every class, before they are reduced."""

    @property
    def side(self) -> int:
        """Images along each side of a stored image, which holds them reduced; 1: images are stored as they are."""
        return 1

    @property
    def chosen_per_class(self) -> int:
        """How many images of each class `images` gives; 0: as many as it likes."""
        return 0

    @property
    def batches(self) -> int:
        """How many steps share the images."""
        return 1

    def sized(self, ipc: int, steps: int) -> "Selection":  # noqa: ARG002
        """Return the settings for `ipc` images per class in `steps` steps, as far as the size can be chosen."""
        return self

    @property
    def has_open_program(self) -> bool:
        """True if step size, epochs and optimiser are still to be chosen."""
        return self.program == "open"

    def init(self, task: Task) -> State:
        """Return the state that holds the images.

        Raises:
            UserError: `images` gives other images than wanted.
        """
        images = self.images(task)
        self._must_be_wanted(images, task.data)
        return State(learned={}, carried={"images": images})

    def _must_be_wanted(self, images: Tensor, data: RealData) -> None:
        must_be(f"what the method {self.name} gave", images, Tensor, "let its function images return one tensor")
        shape, wanted, nouns = tuple(images.shape), self.chosen_per_class, data.space.nouns
        if (shape[:1], shape[2:]) != ((data.classes,), data.shape):
            expected = f"({data.classes}, each, {', '.join(map(str, data.shape))})"
            raise UserError(f"the method {self.name} gave {nouns} in the shape {shape}, but it must be {expected}")
        if wanted not in (0, shape[1]):
            raise UserError(
                f"the method {self.name} gave {shape[1]} {nouns} of each class, but {wanted} are wanted (ipc * factor "
                "* factor); let its function images give self.chosen_per_class of them"
            )
        if not bool(images.isfinite().all()):
            raise UserError(
                f"the method {self.name} gave {nouns} with values that are not finite; let its function images give "
                "numbers"
            )

    def rates(self) -> Mapping[str, OuterRate]:
        """Return nothing: no tensor is learned."""
        return {}

    def result(self, task: Task, state: State) -> SyntheticData:
        """Return the images, in steps that hold every class equally often, with the labels that the objective wants.

        With a teacher, the labels are those of the teacher.
        """
        images, steps = state.carried["images"], self.batches
        labels = start_labels(task.data, ipc=images.shape[1], steps=steps).flatten()
        made = SyntheticData(
            **_stored(by_step(images, steps).flatten(0, 1), task.data.space, self.side),
            targets=task.objective.wanted(labels),
            program=self._program(task.data),
        )
        return self.teacher_labels.given(task, made)

    def _program(self, data: RealData) -> Program:
        if self.program == "open":
            return Program(order=Ordered(step_sizes=torch.full((1, self.batches), PROVISIONAL_STEP_SIZE)))
        return suited(PROGRAMS[self.program], data.shape, mirror=self.mirror)


@dataclass(frozen=True, kw_only=True)
class Sized(Selection, abc.ABC):
    """A selection of `ipc` images of each class, shared by `steps` steps."""

    ipc: int = 10
    """Images per class, as they are stored."""
    factor: int = 1
    """Images along each side of a stored image. 1: a stored image is an example. 2: it holds 4 images of half the
    height and width, rounded to 8 bits, which are enlarged before use (IDC, arXiv 2205.14959)."""
    steps: int = 1
    """Gradient steps in an epoch of the open program; each step uses other images."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("ipc (images per class)", self.ipc, 1)
        at_least("factor", self.factor, 1)
        at_least("steps", self.steps, 1)
        must_share_evenly(self.ipc, self.steps)
        if self.steps > 1 and not self.has_open_program:
            raise UserError(f"steps is {self.steps}, but has no effect: {self.program} has shuffled batches; "
                            "leave steps out")  # fmt: skip

    @property
    def batches(self) -> int:
        """How many steps share the images."""
        return self.steps

    @property
    def side(self) -> int:
        """The factor."""
        return self.factor

    @property
    def chosen_per_class(self) -> int:
        """How many images of each class `images` gives."""
        return self.ipc * self.factor**2

    def sized(self, ipc: int, steps: int) -> "Sized":
        """Return the settings for `ipc` images per class in `steps` steps, or in one if the program is named."""
        return replace(self, ipc=ipc, steps=steps if self.has_open_program else 1)

    def check(self, task: Task) -> None:
        """Raise a `UserError` if a class has too few images, or they cannot be reduced by the factor."""
        must_divide(task.data.shape, self.factor)
        task.data.must_have(self.chosen_per_class, parts=self.factor**2)


def _stored(images: Float[Tensor, "n *shape"], space: Space, factor: int) -> dict[str, Any]:
    """Return the fields of `SyntheticData` that say what its examples are: images, or images that hold them reduced."""
    if factor == 1:
        return {"inputs": images}
    stored = space.rounded(together(reduced(images, factor), factor))
    return {"inputs": decoded(stored, factor), "stored": stored, "factor": factor}


def of_class(data: RealData, label: int) -> Float[Tensor, "n *shape"]:
    """Return all normalised train images of a class."""
    return data.normalise(data.train.images[data.train.labels == label])
