"""Images that a teacher sees as it sees its own real images (SRe2L: Yin et al. 2023, arXiv 2306.13092)."""

import copy
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import torch
import tyro
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ..errors import UserError, at_least
from ..networks.functional import batch_norms
from ..parts import enlarged
from ..program import AUGMENTATIONS, ShuffledName
from ..rng import generator
from ..synthetic import StartFrom, SyntheticData
from .base import OuterRate, State, Task, Update
from .in_class_order import InClassOrder
from .teacher_labels import TeacherLabels


@dataclass(frozen=True, kw_only=True)
class TeacherInversion(InClassOrder):
    """Learn images that a teacher with batch normalisation classifies well, and whose statistics are its running ones.

    The objective of a batch of examples x with classes y is

        CE(z(x), y) + statistics * sum_l w_l (|mean_l(x) - m_l| + |variance_l(x) - v_l|),

    with the logits z of the teacher in evaluation mode; the means and variances of the channels that its layer l of
    batch normalisation is given, over all images and pixels of the batch; its running statistics m_l and v_l; the
    Euclidean norm |.|; and w_l = `first_layer` for the first layer, 1 for all others. The batch is shifted and mirrored
    at random before. If examples start from noise, real images are used only to train the teacher and to validate. The
    labels are those of the teacher, by default of each batch as it is augmented, with the divergence at a temperature
    of 20. Deviations: batches are shifted by whole pixels, as in the authors' code for CIFAR (for ImageNet: random
    crops, scaled), and learned values are not clipped to the range of pixels; networks are trained by a named program
    of the library (the paper: AdamW, random crops, CutMix).
    """

    name: ClassVar[str] = "teacher-inversion"
    known_as: ClassVar[Sequence[str]] = ("SRe2L",)
    less_memory: ClassVar[str] = "take a smaller --method.batch, or a smaller teacher, in a new run"

    batch: int = 100
    """Examples whose statistics are taken together, of all classes in turn; each batch is learned independently."""
    statistics: float = 0.01
    """Weight of the distance of the statistics (the authors: 0.01 for ImageNet and CIFAR, 1 for Tiny-ImageNet)."""
    first_layer: float = 10.0
    """Weight of the first layer of batch normalisation, relative to each other one."""
    start_from: StartFrom = "noise"
    """How the examples start: as noise from N(0, 1), or as real images."""
    examples_rate: float = 0.25
    """Outer learning rate of the examples, of Adam (the authors: 0.25, or 0.1 for Tiny-ImageNet, with --loop.betas 0.5
    0.9, and 1000 to 4000 outer iterations)."""
    program: ShuffledName = "shuffled-300-adam"
    """How networks are trained on the set (datastill list programs), with the loss of the teacher's labels."""
    teacher_labels: Annotated[TeacherLabels, tyro.conf.arg(name="")] = field(
        default=TeacherLabels(labelled="at-use", temperature=20.0)
    )
    """The teacher, which is inverted and gives the labels."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("batch", self.batch, 1)
        for name in ("statistics", "first_layer", "examples_rate"):
            at_least(name, getattr(self, name), 0)

    def check(self, task: Task) -> None:
        """Raise a `UserError` if there is no teacher with running statistics, or the examples cannot start."""
        super().check(task)
        self.teacher_labels.must_be_named(self.name)
        if not batch_norms(self.teacher_labels.module(task)):
            raise UserError(
                f"the teacher {self.teacher_labels.teacher} has no batch normalisation, whose statistics the method "
                f"{self.name} needs; pretrain one that has, such as --network 'convnet(norm=batch)'"
            )

    def rates(self) -> Mapping[str, OuterRate]:
        """Return the outer learning rate of the examples."""
        return {"examples": OuterRate(rate=self.examples_rate, average=False)}

    def step(self, task: Task, state: State, iteration: int) -> Update:
        """Return the gradient of the objective of each batch, and the mean objective."""
        examples, labels, objectives = state.learned["examples"], self.classes(task), []
        gradient = torch.zeros_like(examples)
        for part, which in enumerate(self._batches(task)):
            images = examples[which].requires_grad_()
            changed = self._changed(
                task, enlarged(images, self.factor), generator(task.seed, "augmentation", iteration, part)
            )
            objective = self._objective(task, changed, labels[which])
            (gradient[which],) = torch.autograd.grad(objective, images)
            objectives.append(float(objective.detach()))
        return Update(objective=sum(objectives) / len(objectives), gradients={"examples": gradient[None]})

    def _batches(self, task: Task) -> tuple[Int64[Tensor, " b"], ...]:
        """Return the indices of the examples of each batch: one of each class, then the next one of each class, ..."""
        each = self.ipc * self.factor**2
        order = torch.arange(task.data.classes * each, device=task.data.device)
        return order.view(task.data.classes, each).T.flatten().split(self.batch)

    def _changed(self, task: Task, images: Tensor, draw: torch.Generator) -> Tensor:
        augmentation = AUGMENTATIONS["shift-flip" if self.mirror else "shift"]
        if augmentation is None or len(task.data.shape) != 3:
            return images
        return augmentation.draw(len(images), task.data.shape, draw)(images)

    def _objective(self, task: Task, images: Tensor, labels: Tensor) -> Float[Tensor, ""]:
        teacher = task.once(
            ("teacher here", self.teacher_labels),
            lambda: copy.deepcopy(self.teacher_labels.module(task)).to(task.data.like),
        )
        logits, distances = seen(teacher, images)
        weights = torch.ones_like(distances)
        weights[0] = self.first_layer
        return cross_entropy(logits, labels) + self.statistics * (weights * distances).sum()

    def result(self, task: Task, state: State) -> SyntheticData:
        """Return the examples with the labels of the teacher, and the program."""
        return self.teacher_labels.given(task, super().result(task, state))


def seen(
    teacher: nn.Module, images: Float[Tensor, "b *shape"]
) -> tuple[Float[Tensor, "b classes"], Float[Tensor, " layers"]]:
    """Return the logits of a teacher in evaluation mode, and how far the batch is from its running statistics.

    The distance of a layer of batch normalisation is |mean - running mean| + |variance - running variance|, with the
    mean and variance of each channel of its input over the whole batch.
    """
    distances: list[Tensor] = []

    def measure(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        channels = inputs[0].transpose(0, 1).flatten(1)
        mean, variance = channels.mean(1), channels.var(1, correction=0)
        known = [layer.get_buffer(name) for name in ("running_mean", "running_var")]
        distances.append((mean - known[0]).norm() + (variance - known[1]).norm())

    with ExitStack() as hooks:
        for layer in batch_norms(teacher):
            hooks.callback(layer.register_forward_pre_hook(measure).remove)
        logits = teacher(images)
    return logits, torch.stack(distances)
