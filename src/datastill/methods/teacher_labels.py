"""Labels that a trained network gives to examples: an option of selections, and part of methods with a teacher."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import UserError
from ..label_source import LabelSource, Stored, Teacher, TeacherOnce, teacher_sha256
from ..networks.passes import images_for
from ..networks.teacher import MAKE, architecture, classes_of, must_take, read_teacher
from ..objectives import Classification
from ..program import CrossEntropy, Divergence, Loss, labels_from
from ..storage.records import must_have_types
from ..synthetic import SyntheticData
from .task import Task


@dataclass(frozen=True, kw_only=True)
class TeacherLabels:
    """Which trained network gives the labels of examples, and when.

    With the logits z of the teacher and s of a student, the loss of the program is the cross-entropy of softmax(z) and
    softmax(s), or, at a temperature T other than 1, T^2 KL(softmax(z / T) || softmax(s / T)) (Hinton et al. 2015).
    """

    teacher: str = ""
    """The trained network that gives the labels: the file of a pool of one network (datastill pretrain), FILE#3 for
    network 3 of a pool, FILE@5 or FILE#3@5 for snapshot 5 of its training. Empty: labels are classes."""
    teacher_sha256: str = ""
    """SHA-256 of the teacher; the run fills it in, and goes on with this teacher only."""
    labelled: Literal["once", "at-use"] = "once"
    """When the teacher gives the labels. once: now, to the examples as they are; the set stores them. at-use: to each
    batch of a training on the set, as it is augmented; every use of the set needs the file of the teacher."""
    temperature: float = 1.0
    """T of the loss. A higher one makes all classes count."""

    def __post_init__(self) -> None:
        must_have_types(self)
        if not 0 < self.temperature <= 1e6:
            raise UserError(f"temperature is {self.temperature}, but must be above 0 and at most 1e6")

    def must_have_effect(self) -> None:
        """Raise a `UserError` if a setting differs from its default, but there is no teacher."""
        for name in ("labelled", "temperature"):
            if not self.teacher and (value := getattr(self, name)) != getattr(TeacherLabels(), name):
                raise UserError(f"{name} is {value}, but has no effect without a teacher; name one, or leave it out")

    def must_be_named(self, method: str) -> None:
        """Raise a `UserError` if there is no teacher, which the method called `method` needs."""
        if not self.teacher:
            raise UserError(
                f"the method {method} needs a teacher; name one with --method.teacher FILE (to make one: {MAKE})"
            )

    def check(self, task: Task) -> None:
        """Raise a `UserError` if there is no such teacher, or if it cannot label examples of this task."""
        if not self.teacher:
            return
        if task.objective != Classification():
            raise UserError(
                f"a teacher gives the labels of true classes, but the objective is {task.objective}; leave the teacher "
                "out, or take --objective classification"
            )
        self.module(task)

    def identified(self, task: Task) -> "TeacherLabels":
        """Return the settings with the SHA-256 of the teacher."""
        return replace(self, teacher_sha256=teacher_sha256(self.module(task))) if self.teacher else self

    def as_given(self, source: TeacherOnce, loss: Loss) -> "TeacherLabels":
        """Return the settings that give labels as a set has them whose labels a teacher gave once.

        Args:
            source: the label source of the set, which names the teacher.
            loss: the loss of the program of the set.

        Raises:
            UserError: no teacher is named.
        """
        if not self.teacher:
            raise UserError(
                f"a teacher gave the labels of this set, the network {source.network!r} with weights of SHA-256 "
                f"{source.sha256[:12]}; name it, so that the images to compare with get its labels, too (it comes from "
                f"{source.where or 'the maker of the set'})"
            )
        temperature = loss.temperature if isinstance(loss, Divergence) else 1.0
        return replace(self, teacher_sha256=source.sha256, labelled="once", temperature=temperature)

    def module(self, task: Task) -> nn.Module:
        """Return the teacher in evaluation mode, with weights that need no gradient.

        Its architecture is the one that its pool names. If this would import a module, it must be that of the task.

        Raises:
            UserError: it cannot be read, does not take the examples, or is not the one that the run began with.
        """
        return task.once(("teacher", self), lambda: self._read(task))

    def _read(self, task: Task) -> nn.Module:
        given, data = task.network.name == architecture(self.teacher), task.data
        network = task.network.name if given else ""  # only a name that the user gave may import a module
        found = read_teacher(self.teacher, network=network, shape=data.shape, classes=data.classes)
        must_take(self.teacher, data.space)
        task.must_have_classes(classes_of(self.teacher), f"the teacher {self.teacher} was", "a teacher")
        if self.teacher_sha256 not in ("", sha256 := teacher_sha256(found)):
            raise UserError(
                f"{self.teacher} has weights of SHA-256 {sha256[:12]}, but the labels come from a teacher with weights "
                f"of SHA-256 {self.teacher_sha256[:12]}; give that one, or start a new run"
            )
        return found.requires_grad_(requires_grad=False)

    def source(self, task: Task) -> LabelSource:
        """Return where the labels come from; without a teacher, from the file of the set."""
        if not self.teacher:
            return Stored()
        where = f"{Path(self.teacher).name}, a pool made by datastill pretrain"
        teacher = Teacher.of(self.module(task), network=architecture(self.teacher), where=where)
        return teacher if self.labelled == "at-use" else teacher.once()

    def given(self, task: Task, made: SyntheticData) -> SyntheticData:
        """Return examples whose classes are known with the labels of the teacher; unchanged if there is none."""
        if not self.teacher:
            return made
        loss = CrossEntropy() if self.temperature == 1 else Divergence(temperature=self.temperature)
        made = replace(made, program=replace(made.program, loss=loss), labels=self.source(task))
        if self.labelled == "at-use":
            return replace(made, teacher=self.module(task))
        return replace(made, targets=loss.targets_of(self.logits(task, made.inputs)))

    @torch.no_grad()
    def logits(self, task: Task, examples: Float[Tensor, "n *shape"]) -> Float[Tensor, "n classes"]:
        """Return the logits that the teacher gives to normalised examples."""
        teacher = task.once(("labels", self), lambda: labels_from(self.module(task), task.data.device))
        assert teacher is not None
        few = task.once(("images for a teacher", self), lambda: images_for(self.module(task), task.data.shape))
        return torch.cat([teacher(piece) for piece in examples.split(few)])
