"""Trajectory matching (Cazenavette et al. 2022, arXiv 2203.11932): follow the path of training on real data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ..data import RealData
from ..errors import UserError, at_least, counted
from ..networks.pool import Pool, load_pool
from ..program import AUGMENTATIONS, PROGRAMS, Program, Shuffled, ShuffledName, suited
from ..rng import derive, generator
from ..synthetic import (
    Coordinates,
    SyntheticData,
    basis,
    choose_coordinates,
    must_have_coordinates,
    positive,
    probabilities,
    raw,
    raw_labels,
    through_softmax,
)
from ..training import EagerSteps, Hypergradient, differentiated, mean_loss
from .base import LearnedTensors, OuterRate, State, Task, Update
from .in_class_order import InClassOrder

EXPERTS = (
    "--count 20 --epochs 20 --snapshots 20 --batch 256 --rate 0.01 --schedule constant --optimiser sgd "
    "--augmentation siamese"
)
"""Options of datastill pretrain that train experts as in the paper, with fewer of them and fewer epochs."""


@dataclass(frozen=True, kw_only=True)
class TrajectoryMatching(InClassOrder):
    """Learn examples on which a network gets, in a few gradient steps, to where training on real data brings it.

    The path of training on real data is that of an expert: a network of a pool with snapshots. From the weights of one
    snapshot, the network trains on the examples, and the objective is its squared distance from a later snapshot of the
    expert, divided by the squared distance of the two snapshots (eq. 2). One step size is learned too. Deviations:
    the outer optimiser is Adam, with rates that fall along a cosine, unless the loop says otherwise (the paper:
    gradient descent at constant rates); examples are learned in principal coordinates; and labels may be learned, as in
    DATM (Guo et al. 2024, arXiv 2310.05773, whose choice of snapshots by difficulty is not here).
    """

    name: ClassVar[str] = "trajectory-matching"
    known_as: ClassVar[Sequence[str]] = ("MTT",)
    less_memory: ClassVar[str] = "take --method.mode recomputed, a smaller --method.batch or fewer --method.steps"

    experts: str = ""
    """File of a pool with snapshots, which datastill pretrain makes; with its options --count 20 --epochs 20
    --snapshots 20 --batch 256 --rate 0.01 --schedule constant --optimiser sgd --augmentation siamese (siamese-no-flip
    for digits and letters), a snapshot is an epoch, as in the paper."""
    experts_sha256: str = ""
    """SHA-256 of the pool; the run fills it in, and goes on with this pool only."""
    steps: int = 30
    """Gradient steps on the examples from one snapshot."""
    apart: int = 2
    """Snapshots from the one that training begins at to the one that it should reach."""
    latest: int = 10
    """Number of the latest snapshot that training begins at; earlier ones have larger gradients."""
    batch: int = 100
    """Examples in a gradient step, or all of them if there are fewer."""
    step_size: float = 0.02
    """First value of the step size, which is learned."""
    augment: Literal["siamese", "none"] = "siamese"
    """Augmentation of the examples while the network trains on them."""
    examples_rate: float = 0.01
    """Outer learning rate of the examples."""
    step_size_rate: float = 0.01
    """Outer learning rate of the step size, which is softplus(value); this rate changes the value."""
    labels_rate: float = 0.0
    """Outer learning rate of the labels, as probabilities of every class; 0: labels stay hard."""
    clip: float = 2.0
    """Clip gradients at this multiple of the median of the last 100 norms. 0: no clipping."""
    coordinates: Coordinates = "auto"
    """Coordinates in which the examples are learned: principal, pixels (as in the paper), or auto."""
    mode: Literal["stored", "recomputed"] = "recomputed"
    """How steps are differentiated: stored keeps everything in memory; recomputed keeps weights only."""
    program: Literal["learned", ShuffledName] = "shuffled-300-adam"  # type: ignore[bad-override] (result reads it)
    """How networks are trained on the finished set (datastill list programs); learned: gradient descent for 300
    epochs with the learned step size, in the second half a tenth of it, and the augmentation of `augment`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("steps", "apart", "batch"):
            at_least(name, getattr(self, name), 1)
        for name in ("latest", "examples_rate", "step_size_rate", "labels_rate", "clip"):
            at_least(name, getattr(self, name), 0)
        if self.step_size <= 0:
            raise UserError(f"step_size is {self.step_size}, but must be above 0")

    def fitted(self, data: RealData) -> "TrajectoryMatching":
        """Return the settings with a batch no larger than the set, and with the choice of ``auto``."""
        coordinates = choose_coordinates(data, self.coordinates, self.factor)
        return replace(self, batch=min(self.batch, self.ipc * self.factor**2 * data.classes), coordinates=coordinates)

    def check(self, task: Task) -> None:
        """Raise a `UserError` if there is no pool with enough snapshots of this network, or images do not fit."""
        super().check(task)
        must_have_coordinates(task.data, self.coordinates, self.factor)
        self._pool(task)

    def planned(self, task: Task, iterations: int) -> "TrajectoryMatching":  # noqa: ARG002
        """Return the settings with the SHA-256 of the pool."""
        return replace(self, experts_sha256=self._pool(task).sha256)

    def _pool(self, task: Task) -> Pool:
        """Return the experts.

        Raises:
            UserError: no file is named, it holds other networks or another pool, or it has too few snapshots.
        """
        make = f"datastill pretrain {task.data.name} --network NETWORK {EXPERTS}"
        if not self.experts:
            raise UserError(f"experts are missing; name a pool with --method.experts FILE (to make one: {make})")
        pool = load_pool(self.experts)
        pool.check(task.network)
        pool.must_take(task.data.space)
        task.must_have_classes(pool.header["class_names"], f"the experts of {self.experts} were", "experts")
        if self.experts_sha256 not in ("", pool.sha256):
            raise UserError(
                f"{self.experts} is not the pool that the run began with (SHA-256 {self.experts_sha256[:12]}, now "
                f"{pool.sha256[:12]}); put that pool there, or start a new run"
            )
        if len(pool.steps) <= self.apart:
            raise UserError(
                f"the pool {self.experts} has {counted(len(pool.steps), 'snapshot')}, but apart is {self.apart}, which "
                f"needs at least {self.apart + 1}; make one with more: {make}"
            )
        return pool

    def init(self, task: Task) -> State:
        """Return the coordinates of the examples, the step size before softplus, and labels if they are learned."""
        learned = {
            "examples": basis(task.data, self.coordinates, self.factor).coordinates(self.first(task)),
            "step_size": raw(task.data.like.new_full((1,), self.step_size)),
        }
        if self.labels_rate:
            learned["labels"] = raw_labels(self.classes(task), task.data.classes, task.data.dtype)
        return State(learned=learned)

    def rates(self) -> Mapping[str, OuterRate]:
        """Return the outer learning rates of the examples, the step size and learned labels."""
        rates = {"examples": self.examples_rate, "step_size": self.step_size_rate, "labels": self.labels_rate}
        return {name: OuterRate(rate=rate, clip=self.clip) for name, rate in rates.items() if rate or name != "labels"}

    def step(self, task: Task, state: State, iteration: int) -> Update:
        """Return the exact hypergradient of the distance from a later snapshot of one expert."""
        learned, pool = state.learned, task.once(("experts", self.experts), lambda: self._pool(task))
        draw = generator(task.seed, "expert", iteration)
        which = int(torch.randint(len(pool.drawn), (), generator=draw))
        latest = min(self.latest, len(pool.steps) - 1 - self.apart)
        snapshot = int(torch.randint(latest + 1, (), generator=draw))
        ends = tuple(pool.weights(which, each).to(task.data.like) for each in (snapshot, snapshot + self.apart))
        if torch.equal(*ends):
            raise UserError(
                f"snapshots {snapshot} and {snapshot + self.apart} of network {which} in {self.experts} are equal: the "
                "expert did not learn; make a pool with a larger --rate"
            )
        found = self._hypergradient(task, learned, *ends, seed=derive(task.seed, "training", iteration))
        gradients = {
            "examples": basis(task.data, self.coordinates, self.factor).gradient(found.examples),
            "step_size": found.step_sizes.sum(1, keepdim=True) * torch.sigmoid(learned["step_size"]),
        }
        if self.labels_rate:
            gradients["labels"] = through_softmax(probabilities(learned["labels"]), found.labels)
        return Update(objective=float(found.objective), gradients=gradients)

    def _hypergradient(
        self,
        task: Task,
        learned: LearnedTensors,
        begin: Float[Tensor, " size"],
        end: Float[Tensor, " size"],
        seed: int,
    ) -> Hypergradient:
        """Return the hypergradient of |theta_N - end|^2 / |begin - end|^2, where training starts at `begin` (eq. 2)."""
        whole = (begin - end).square().sum()
        inputs = basis(task.data, self.coordinates, self.factor).examples(learned["examples"])
        step_size = float(positive(learned["step_size"]))
        epochs = -(-self.steps // -(-len(inputs) // self.batch))
        program = Program(
            order=Shuffled(epochs=epochs, batch=self.batch, step_size=step_size, schedule="constant"),
            augmentation=AUGMENTATIONS[self.augment],
        )
        return differentiated(
            EagerSteps(mean_loss(task.network)),
            lambda thetas: (thetas - end).square().sum(1) / whole,
            begin[None],
            inputs,
            self._labels(task, learned),
            suited(program, task.data.shape, mirror=self.mirror),
            seed=seed,
            mode=self.mode,
            window=range(self.steps),
            wanted=("inputs", "targets") if self.labels_rate else ("inputs",),
        )

    def _labels(self, task: Task, learned: LearnedTensors) -> Tensor:
        return probabilities(learned["labels"]) if self.labels_rate else self.classes(task)

    def result(self, task: Task, state: State) -> SyntheticData:
        """Return the examples, with hard or learned labels, and the program."""
        learned = state.learned
        if self.program == "learned":
            step_size = float(positive(learned["step_size"]))
            order = Shuffled(epochs=300, batch=self.batch, step_size=step_size, schedule="drop")
            program = Program(order=order, augmentation=AUGMENTATIONS[self.augment])
        else:
            program = PROGRAMS[self.program]
        return SyntheticData(
            **basis(task.data, self.coordinates, self.factor).made(learned["examples"]),
            targets=self._labels(task, learned),
            program=suited(program, task.data.shape, mirror=self.mirror),
        )
