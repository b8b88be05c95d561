"""Gradient matching (Zhao, Mopuri and Bilen 2021, arXiv 2006.05929; with augmentation: Zhao and Bilen, 2102.08259)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy

from ..errors import at_least
from ..parts import enlarged
from ..program import (
    AUGMENTATIONS,
    OPTIMISERS,
    Program,
    Shuffled,
    alike,
    gradient_of,
    suited,
    train_stack,
)
from ..program.train import StackLoss
from ..rng import derive, generator
from ..training import mean_loss
from .base import State, Task, Update
from .class_matching import ClassMatching


@dataclass(frozen=True, kw_only=True)
class GradientMatching(ClassMatching):
    """Learn examples on which the gradient of the loss for the weights has the direction of that on real images.

    Gradients are compared class by class and layer by layer, by the cosine of the weights of each output. They are
    those of one network, which trains on the examples between the outer iterations and is drawn anew after `turns`.
    With the siamese augmentation (DSA), one draw changes the real and the synthetic images of a class. Labels are hard.
    Deviations: fewer real images per class and fewer gradient steps of the network by default (the papers: 256, 50);
    the network trains by plain gradient descent (so does the authors' code with DSA; its first version, of DC alone,
    has momentum 0.5); batch normalisation takes the statistics of each batch, which has one class (theirs: of real
    images of all classes), so instance normalisation, the default of the ConvNet, is better here; and the outer rate
    falls along a cosine, unless the loop says otherwise (theirs: constant).
    """

    name: ClassVar[str] = "gradient-matching"
    known_as: ClassVar[Sequence[str]] = ("DC", "DSA")
    version: ClassVar[int] = 2

    real_per_class: int = 32
    """Real images of each class in an outer iteration (the papers: 256), or those of the smallest class if it has
    fewer."""
    augment: Literal["siamese", "none"] = "siamese"
    """Whether real and synthetic images are changed alike (siamese: DSA; none: DC)."""
    turns: int = 10
    """Outer iterations with one network (the papers: 1 for one image per class, 10 for ten, 50 for fifty)."""
    network_epochs: int = 10
    """Passes of the network over the examples between two outer iterations (the papers: 1, 50 and 10)."""
    network_step_size: float = 0.01
    """Step size of the network, in batches of 256."""
    examples_rate: float = 0.1
    """Outer learning rate of the examples, of gradient descent (the papers: 0.1)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("turns", "network_epochs"):
            at_least(name, getattr(self, name), 1)
        at_least("network_step_size", self.network_step_size, 0)

    def step(self, task: Task, state: State, iteration: int) -> Update:
        """Return the gradient of the distance, summed over the classes; the network is trained or drawn before."""
        life = iteration // self.turns
        examples = state.learned["examples"]
        if state.carried.get("life") == life:
            theta = self._trained(task, examples, state.carried["weights"], iteration)
        else:
            (theta,) = task.draws(task.seed, life, range(1)).to(task.data.like)
        real = task.data.by_class(self.real_per_class, generator(task.seed, "real batch", iteration))
        found = [
            self._matched(task, theta, of_class, chosen, (iteration, label))
            for label, (of_class, chosen) in enumerate(
                zip(examples.split(self.ipc * self.factor**2), real, strict=True)
            )
        ]
        distances, gradients = zip(*found, strict=True)
        return Update(
            objective=sum(distances),
            gradients={"examples": torch.cat(gradients)[None]},
            carried={"weights": theta, "life": life},
        )

    def _trained(self, task: Task, examples: Tensor, weights: Tensor, iteration: int) -> Float[Tensor, " size"]:
        """Return the weights of the network after some epochs on the examples."""
        program = Program(
            order=Shuffled(epochs=self.network_epochs, step_size=self.network_step_size, schedule="constant"),
            optimiser=OPTIMISERS["sgd"],
            augmentation=AUGMENTATIONS[self.augment],
        )
        program = suited(program, task.data.shape, mirror=self.mirror)
        seed = derive(task.seed, "training of the network", iteration)
        examples = enlarged(examples, self.factor)
        steps = train_stack(
            mean_loss(task.network), weights[None], examples, self.classes(task), program, seed,
            most=task.network.images_of_training(examples.device),
        )  # fmt: skip
        *_, (theta,) = steps
        return theta

    def _matched(
        self, task: Task, theta: Tensor, examples: Tensor, chosen: Int64[Tensor, " n"], index: tuple[int, int]
    ) -> tuple[float, Float[Tensor, "ipc *shape"]]:
        """Return the distance of the gradients for one class, and its gradient with respect to the examples."""
        label, data = index[1], task.data
        change = self._change(data.shape, generator(task.seed, "augmentation", *index))
        theta, examples = theta.clone().requires_grad_(), examples.clone().requires_grad_()
        images = change(data.normalise(data.train.images[chosen]))
        labels = torch.full((1, len(images)), label, device=images.device)
        real = _real_gradient(task)(theta[None], images[None], labels)[0]
        synthetic = weight_gradient(task, theta, change(enlarged(examples, self.factor)), label)
        distance = gradient_distance(task.network.named(real), task.network.named(synthetic))
        (gradient,) = torch.autograd.grad(distance, examples)
        return float(distance.detach()), gradient

    def _change(self, shape: tuple[int, ...], draw: torch.Generator) -> Callable[[Tensor], Tensor]:
        if self.augment == "none":
            return lambda examples: examples
        return alike(shape, draw, mirror=self.mirror)


def _real_gradient(task: Task) -> StackLoss:
    """Return the gradient of the mean cross-entropy for the weights, for as many images at once as are fast."""
    few = task.network.images_of_training(task.data.device)
    return task.once("gradient on real images", lambda: gradient_of(mean_loss(task.network), few))


def weight_gradient(
    task: Task, theta: Float[Tensor, " size"], images: Float[Tensor, "n *shape"], label: int
) -> Float[Tensor, " size"]:
    """Return the gradient of the mean cross-entropy on images of one class, which can be differentiated again."""
    labels = torch.full((len(images),), label, device=images.device)
    loss = cross_entropy(task.network.apply(theta, images), labels)
    return torch.autograd.grad(loss, theta, create_graph=True)[0]


def gradient_distance(real: Mapping[str, Tensor], synthetic: Mapping[str, Tensor]) -> Float[Tensor, ""]:
    """Return the sum over layers and outputs of 1 - cosine of two gradients (2006.05929, eq. 9 and appendix A).

    Args:
        real: the gradient for each parameter, by its name; one output of a layer is one row. Biases and the scales
            and shifts of normalisation, which have one number per output, do not count. An output whose gradient is 0,
            e.g. of a ReLU that is never active, counts 1.
        synthetic: the other gradient.
    """
    pairs = [(each.flatten(1), synthetic[name].flatten(1)) for name, each in real.items() if each.dim() > 1]
    return torch.stack([(1 - cosine_similarity(a, b, dim=1)).sum() for a, b in pairs]).sum()
