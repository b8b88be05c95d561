"""Kernel ridge regression: learn examples from which a closed form predicts the labels of real data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ..data import RealData
from ..errors import UserError, at_least
from ..networks.head import logits_of
from ..program import PROGRAMS, Adam, Divergence, ShuffledName, SquaredError, centred, mirrored, suited
from ..rng import generator
from ..synthetic import (
    Coordinates,
    SyntheticData,
    basis,
    choose_coordinates,
    must_have_coordinates,
)
from .base import Carried, Mirror, OuterRate, State, Task, Update
from .continuing import must_have_count, must_have_factor
from .in_class_order import InClassOrder
from .kernels import fully_connected, ridge_predictions

LEAST_PROBABILITY = 1e-6
"""Smaller probabilities in the labels of a warm start count as this one."""


@dataclass(frozen=True, kw_only=True)
class KernelRidge(InClassOrder):
    """Learn examples and their targets by the squared error of kernel ridge regression on real data.

    The kernel is either the product of features of a pool of networks, which train on the set while it is learned and
    are drawn anew when they are old (FRePo: Zhou, Nezhadarya and Ba 2022, arXiv 2206.00719), or that of a fully
    connected network of infinite width (KIP: Nguyen, Chen and Lee 2021, arXiv 2011.00050). Deviations: the outer
    optimiser is Adam and not LAMB, examples are learned in principal coordinates of the real images, which are whitened
    only if the data asks for it, there is no penalty on the margin of labels, and the targets are made larger before
    networks learn them.
    """

    name: ClassVar[str] = "kernel-ridge"
    known_as: ClassVar[Sequence[str]] = ("KIP", "FRePo")
    given_by_warm_start: ClassVar[Mapping[str, str]] = {"start_from": "examples and labels"}

    kernel: Literal["features", "fully-connected"] = "features"
    """The kernel:
    - features: products of the features (inputs of the last linear layer) of a network of the pool.
    - fully-connected: the tangent kernel of a fully connected ReLU network of infinite width; fast for small images,
      and no network is computed."""
    ridge: float = 1e-6
    """Strength of the ridge penalty, as a share of the mean of the kernel of an example with itself; above 0."""
    real_batch: int = 256
    """Real images in an outer iteration (the papers: 1024, 5000), or the whole train split if it is smaller."""
    examples_rate: float = 0.01
    """Outer learning rate of the examples."""
    labels_rate: float = 0.01
    """Outer learning rate of the targets, which start as one-hot vectors minus 1 / classes; 0: they stay."""
    coordinates: Coordinates = "auto"
    """Coordinates in which the examples are learned:
    - principal: the principal components of the real images.
    - pixels: as in the papers.
    - auto: principal, or pixels if the images are too large for principal components."""
    pool: int = 10
    """Kernel features: networks in the pool. Each outer iteration takes one of them at random."""
    age: int = 100
    """Kernel features: gradient steps after which a network of the pool is old, and is drawn anew."""
    pool_step_size: float = 1e-3
    """Kernel features: step size of Adam, with which the network of an outer iteration then takes one gradient step on
    the whole set (the paper: 3e-4)."""
    depth: int = 2
    """Kernel fully-connected: hidden layers of the network."""
    scale: float = 30.0
    """With a program that uses the squared error, the labels of the finished set are scale x targets: networks learn
    large targets in fewer steps, and their size does not change which class is predicted (docs/LOG.md). Classes, as
    random real images beside the set have them, are made as large by its program."""
    sharpness: float = 4.0
    """With any other program, the labels of the finished set are the probabilities softmax(sharpness x targets)."""
    mirror: Mirror = True
    """mirror: half of the real images are mirrored left to right, the kernel has a mirrored copy of each example beside
    it, and images are mirrored at use. no-mirror, for digits and letters: none of this."""
    program: ShuffledName = "shuffled-300-squared"
    """How networks are trained on the finished set (datastill list programs)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("real_batch", "pool", "age"):
            at_least(name, getattr(self, name), 1)
        for name in ("examples_rate", "labels_rate", "pool_step_size", "depth"):
            at_least(name, getattr(self, name), 0)
        for name in ("ridge", "scale", "sharpness"):
            if getattr(self, name) <= 0:
                raise UserError(f"{name} is {getattr(self, name)}, but must be above 0")

    @property
    def without_effect(self) -> Mapping[str, str]:
        """The settings of the kernel and of the labels that are not taken."""
        of_kernel = ("depth",) if self.kernel == "features" else ("pool", "age", "pool_step_size")
        found = dict.fromkeys(of_kernel, f"the kernel is {self.kernel}")
        if isinstance(PROGRAMS[self.program].loss, SquaredError):
            return found | {"sharpness": f"the program {self.program} uses the squared error"}
        return found | {"scale": f"the program {self.program} uses no squared error"}

    def fitted(self, data: RealData) -> "KernelRidge":
        """Return the settings with a real batch no larger than the train split, and with the choice of ``auto``."""
        coordinates = choose_coordinates(data, self.coordinates, self.factor)
        return replace(self, real_batch=min(self.real_batch, len(data.train)), coordinates=coordinates)

    def check(self, task: Task) -> None:
        """Raise a `UserError` if images, network or program do not fit the settings."""
        if task.warm_start:
            must_have_factor(task.warm_start, self.factor)
            must_have_count(task.warm_start, self.ipc * self.factor**2 * task.data.classes)
        else:
            super().check(task)
        must_have_coordinates(task.data, self.coordinates, self.factor)
        if self.kernel == "features":
            task.features()

    def init(self, task: Task) -> State:
        """Return the coordinates of the examples, their targets and a pool of new networks.

        The first networks are renewed at different ages, so that later only a few of the pool are young.
        """
        start = task.warm_start
        examples, labels = self._earlier(start) if start else (self.first(task), self.classes(task))
        learned = {
            "examples": basis(task.data, self.coordinates, self.factor).coordinates(examples),
            "labels": centred(labels, task.data.classes).to(examples),
        }
        if self.kernel != "features":
            return State(learned=learned)
        pool = [self._new(task, i, life=0) for i in range(self.pool)]
        return State(learned=learned, carried={"pool": pool})

    def _earlier(self, start: SyntheticData) -> tuple[Tensor, Tensor]:
        """Return the examples of an earlier set, or their parts, and its classes or targets (as in `result`)."""
        if not start.targets.is_floating_point():
            return start.parts, start.targets
        loss = start.program.loss
        if isinstance(loss, SquaredError):
            return start.parts, start.targets / loss.scale
        if isinstance(loss, Divergence):
            logits = start.targets / loss.temperature
        else:
            logits = start.targets.clamp(min=LEAST_PROBABILITY).log()
        return start.parts, (logits - logits.mean(1, keepdim=True)) / self.sharpness

    def _new(self, task: Task, i: int, life: int) -> Carried:
        """Return network i of the pool in one of its lives, with the state of its optimiser before the first step."""
        (theta,) = task.draws(task.seed, life * self.pool + i, range(1))
        weights = list(Adam().start(theta[None].to(task.data.like)))
        left = self.age if life else -(-self.age * (i + 1) // self.pool)
        return {"weights": weights, "steps": 0, "left": left, "life": life}

    def rates(self) -> Mapping[str, OuterRate]:
        """Return the outer learning rates of the examples and of the targets."""
        rates = {"examples": OuterRate(rate=self.examples_rate)}
        return rates | {"labels": OuterRate(rate=self.labels_rate)} if self.labels_rate else rates

    def step(self, task: Task, state: State, iteration: int) -> Update:
        """Return the gradient of half the squared error on a real batch; a network of the pool takes a step."""
        draw = generator(task.seed, "real batch", iteration)
        real, labels = task.data.batch(draw, self.real_batch)
        learned = {name: state.learned[name].clone().requires_grad_() for name in ("examples", "labels")}
        examples = basis(task.data, self.coordinates, self.factor).examples(learned["examples"])
        targets, carried = learned["labels"], {}
        if self.mirror and len(task.data.shape) == 3:
            real = mirrored(real, draw)
            examples, targets = torch.cat([examples, examples.flip(3)]), torch.cat([targets, targets])
        if "pool" in state.carried:
            (cross, square), carried = self._of_features(task, state, iteration, real, examples, targets)
        else:
            real, examples = real.double(), examples.double()
            cross, square = (fully_connected(each, examples, self.depth) for each in (real, examples))
        predictions = ridge_predictions(cross, square, targets, self.ridge)
        objective = SquaredError()(predictions, labels).mean()
        names = tuple(self.rates())
        gradients = torch.autograd.grad(objective, [learned[name] for name in names])
        return Update(
            objective=float(objective.detach()),
            gradients={name: gradient[None] for name, gradient in zip(names, gradients, strict=True)},
            carried=carried,
        )

    def _of_features(
        self, task: Task, state: State, iteration: int, real: Tensor, examples: Tensor, targets: Tensor
    ) -> tuple[tuple[Tensor, Tensor], Carried]:
        """Return the kernels of one network of the pool, and the pool in which this network is a gradient step older.

        Both use one forward pass of the examples.

        Returns:
            the kernel of real images and examples, and that of each two examples, in float64; the new pool.
        """
        pool = state.carried["pool"]
        i = int(torch.randint(len(pool), (), generator=generator(task.seed, "network of the pool", iteration)))
        (weights,) = pool[i]["weights"][0]
        theta = weights.clone().requires_grad_()
        embedded = partial(task.features().in_pieces, theta)
        features = embedded(examples)
        with torch.no_grad():
            of_real = embedded(real).double()
        errors = SquaredError()(logits_of(task.network, theta, features), targets.detach())
        older = self._older(task, i, pool[i], theta, errors.mean())
        features = features.double()
        return (of_real @ features.T, features @ features.T), {"pool": [*pool[:i], older, *pool[i + 1 :]]}

    def _older(self, task: Task, i: int, member: Carried, theta: Tensor, loss: Tensor) -> Carried:
        """Return network i of the pool after a gradient step along a loss of its weights; a new one if it is old."""
        if member["steps"] + 1 >= member["left"]:
            return self._new(task, i, member["life"] + 1)
        (gradient,) = torch.autograd.grad(loss, theta, retain_graph=True)
        size = torch.tensor(self.pool_step_size)
        weights = list(Adam().update(tuple(member["weights"]), gradient[None], size, member["steps"]))
        return member | {"weights": weights, "steps": member["steps"] + 1}

    def result(self, task: Task, state: State) -> SyntheticData:
        """Return the examples in normalised pixels, with labels that suit the loss of the program."""
        program, targets = PROGRAMS[self.program], state.learned["labels"]
        if isinstance(program.loss, SquaredError):
            program, targets = replace(program, loss=SquaredError(scale=self.scale)), self.scale * targets
        else:
            targets = (self.sharpness * targets).softmax(1)
        return SyntheticData(
            **basis(task.data, self.coordinates, self.factor).made(state.learned["examples"]),
            targets=targets,
            program=suited(program, task.data.shape, mirror=self.mirror),
        )
