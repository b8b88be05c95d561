"""Crops that a teacher is sure of, several in one image (RDED: Sun et al. 2024, arXiv 2312.03526)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar

import torch
import tyro
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import cross_entropy, interpolate

from ..data import RealData
from ..errors import UserError, at_least
from ..parts import must_divide, together
from ..program import PROGRAMS, ShuffledName, suited
from ..program.augmentation import picked
from ..rng import generator
from ..storage.records import must_have_types
from ..synthetic import SyntheticData, start_labels
from .base import Method, Mirror, OuterRate, State, Task
from .teacher_labels import TeacherLabels

PIECE = 50
"""Real images of which crops are made at once."""
SMALL = 64
"""Sides up to this one are small: half of such an image shows too little of its class."""


@dataclass(frozen=True, kw_only=True)
class TeacherCrops(Method):
    """Put the crops of real images that a teacher is most sure of together, `factor` x `factor` in one image.

    Of each class y, `real_per_class` real images x_i are drawn, and of each of them crops c_ij, j = 1..`crops`, whose
    area is 1 / `factor` of the image. With logits z of the teacher, the realism of a crop is log p_y(c) = log
    softmax(z(c))_y. Of each image, the crop of the largest realism is kept; of these, the ipc * factor^2 with the
    largest realism. Each is scaled to 1 / `factor` of the height and width, and factor^2 of them, in the order of
    realism, make an image. The labels are those of the teacher, by default of each batch as it is augmented, with the
    divergence at a temperature of 20. Nothing is learned. Deviations: a crop is scaled to a whole image before the
    teacher judges it, and has its proportions; all crops have the same area, so that with factor 1 there is only the
    whole image (the authors' code: squares of 8 to 100 % of the area, at random, with every factor); networks are
    trained by a named program of the library (the paper: AdamW, exchanged parts, random crops and CutMix).
    """

    name: ClassVar[str] = "teacher-crops"
    known_as: ClassVar[Sequence[str]] = ("RDED",)
    less_memory: ClassVar[str] = "take fewer --method.crops, or a smaller teacher, in a new run"

    ipc: int = 10
    """Images per class."""
    factor: int = 0
    """Crops along each side of an image. 1: an example is a whole real image. 0: as in the paper, 1 for small images
    (a side of at most 64), 2 for others."""
    real_per_class: int = 300
    """Real images of each class that crops are made of, or all of the smallest class if it has fewer."""
    crops: int = 5
    """Random crops of each real image. With factor 1 there is only one, the whole image."""
    mirror: Mirror = True
    """mirror: the siamese augmentation of the program mirrors images left to right. no-mirror, for digits and letters:
    it does not."""
    program: ShuffledName = "shuffled-300-adam"
    """How networks are trained on the set (datastill list programs), with the loss of the teacher's labels."""
    teacher_labels: Annotated[TeacherLabels, tyro.conf.arg(name="")] = field(
        default=TeacherLabels(labelled="at-use", temperature=20.0)
    )
    """The teacher, which chooses the crops and gives the labels."""

    def __post_init__(self) -> None:
        must_have_types(self)
        for name in ("ipc", "real_per_class", "crops"):
            at_least(name, getattr(self, name), 1)
        at_least("factor", self.factor, 0)

    @property
    def without_effect(self) -> Mapping[str, str]:
        """The number of crops, if images stay whole."""
        return {"crops": "with factor 1 an example is a whole image"} if self.factor == 1 else {}

    def fitted(self, data: RealData) -> "TeacherCrops":
        """Return the settings with no more real images per class than the smallest class has, and with the factor."""
        factor = self.factor or (1 if min(data.shape[-2:]) <= SMALL else 2)
        return replace(self, real_per_class=min(self.real_per_class, data.smallest_class), factor=factor)

    def check(self, task: Task) -> None:
        """Raise a `UserError` if there is no teacher, the examples are no images, or there are too few of them."""
        shape, needed = task.data.shape, self.ipc * self.factor**2
        self.teacher_labels.must_be_named(self.name)
        at_least("factor, fitted to the data,", self.factor, 1)
        if len(shape) != 3:
            raise UserError(f"the method {self.name} cuts images, but the examples are {task.data.space.nouns}")
        must_divide(shape, self.factor)
        if needed > self.real_per_class:
            raise UserError(
                f"ipc {self.ipc} with factor {self.factor} needs crops of {needed} real images of each class, but "
                f"real_per_class is {self.real_per_class}; take a smaller ipc or factor, or more real images"
            )
        task.data.must_have(self.real_per_class)

    def rates(self) -> Mapping[str, OuterRate]:
        """Return nothing: no tensor is learned."""
        return {}

    def init(self, task: Task) -> State:
        """Return the state that holds the images, in class order."""
        which = task.data.by_class(self.real_per_class, generator(task.seed, "real images"))
        images = [self._of_class(task, label, members) for label, members in enumerate(which)]
        return State(learned={}, carried={"examples": torch.cat(images)})

    def _of_class(self, task: Task, label: int, which: Int64[Tensor, " n"]) -> Float[Tensor, "ipc *shape"]:
        """Return the examples of a class, made of the train images `which`."""
        draw, found = generator(task.seed, "crops", label), []
        for piece in which.split(PIECE):
            images = task.data.normalise(task.data.train.images[piece])
            found.append(self._surest(task, images, label, draw))
        losses, crops = (torch.cat(each) for each in zip(*found, strict=True))
        kept = losses.argsort(stable=True)[: self.ipc * self.factor**2]
        return together(crops[kept], self.factor)

    def _surest(
        self, task: Task, images: Float[Tensor, "n c h w"], label: int, draw: torch.Generator
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, "n c small_h small_w"]]:
        """Return the smallest loss of the teacher on a crop of each image, and this crop, scaled to its place."""
        count, height, width = len(images), *images.shape[2:]
        many = images.repeat_interleave(self.crops if self.factor > 1 else 1, dim=0)
        crops = cropped(many, self.factor, draw)
        logits = self.teacher_labels.logits(task, scaled(crops, (height, width)))
        losses = cross_entropy(logits, torch.full((len(many),), label, device=images.device), reduction="none")
        least, best = losses.view(count, -1).min(1)
        chosen = crops.unflatten(0, (count, -1))[torch.arange(count, device=images.device), best]
        return least, scaled(chosen, (height // self.factor, width // self.factor))

    def result(self, task: Task, state: State) -> SyntheticData:
        """Return the images with the labels of the teacher, and the program."""
        made = SyntheticData(
            inputs=state.carried["examples"],
            targets=start_labels(task.data, ipc=self.ipc, steps=1)[0],
            program=suited(PROGRAMS[self.program], task.data.shape, mirror=self.mirror),
        )
        return self.teacher_labels.given(task, made)


def cropped(images: Float[Tensor, "n c h w"], factor: int, draw: torch.Generator) -> Float[Tensor, "n c a b"]:
    """Return a random crop of each image, with 1 / factor of its area, and its proportions up to rounding."""
    height, width = (max(round(side / factor**0.5), 1) for side in images.shape[2:])
    places = []
    for side, part in zip(images.shape[2:], (height, width), strict=True):
        first = torch.randint(side - part + 1, (len(images), 1), generator=draw)
        places.append(first + torch.arange(part))
    return picked(images, *places)


def scaled(images: Float[Tensor, "n c h w"], size: tuple[int, int]) -> Float[Tensor, "n c a b"]:
    """Return images of another size (height, width), by linear interpolation over all pixels that fall into one."""
    return interpolate(images, size, mode="bilinear", antialias=True)
