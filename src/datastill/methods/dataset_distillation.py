"""Dataset Distillation (Wang, Zhu, Torralba, Efros 2018, arXiv 1811.10959): differentiate through the training."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar

import torch
import tyro
from torch import Tensor

from .. import distributed
from ..data import RealData
from ..errors import UserError, at_least
from ..planner import choose
from ..program import OptimiserName, Ordered, Program, known_name, optimiser
from ..rng import generator
from ..storage.records import must_have_types
from ..synthetic import (
    Coordinates,
    StartFrom,
    SyntheticData,
    basis,
    choose_coordinates,
    must_have_coordinates,
    must_start,
    positive,
    probabilities,
    raw,
    raw_labels,
    start_examples,
    start_labels,
    through_softmax,
)
from ..training import Hypergradient, OnReal, Unroll, hypergradient, inner_loss, real_loss
from ..trial import Unrolled
from .base import LearnedTensors, Method, OuterRate, State, Task, Update

MOST_GRADIENT_STEPS = 100_000
"""Gradient steps of the longest program (steps x epochs); the set stores a step size for each."""


@dataclass(frozen=True, kw_only=True)
class DatasetDistillation(Method):
    """Learn examples and step sizes by the exact hypergradient of the loss after all steps (algorithm 1).

    Deviations from the paper, measured in docs/LOG.md: examples start as real images, and are learned in principal
    coordinates. Labels can be learned too (Sucholutsky and Schonlau 2019, arXiv 1910.02551); there they are any numbers
    that start as one-hot vectors, here they are probabilities.
    """

    name: ClassVar[str] = "dataset-distillation"
    any_objective: ClassVar[bool] = True
    given_by_warm_start: ClassVar[Mapping[str, str]] = {"start_from": "examples", "step_size": "step sizes"}
    less_memory: ClassVar[str] = (
        "take --method.engine.mode recomputed, then --method.engine.keep-every 10, --method.engine.together 1 or a "
        "smaller --method.real-batch, in a new run"
    )

    ipc: int = 10
    """Images per class (ipc), as they are stored, over all steps together. A multiple of steps: each step gets ipc /
    steps of them."""
    factor: int = 1
    """Parts along each side of a stored image. 1: a stored image is an example. 2: it holds 4 examples of half the
    height and width, which are enlarged before use (IDC, arXiv 2205.14959); ipc then counts stored images."""
    steps: int = 10
    """Gradient steps in an epoch; each step trains on different examples."""
    epochs: int = 3
    """Passes over the steps; each pass has different step sizes."""
    start_from: StartFrom = "real"
    """How the examples start: as real images, or as noise from N(0, 1) as in the paper (Wang et al. 2018)."""
    step_size: float = 0.02
    """First value of every step size (inner learning rate); then the step sizes are learned."""
    real_batch: int = 256
    """Real examples per network and outer iteration (the paper: 1024), or the whole train split if it is smaller."""
    examples_rate: float = 0.01
    """Outer learning rate of the examples."""
    examples_clip: float = 0.5
    """Clip each network's gradient of the examples, and that of learned labels, at this multiple of the median of the
    last 100 norms. 0: no clipping."""
    labels_rate: float = 0.0
    """Outer learning rate of the labels, if they are learned too (soft labels, arXiv 1910.02551): each example gets a
    probability of every class, the softmax of values that this rate changes, and starts at 0.9 for its class.
    0: labels stay hard, one class each, as in the paper. Try 0.01."""
    step_sizes_rate: float = 0.01
    """Outer learning rate of the step sizes. A step size is softplus(value), and this rate changes the value."""
    step_sizes_clip: float = 0.0
    """Clip each network's gradient of the step sizes at this multiple of the median of the last 100 norms.
    0: no clipping."""
    coordinates: Coordinates = "auto"
    """Coordinates in which the examples are learned:
    - principal: the principal components of the real images.
    - pixels: as in the paper.
    - auto: principal, or pixels if the images are too large for principal components."""
    optimiser: OptimiserName = "sgd"
    """Inner optimiser, which trains networks on the examples, now and in every later use of the set; the paper: sgd."""
    unroll: Annotated[Unroll, tyro.conf.arg(name="")] = field(default_factory=Unroll)
    """How the training of networks is unrolled."""

    def __post_init__(self) -> None:
        must_have_types(self)
        for name in ("real_batch", "ipc", "factor", "steps", "epochs"):
            at_least(name, getattr(self, name), 1)
        for name in ("examples_rate", "labels_rate", "step_sizes_rate", "examples_clip", "step_sizes_clip"):
            at_least(name, getattr(self, name), 0)
        if self.step_size <= 0:
            raise UserError(f"step_size is {self.step_size}, but must be above 0")
        if self.length > MOST_GRADIENT_STEPS:
            raise UserError(
                f"{self.steps} steps x {self.epochs} epochs are {self.length} gradient steps, but a program "
                f"has at most {MOST_GRADIENT_STEPS}; lower steps or epochs"
            )
        if self.unroll.window > self.length:
            raise UserError(
                f"window is {self.unroll.window}, but the program has {self.length} gradient steps "
                f"({self.steps} steps x {self.epochs} epochs); take a window of at most {self.length}"
            )

    @property
    def length(self) -> int:
        """T, the number of gradient steps of the program, over all epochs."""
        return self.steps * self.epochs

    def fitted(self, data: RealData) -> "DatasetDistillation":
        """Return the settings with a real batch no larger than the train split, and with the choice of ``auto``."""
        coordinates = choose_coordinates(data, self.coordinates, self.factor)
        return replace(self, real_batch=min(self.real_batch, len(data.train)), coordinates=coordinates)

    @property
    def dtype(self) -> torch.dtype:
        """The type in which the engine computes."""
        return self.unroll.engine.weights

    @property
    def networks(self) -> int:
        """How many networks an outer iteration trains, over all processes."""
        return self.unroll.networks

    def planned(self, task: Task, iterations: int) -> "DatasetDistillation":
        """Return the settings with an engine that leaves nothing open: the fastest way that fits into memory."""
        return replace(self, unroll=choose(self.trial(task), iterations))

    def trial(self, task: Task) -> Unrolled:
        """Return an outer iteration for a plan, from noise instead of real images or a warm start."""
        task = replace(task, warm_start=None)

        def variant(unroll: Unroll, steps: int, epochs: int) -> Callable[[], object]:
            ipc, fresh = self.ipc // self.steps * steps, replace(task)
            method = replace(self, ipc=ipc, steps=steps, epochs=epochs, start_from="noise", unroll=unroll)
            state = method.init(fresh)
            return lambda: method.step(fresh, state, 0)

        return Unrolled(
            device=task.data.device,
            parameters=task.network.size,
            make=lambda: variant(self.unroll, self.steps, self.epochs),
            unroll=self.unroll,
            steps=self.steps,
            epochs=self.epochs,
            variant=variant,
        )

    def check(self, task: Task) -> None:
        """Check the size of the set, the coordinates, and the warm start against the data."""
        must_have_coordinates(task.data, self.coordinates, self.factor)
        start: StartFrom = "noise" if task.warm_start else self.start_from
        must_start(task.data, ipc=self.ipc, steps=self.steps, start=start, factor=self.factor)
        if task.warm_start:
            self._must_fit(task, task.warm_start)

    def _must_fit(self, task: Task, start: SyntheticData) -> None:
        """Raise a `UserError` if the warm start has another program, number of examples, or other labels."""
        order, ours = start.program.order, (self.ipc * self.factor**2 * task.data.classes, self.steps, self.epochs)
        if not isinstance(order, Ordered):
            raise UserError("the warm start has no ordered steps, which this method learns; take another set")
        rule = start.program.optimiser
        theirs = known_name(rule) or rule.words
        if theirs != self.optimiser:
            raise UserError(f"the warm start has inner optimiser {theirs}, but this run has {self.optimiser}")
        if start.factor != self.factor:
            raise UserError(f"the warm start has factor {start.factor}, but this run has {self.factor}; take factor "
                            f"{start.factor}")  # fmt: skip
        epochs, steps = order.step_sizes.shape
        if (len(start.inputs), steps, epochs) != ours:
            raise UserError(
                f"the warm start has {len(start.inputs)} examples in {steps} steps x {epochs} epochs, but the settings "
                f"ask for {ours[0]} in {self.steps} x {self.epochs}; take ipc, steps and epochs of the warm start"
            )
        if self.labels_rate and start.targets.is_floating_point():
            return
        if not torch.equal(start.targets, self._hard(task.data).flatten()):
            raise UserError(
                "the warm start has other labels: this method learns examples in class order, each of one class; give "
                "a set with hard labels in this order, or learn its soft labels on with --method.labels-rate 0.01"
            )

    def init(self, task: Task) -> State:
        """Return the coordinates of the examples in program order, step sizes before softplus, labels before softmax.

        There are labels only if they are learned.
        """
        examples, labels, step_sizes = self._earlier(task.warm_start) if task.warm_start else self._fresh(task)
        learned = {
            "examples": basis(task.data, self.coordinates, self.factor).coordinates(examples),
            "step_sizes": raw(step_sizes),
        }
        if self.labels_rate:
            learned["labels"] = raw_labels(labels, task.data.classes, task.data.dtype)
        return State(learned=learned)

    def _fresh(self, task: Task) -> tuple[Tensor, Tensor, Tensor]:
        """Return the examples and labels of each step, and the step sizes, to start with."""
        draw = generator(task.seed, "start of the examples")
        examples = start_examples(
            task.data, ipc=self.ipc, steps=self.steps, start=self.start_from, generator=draw, factor=self.factor
        )
        step_sizes = task.data.like.new_full((self.epochs, self.steps), self.step_size)
        return examples, self._hard(task.data), step_sizes

    def _earlier(self, start: SyntheticData) -> tuple[Tensor, Tensor, Tensor]:
        """Return the examples and labels of each step, and the step sizes, of the warm start."""
        assert isinstance(start.program.order, Ordered)  # by `check`
        each = (self.steps, -1)
        step_sizes = start.program.order.step_sizes.to(start.inputs)
        return start.parts.unflatten(0, each), start.targets.unflatten(0, each), step_sizes

    def rates(self) -> Mapping[str, OuterRate]:
        """Return the outer learning rates and the clipping of the examples, step sizes and learned labels."""
        rates = {
            "examples": OuterRate(rate=self.examples_rate, clip=self.examples_clip),
            "step_sizes": OuterRate(rate=self.step_sizes_rate, clip=self.step_sizes_clip),
        }
        if self.labels_rate:
            rates["labels"] = OuterRate(rate=self.labels_rate, clip=self.examples_clip)
        return rates

    def step(self, task: Task, state: State, iteration: int) -> Update:
        """Return the exact hypergradient of each network that this process computes."""
        learned, mine, together = state.learned, distributed.rank_slice(self.networks), self.unroll.engine.together
        parts = [
            self._hypergradients(task, learned, iteration, mine[first : first + together])
            for first in range(0, len(mine), together)
        ]
        objective, examples, step_sizes = (
            torch.cat([getattr(part, name) for part in parts]) for name in ("objective", "examples", "step_sizes")
        )
        gradients = {
            "examples": basis(task.data, self.coordinates, self.factor).gradient(examples),
            "step_sizes": step_sizes * torch.sigmoid(learned["step_sizes"]),  # through softplus
        }
        if self.labels_rate:
            labels = torch.cat([part.labels for part in parts])
            gradients["labels"] = through_softmax(probabilities(learned["labels"]), labels)
        return Update(objective=float(objective[objective.isfinite()].mean()), gradients=gradients)

    def _hypergradients(self, task: Task, learned: LearnedTensors, iteration: int, which: range) -> Hypergradient:
        """Return objectives and hypergradients of the networks in `which`, computed in one batch."""
        data, seed, engine = task.data, task.seed, self.unroll.engine
        thetas = task.draws(seed, iteration, which)
        size = min(self.real_batch, len(data.train))
        batches = [data.batch(generator(seed, "real batch", iteration, i), size) for i in which]
        images, labels = (torch.stack(parts) for parts in zip(*batches, strict=True))
        network = task.once(("network", engine.layers), lambda: task.network.computing(engine.layers))
        return hypergradient(
            task.once(("steps", engine), lambda: engine.steps(inner_loss(network))),  # compiling takes time
            OnReal(real_loss(network), images, task.objective.wanted(labels)),
            thetas.to(learned["examples"]),  # device and type
            basis(data, self.coordinates, self.factor).examples(learned["examples"]),
            self._labels(data, learned),
            positive(learned["step_sizes"]),
            optimiser=task.once(("optimiser", engine), lambda: engine.optimiser(self.optimiser)),
            mode=engine.mode,
            keep_every=engine.keep_every,
            window=self.unroll.drawn_window(self.length, generator(seed, "window", iteration)),
            wanted=("inputs", "targets") if self.labels_rate else ("inputs",),
        )

    def _labels(self, data: RealData, learned: LearnedTensors) -> Tensor:
        """Return the labels: hard ones (steps, b), or learned probabilities (steps, b, classes)."""
        return probabilities(learned["labels"]) if self.labels_rate else self._hard(data)

    def _hard(self, data: RealData) -> Tensor:
        """Return the hard labels of the examples of each step, (steps, b)."""
        return start_labels(data, ipc=self.ipc, steps=self.steps, factor=self.factor)

    def result(self, task: Task, state: State) -> SyntheticData:
        """Return the examples, with hard or learned labels, and a program of ordered steps with learned step sizes."""
        learned = state.learned["examples"].flatten(0, 1)
        order = Ordered(step_sizes=positive(state.learned["step_sizes"]))
        return SyntheticData(
            **basis(task.data, self.coordinates, self.factor).made(learned),
            targets=self._labels(task.data, state.learned).flatten(0, 1),
            program=Program(order=order, optimiser=optimiser(self.optimiser)),
        )
