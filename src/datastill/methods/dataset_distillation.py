"""Dataset Distillation (Wang, Zhu, Torralba, Efros 2018, arXiv 1811.10959): differentiate through the training."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar, Literal

import torch
import tyro
from torch import Tensor

from .. import distributed
from ..data import RealData
from ..errors import UserError, at_least, counted
from ..planner import choose
from ..program import (
    AUGMENTATIONS,
    Augmentation,
    AugmentationName,
    OptimiserName,
    Ordered,
    Program,
    Shuffled,
    Siamese,
    optimiser,
)
from ..rng import derive, generator
from ..storage.records import must_have_types
from ..synthetic import (
    Basis,
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
    start_labels,
    through_softmax,
)
from ..training import Hypergradient, OnReal, Unroll, differentiated, mean_loss
from ..trial import Unrolled
from .base import LearnedTensors, Method, OuterRate, State, Task, Update
from .continuing import must_have_batches, must_have_factor, must_have_labels, must_have_optimiser, must_have_steps
from .real_batches import changed_alone, must_have_clusters, real_batches, step_of

MOST_GRADIENT_STEPS = 100_000
"""Gradient steps of the longest program (steps x epochs); the set stores a step size for each."""


@dataclass(frozen=True, kw_only=True)
class DatasetDistillation(Method):
    """Learn examples and step sizes by the exact hypergradient of the loss after all steps (algorithm 1).

    Networks train on the examples in ordered steps, each with its own step size, or in shuffled batches with one step
    size. Long programs are unrolled in windows at random places (RaT-BPTT: Feng et al. 2023, arXiv 2311.07025).

    Deviations from the papers, measured in docs/LOG.md: examples start as real images, and are learned in principal
    coordinates. Labels can be learned too (Sucholutsky and Schonlau 2019, arXiv 1910.02551); there they are any numbers
    that start as one-hot vectors, here they are probabilities. With shuffled batches: batches instead of the whole set
    in each step, and a learned step size. The data is whitened (ZCA) only if the data is loaded with whiten.
    """

    name: ClassVar[str] = "dataset-distillation"
    known_as: ClassVar[Sequence[str]] = ("DD", "BPTT", "RaT-BPTT")
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
    """Gradient steps in an epoch; each step trains on different examples. With batch: 1, as examples then belong to no
    step."""
    epochs: int = 3
    """Passes over the steps, each with different step sizes; with batch, passes over the examples."""
    batch: int = 0
    """Examples in a gradient step, drawn in a new random order in each epoch, with one step size for all steps. The
    finished set is used in this way, too. 0: ordered steps, as in the paper of 2018."""
    augment: AugmentationName = "none"
    """Augmentation of the examples, drawn anew in each gradient step, and part of the program of the finished set:
    a name of datastill list augmentations. For digits and letters, take one that does not mirror images."""
    augment_real: Literal["own", "same", AugmentationName] = "none"
    """Augmentation of the real batch:
    - none: real images as they are.
    - own: as the examples, but each real image has its own numbers.
    - a name of datastill list augmentations: this one, whatever is done with the examples.
    - same: the draw of the last gradient step before the objective, so that real and synthetic images are changed
      alike. It needs a siamese augmentation, in which all images of a batch then have equal numbers."""
    start_from: StartFrom = "real"
    """How the examples start: as real images, or as noise from N(0, 1) as in the paper (Wang et al. 2018)."""
    step_size: float = 0.02
    """First value of every step size (inner learning rate); then the step sizes are learned."""
    real_batch: int = 256
    """Real examples per network and outer iteration (the paper: 1024), or the whole train split if it is smaller."""
    real_clusters: int = 0
    """Clusters of each class, found by k-means; a real batch holds an equal share of each cluster of each class
    (representative batches, after DREAM, arXiv 2302.14416). 1: an equal share of each class. 0: drawn from all images
    alike, as in the paper."""
    examples_rate: float = 0.01
    """Outer learning rate of the examples."""
    examples_clip: float = 0.5
    """Clip each network's gradient of the examples, and that of learned labels, at this multiple of the median of the
    last 100 norms. 0: no clipping."""
    labels_rate: float = 0.0
    """Outer learning rate of the labels, if they are learned too (soft labels, arXiv 1910.02551): each example gets a
    probability of every class, the softmax of values that this rate changes, and starts at 0.99 for its class.
    0: labels stay hard, one class each, as in the paper. Try 0.01."""
    step_sizes_rate: float = 0.01
    """Outer learning rate of the step sizes. A step size is softplus(value), and this rate changes the value.
    0: they stay."""
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
        at_least("batch", self.batch, 0)
        at_least("real_clusters", self.real_clusters, 0)
        if self.augment_real in ("own", "same") and self.augment == "none":
            raise UserError(f"augment_real is {self.augment_real}, but augment is none; name an augmentation")
        if self.augment_real == "same" and not isinstance(AUGMENTATIONS[self.augment], Siamese):
            raise UserError(f"augment_real is same, but augment is {self.augment}; take augment siamese")
        if self.batch and self.steps != 1:
            raise UserError(
                f"steps is {self.steps}, but with batch {self.batch} examples belong to no step; take steps 1 "
                "(--method.steps 1)"
            )
        if not self.batch:
            self._must_have_steps(self.steps * self.epochs)

    def _must_have_steps(self, length: int) -> None:
        """Raise a `UserError` if the program has too many gradient steps, or too few for the window."""
        if length > MOST_GRADIENT_STEPS:
            raise UserError(
                f"{self._steps_in_words(length)} are {length} gradient steps, but a program has at most "
                f"{MOST_GRADIENT_STEPS}; lower steps or epochs"
            )
        if self.unroll.window > length:
            raise UserError(
                f"window is {self.unroll.window}, but the program has {counted(length, 'gradient step')} "
                f"({self._steps_in_words(length)}); take a window of at most {length}"
            )

    def _steps_in_words(self, length: int) -> str:
        noun = "batch" if self.batch else "step"
        return f"{counted(length // self.epochs, noun)} x {counted(self.epochs, 'epoch')}"

    def count(self, classes: int) -> int:
        """Return the number of examples, given the number of classes."""
        return self.ipc * self.factor**2 * classes

    def length(self, classes: int) -> int:
        """Return T, the number of gradient steps of the program over all epochs, given the number of classes."""
        return self.epochs * (-(-self.count(classes) // self.batch) if self.batch else self.steps)

    def fitted(self, data: RealData) -> "DatasetDistillation":
        """Return the settings with batches no larger than what they are drawn from, and with the choice of ``auto``."""
        return replace(
            self,
            batch=min(self.batch, self.count(data.classes)),
            real_batch=min(self.real_batch, len(data.train)),
            coordinates=choose_coordinates(data, self.coordinates, self.factor),
        )

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
        return replace(self, unroll=replace(self.unroll, engine=choose(self.trial(task), iterations).engine))

    def trial(self, task: Task) -> Unrolled:
        """Return an outer iteration for a plan, from noise instead of real images or a warm start.

        Windows are at any place, as they are in most iterations. With shuffled batches, all gradient steps are one step
        of the plan, repeated: there are always all examples.
        """
        task, unroll = replace(task, warm_start=None), replace(self.unroll, growth=0)
        steps, epochs = (1, self.length(task.data.classes)) if self.batch else (self.steps, self.epochs)

        def variant(unroll: Unroll, steps: int, epochs: int) -> Callable[[], object]:
            fresh, method = replace(task), replace(self, start_from="noise", real_clusters=0, unroll=unroll)
            if not self.batch:
                method = replace(method, ipc=self.ipc // self.steps * steps, steps=steps, epochs=epochs)
            state = method.init(fresh)
            return lambda: method._update(fresh, state, 0, steps * epochs)

        return Unrolled(
            device=task.data.device,
            parameters=task.network.size,
            make=lambda: variant(unroll, steps, epochs),
            unroll=unroll,
            steps=steps,
            epochs=epochs,
            variant=variant,
        )

    def check(self, task: Task) -> None:
        """Check the size of the set, the program, the coordinates, and the warm start against the data."""
        must_have_coordinates(task.data, self.coordinates, self.factor)
        start: StartFrom = "noise" if task.warm_start else self.start_from
        must_start(task.data, ipc=self.ipc, steps=self.steps, start=start, factor=self.factor)
        self._must_have_steps(self.length(task.data.classes))
        must_have_clusters(task, self.real_clusters)
        for name in ("augment", "augment_real"):
            if (value := getattr(self, name)) != "none" and len(task.data.shape) != 3:
                raise UserError(f"{name} is {value}, but the data are {task.data.space.words}; take {name} none")
        if task.warm_start:
            self._must_fit(task, task.warm_start)

    def _must_fit(self, task: Task, start: SyntheticData) -> None:
        """Raise a `UserError` if the warm start has another inner optimiser, order or number of examples, or labels.

        The rest of its program is not kept: networks are trained as the settings of this run say.
        """
        count = self.count(task.data.classes)
        must_have_optimiser(start, self.optimiser)
        must_have_factor(start, self.factor)
        if self.batch:
            must_have_batches(start, count)
        else:
            must_have_steps(start, count, self.steps, self.epochs)
        must_have_labels(start, self._hard(task.data).flatten(), learned=self.labels_rate > 0)

    def init(self, task: Task) -> State:
        """Return the coordinates of the examples in program order, step sizes before softplus, labels before softmax.

        There are labels only if they are learned.
        """
        examples, labels, step_sizes = self._earlier(task.warm_start) if task.warm_start else self._fresh(task)
        learned = {
            "examples": self._basis(task.data).coordinates(examples),
            "step_sizes": raw(step_sizes),
        }
        if self.labels_rate:
            learned["labels"] = raw_labels(labels, task.data.classes, task.data.dtype)
        return State(learned=learned)

    def _fresh(self, task: Task) -> tuple[Tensor, Tensor, Tensor]:
        """Return the examples and labels of each step, and the step sizes, to start with."""
        examples = task.first_examples(ipc=self.ipc, start=self.start_from, factor=self.factor, steps=self.steps)
        step_sizes = task.data.like.new_full((1 if self.batch else self.epochs, self.steps), self.step_size)
        return examples, self._hard(task.data), step_sizes

    def _earlier(self, start: SyntheticData) -> tuple[Tensor, Tensor, Tensor]:
        """Return the examples and labels of each step, and the step sizes, of the warm start."""
        order, each = start.program.order, (self.steps, -1)
        sizes = order.step_sizes if isinstance(order, Ordered) else torch.tensor([[order.step_size]]).double()
        return start.parts.unflatten(0, each), start.targets.unflatten(0, each), sizes.to(start.inputs)

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
        return self._update(task, state, iteration, self.length(task.data.classes))

    def _update(self, task: Task, state: State, iteration: int, length: int) -> Update:
        """Return the hypergradient through the first `length` gradient steps of the program, or a window of them."""
        learned, mine, together = state.learned, distributed.rank_slice(self.networks), self.unroll.engine.together
        window = self.unroll.drawn_window(length, generator(task.seed, "window", iteration), iteration)
        parts = [
            self._hypergradients(task, learned, iteration, mine[first : first + together], window)
            for first in range(0, len(mine), together)
        ]
        objective = torch.cat([part.objective for part in parts])
        examples, step_sizes = (
            torch.cat([getattr(part, name) for part in parts]) for name in ("examples", "step_sizes")
        )
        sizes = step_sizes.sum(1) if self.batch else step_sizes  # one for all steps
        through_softplus = torch.sigmoid(learned["step_sizes"])
        gradients = {
            "examples": self._basis(task.data).gradient(examples.unflatten(1, (self.steps, -1))),
            "step_sizes": sizes.view(-1, *through_softplus.shape) * through_softplus,
        }
        if self.labels_rate:
            labels = torch.cat([part.labels for part in parts]).unflatten(1, (self.steps, -1))
            gradients["labels"] = through_softmax(probabilities(learned["labels"]), labels)
        return Update(objective=float(objective[objective.isfinite()].mean()), gradients=gradients)

    def _hypergradients(
        self, task: Task, learned: LearnedTensors, iteration: int, which: range, window: range
    ) -> Hypergradient:
        """Return objectives and hypergradients of the networks in `which`, computed in one batch."""
        data, engine = task.data, self.unroll.engine
        program, seed = self._program(learned), derive(task.seed, "training", iteration)
        thetas = task.draws(task.seed, iteration, which)
        size = min(self.real_batch, len(data.train))
        images, labels = real_batches(task, iteration, which, size, self.real_clusters)
        if self.augment_real == "same":
            images = program.changed(images, step_of(program, self.count(data.classes), seed, window[-1]))
        elif own := program.augmentation if self.augment_real == "own" else AUGMENTATIONS[self.augment_real]:
            images = changed_alone(task, iteration, which, images, own)
        network = task.once(("network", engine.layers), lambda: task.network.computing(engine.layers))
        return differentiated(
            task.once(("steps", engine), lambda: engine.steps(mean_loss(network))),  # compiling takes time
            OnReal(mean_loss(network), images, labels, most=task.network.images_of_training(images.device)),
            thetas.to(learned["examples"]),  # device and type
            self._basis(data).examples(learned["examples"]).flatten(0, 1),
            self._labels(data, learned).flatten(0, 1),
            program,
            seed=seed,
            rule=task.once(("optimiser", engine), lambda: engine.optimiser(self.optimiser)),
            mode=engine.mode,
            keep_every=engine.keep_every,
            window=window,
            wanted=("inputs", "targets") if self.labels_rate else ("inputs",),
        )

    def _basis(self, data: RealData) -> Basis:
        """Return the coordinates in which the examples are learned."""
        return basis(data, self.coordinates, self.factor)

    @property
    def _augmentation(self) -> Augmentation | None:
        """The augmentation of the examples; if real images are changed alike, all of a batch have equal numbers."""
        found = AUGMENTATIONS[self.augment]
        return replace(found, shared=self.augment_real == "same") if isinstance(found, Siamese) else found

    def _program(self, learned: LearnedTensors) -> Program:
        """Return how networks are trained on the examples."""
        sizes = positive(learned["step_sizes"])
        order = (
            Shuffled(epochs=self.epochs, batch=self.batch, step_size=float(sizes), schedule="constant")
            if self.batch
            else Ordered(step_sizes=sizes)
        )
        return Program(order=order, optimiser=optimiser(self.optimiser), augmentation=self._augmentation)

    def _labels(self, data: RealData, learned: LearnedTensors) -> Tensor:
        """Return the labels: hard ones (steps, b), or learned probabilities (steps, b, classes)."""
        return probabilities(learned["labels"]) if self.labels_rate else self._hard(data)

    def _hard(self, data: RealData) -> Tensor:
        """Return the hard labels of the examples of each step, (steps, b)."""
        return start_labels(data, ipc=self.ipc, steps=self.steps, factor=self.factor)

    def result(self, task: Task, state: State) -> SyntheticData:
        """Return the examples, with hard or learned labels, and the program with the learned step sizes."""
        return SyntheticData(
            **self._basis(task.data).made(state.learned["examples"].flatten(0, 1)),
            targets=self._labels(task.data, state.learned).flatten(0, 1),
            program=self._program(state.learned),
        )
