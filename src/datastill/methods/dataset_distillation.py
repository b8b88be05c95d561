"""Dataset Distillation (Wang, Zhu, Torralba, Efros 2018, arXiv 1811.10959): differentiate through the training."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from .. import distributed
from ..data import RealData
from ..errors import UserError, at_least
from ..records import must_have_types
from ..rng import generator
from ..synthetic import (
    Coordinates,
    Start,
    Synthetic,
    basis,
    choose_coordinates,
    positive,
    raw,
    start_examples,
    start_labels,
)
from ..training import OnReal, Program, hypergradient
from .base import LearnedTensors, Method, OuterRate, Problem, Update

LONGEST = 100_000
"""Gradient steps of a program; each has a step size that is stored."""


@dataclass(frozen=True, kw_only=True)
class DatasetDistillation(Method):
    """Learn examples and step sizes by the exact hypergradient of the loss after all steps (algorithm 1).

    Deviations from the paper, measured in docs/LOG.md: examples start as real images, and are learned in principal
    coordinates.
    """

    name: ClassVar[str] = "dataset-distillation"

    ipc: int = 10
    """Images per class in all; shared evenly by the steps."""
    steps: int = 10
    """Gradient steps in an epoch, each on examples of its own."""
    epochs: int = 3
    """Passes over the steps, each with step sizes of its own."""
    start_from: Start = "real"
    """What the examples start as: real images, or noise from N(0, 1) as in the paper."""
    step_size: float = 0.02
    """Where every learned step size starts."""
    networks: int = 1
    """Networks (draws of initial weights) per outer iteration."""
    real_batch: int = 256
    """Real examples per network and iteration (the paper: 1024); all of the train split where it has fewer."""
    examples_rate: float = 0.01
    """OuterRate learning rate of the examples."""
    examples_clip: float = 0.5
    """Limit on the norm of each network's hypergradient of the examples, in medians of the last norms; 0 for none."""
    step_sizes_rate: float = 0.01
    """OuterRate learning rate of the step sizes, before softplus."""
    step_sizes_clip: float = 0.0
    """The same for the step sizes; 0 for none."""
    coordinates: Coordinates = "auto"
    """What examples are learned in: principal coordinates of the real data, or pixels as in the paper; auto takes
    principal coordinates unless the images are too large for them."""
    window: int = 0
    """Gradient steps differentiated through, at a random place (arXiv 2311.07025); 0 for all, as in the paper."""
    optimiser: Literal["sgd", "momentum", "adam"] = "sgd"
    """Of the inner training, and of everybody who trains on the set: gradient descent as in the paper."""

    def __post_init__(self) -> None:
        must_have_types(self)
        for name in ("networks", "real_batch", "ipc", "steps", "epochs"):
            at_least(name, getattr(self, name), 1)
        for name in ("examples_rate", "step_sizes_rate", "examples_clip", "step_sizes_clip", "window"):
            at_least(name, getattr(self, name), 0)
        if self.step_size <= 0:
            raise UserError(f"step_size is {self.step_size}, but must be above 0")
        if self.program.length > LONGEST:
            raise UserError(
                f"{self.steps} steps x {self.epochs} epochs are {self.program.length} gradient steps, but a program "
                f"has at most {LONGEST}"
            )
        if self.window > self.program.length:
            raise UserError(
                f"window is {self.window}, but the program has {self.program.length} gradient steps "
                f"({self.steps} steps x {self.epochs} epochs)"
            )

    @property
    def program(self) -> Program:
        """How the set is trained on."""
        return Program(steps=self.steps, epochs=self.epochs)

    def adapted(self, data: RealData) -> "DatasetDistillation":
        """With a real batch that the train split has, and coordinates that the images are not too large for."""
        coordinates = choose_coordinates(data, self.coordinates)
        return replace(self, real_batch=min(self.real_batch, len(data.train)), coordinates=coordinates)

    def start(self, problem: Problem) -> LearnedTensors:
        """Coordinates of the examples in program order, and the numbers that become step sizes."""
        if problem.warm_start:
            self._must_fit(problem, problem.warm_start)
        start = problem.warm_start or Synthetic(
            examples=start_examples(
                problem.data,
                ipc=self.ipc,
                steps=self.steps,
                start=self.start_from,
                generator=generator(problem.seed, "start of the examples"),
            ),
            labels=start_labels(problem.data, ipc=self.ipc, steps=self.steps),
            step_sizes=problem.data.mean.new_full((self.epochs, self.steps), self.step_size),
        )
        return {
            "examples": basis(problem.data, self.coordinates).coordinates(start.examples),
            "step_sizes": raw(start.step_sizes),
        }

    def _must_fit(self, problem: Problem, start: Synthetic) -> None:
        """Raise a `UserError` for a warm start of another size or order: it may be any set."""
        (epochs, steps), batch = start.step_sizes.shape, start.labels.shape[1]
        if (epochs, steps, steps * batch) != (self.epochs, self.steps, self.ipc * problem.data.classes):
            raise UserError(
                f"the warm start has {steps * batch} examples in {steps} steps x {epochs} epochs, but the settings ask "
                f"for {self.ipc * problem.data.classes} in {self.steps} x {self.epochs}; give its own settings"
            )
        if not torch.equal(start.labels, start_labels(problem.data, ipc=self.ipc, steps=self.steps)):
            raise UserError(
                "the warm start has other labels: this method learns examples in class order, each of one class"
            )

    def rates(self) -> Mapping[str, OuterRate]:
        """Each with a rate and a clip of its own."""
        return {
            "examples": OuterRate(rate=self.examples_rate, clip=self.examples_clip),
            "step_sizes": OuterRate(rate=self.step_sizes_rate, clip=self.step_sizes_clip),
        }

    def gradient(self, problem: Problem, learned: LearnedTensors, iteration: int) -> Update:
        """The exact hypergradient of each network."""
        mine = distributed.rank_slice(self.networks)
        parts = [
            self._some(problem, learned, iteration, mine[first : first + problem.engine.together])
            for first in range(0, len(mine), problem.engine.together)
        ]
        objective, examples, step_sizes = (torch.cat(each) for each in zip(*parts, strict=True))
        return Update(
            objective=float(objective[objective.isfinite()].mean()),
            gradients={
                "examples": basis(problem.data, self.coordinates).gradient(examples),
                "step_sizes": step_sizes * torch.sigmoid(learned["step_sizes"]),  # through softplus
            },
        )

    def _some(
        self, problem: Problem, learned: LearnedTensors, iteration: int, which: range
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Objective and hypergradients of these networks, as one batched program."""
        data, seed, size = problem.data, problem.seed, min(self.real_batch, len(problem.data.train))
        thetas = problem.initial.draw(seed, iteration, which)
        batches = [data.batch(generator(seed, "real batch", iteration, i), size) for i in which]
        images, labels = (torch.stack(parts) for parts in zip(*batches, strict=True))
        found = hypergradient(
            problem.steps,
            OnReal(problem.objective, images, labels),
            thetas.to(learned["examples"]),  # device and type
            basis(data, self.coordinates).examples(learned["examples"]),
            start_labels(data, ipc=self.ipc, steps=self.steps),
            positive(learned["step_sizes"]),
            optimiser=problem.optimiser(self.optimiser),
            mode=problem.engine.mode,
            keep_every=problem.engine.keep_every,
            window=self.program.window(self.window, generator(seed, "window", iteration)) if self.window else None,
        )
        return found.objective, found.examples, found.step_sizes

    def result(self, problem: Problem, learned: LearnedTensors) -> Synthetic:
        """Examples with hard labels and positive step sizes."""
        return Synthetic(
            examples=basis(problem.data, self.coordinates).examples(learned["examples"]),
            labels=start_labels(problem.data, ipc=self.ipc, steps=self.steps),
            step_sizes=positive(learned["step_sizes"]),
        )
