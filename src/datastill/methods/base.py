"""The contract of a distillation method: a frozen record of settings with pure functions, and explicit state."""

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal

import torch
import tyro
from torch import Tensor

from ..data import RealData
from ..errors import UserError, at_least
from ..objectives import Classification
from ..storage.records import one_of
from ..synthetic import SyntheticData
from ..trial import Trial
from .task import Task
from .teacher_labels import TeacherLabels

Mirror = Annotated[bool, tyro.conf.arg(help_behavior_hint="(default: mirror)")]
"""A setting that is True unless its option turns it off: --no-mirror."""
LearnedTensors = dict[str, Tensor]
"""The tensors that a method learns, by name; plain tensors without gradients."""
Carried = dict[str, Any]
"""What a method carries from one outer iteration to the next besides the learned tensors: tensors, numbers, texts,
True, False and None, by name, and dictionaries, lists and tuples of these. It is saved in every checkpoint."""


@dataclass(frozen=True, kw_only=True, eq=False)
class State:
    """The state of a method, on which an outer iteration depends besides the settings and the task."""

    learned: LearnedTensors
    """The tensors that the outer optimiser changes, each with a rate in `Method.rates`; others stay as they are."""
    carried: Carried = field(default_factory=dict)
    """What else the method carries from one iteration to the next; equal in every process."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Update:
    """What an outer iteration gives: a stochastic gradient of the outer objective, and what is carried on."""

    objective: float
    """Mean objective over the networks of this process; not finite if their training diverged."""
    gradients: LearnedTensors
    """Gradients by the names of `Method.rates`, one for each network of this process: (networks, *shape). The loop
    clips each one, and takes the mean over the networks of all processes."""
    carried: Carried = field(default_factory=dict)
    """What the next iteration is given as `State.carried`: new values, as those given are never changed in place. It is
    dropped if no gradient is finite."""


@dataclass(frozen=True, kw_only=True)
class OuterRate:
    """How the outer optimiser changes one learned tensor."""

    rate: float
    """Outer learning rate."""
    clip: float = 0.0
    """Clip the gradient of each network at this multiple of the median of the last 100 norms; 0: no clipping. Without
    clipping, one network in a hundred decides the update, because a few hypergradients are very large. For step sizes
    these few may be the signal that the step sizes are too large (docs/LOG.md)."""
    rule: Literal["adam", "sgd"] = "adam"
    """The outer optimiser: Adam, with the betas of the loop, or gradient descent."""
    momentum: float = 0.0
    """Momentum of gradient descent, in [0, 1)."""
    average: bool = True
    """Whether the set holds the running average of the tensor (`LoopSettings.average`), or its latest value."""

    def __post_init__(self) -> None:
        one_of("adam", "sgd")(self.rule, "rule")
        at_least("the outer rate", self.rate, 0)
        at_least("clip", self.clip, 0)
        if not 0 <= self.momentum < 1:
            raise UserError(f"momentum is {self.momentum}, but must be at least 0 and below 1")
        if self.momentum and self.rule == "adam":
            raise UserError(f"momentum is {self.momentum}, but has no effect with rule adam; take rule sgd")


class Method(abc.ABC):
    """A distillation method: settings that are checked, a first state, an outer iteration, and the synthetic data.

    Subclasses are frozen dataclasses of settings. A run calls `check`, `planned` and `init` once, then `step` in every
    outer iteration (never, if `rates` is empty), and `result` for every validation and at the end. A resumed run goes
    on from the state in its checkpoint. All random numbers come from ``rng.generator(task.seed, purpose, iteration,
    network)``, so that a run can be resumed at any iteration and shared by processes: each process computes the
    gradients of the networks ``distributed.rank_slice(networks)``, and the loop takes the mean over all networks.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    """Version of the state. Raise it when names, shapes or meaning of the state change: a checkpoint with the state of
    another version is then refused."""
    any_objective: ClassVar[bool] = False
    """Whether the method can make a set for every objective, since it learns the answers ``Task.objective.wanted``;
    otherwise it makes sets for classification only, and a task with another objective is refused."""
    given_by_warm_start: ClassVar[Mapping[str, str]] = {}
    """The settings that a warm start replaces, each with the words for what the warm start gives instead, e.g.
    ``{"step_size": "step sizes"}``. A user who changes one of them together with a warm start gets an error. Empty: the
    method cannot start from an earlier set, and a task with a warm start is refused."""
    known_as: ClassVar[Sequence[str]] = ()
    """Names of the method in papers, which lists show, and which an error for an unknown method explains."""
    less_memory: ClassVar[str] = "take a smaller batch, or another network, in a new run"
    """What to do if memory runs out, as advice to the user."""

    @property
    def dtype(self) -> torch.dtype:
        """The type of the real data and of the initial weights that the method is given."""
        return torch.float32

    @property
    def networks(self) -> int:
        """How many networks an outer iteration draws initial weights for, over all processes."""
        return 1

    @property
    def varies(self) -> bool:
        """Whether another seed gives another set."""
        return True

    @property
    def has_open_program(self) -> bool:
        """Whether step size, epochs and optimiser of the program of `result` are a mere guess.

        The run then chooses them on validation images, from the values in its setting `tune`.
        """
        return False

    @property
    def without_effect(self) -> Mapping[str, str]:
        """The settings that do nothing beside the values of others, each with the reason; changing one is an error."""
        return {}

    @property
    def teacher_labels(self) -> TeacherLabels:
        """Which trained network gives the labels of the set.

        A method for which the user may name one has a setting of this name, and gives the labels in `result`.
        """
        return TeacherLabels()

    def fitted(self, data: RealData) -> "Method":  # noqa: ARG002
        """Return the settings fitted to `data`, e.g. a batch no larger than the train split; stored with the run."""
        return self

    def planned(self, task: Task, iterations: int) -> "Method":  # noqa: ARG002
        """Return the settings with every choice made that is left open and needs measuring on this machine.

        Methods that unroll call the planner here. As it is, the SHA-256 of the teacher is noted, if there is one. The
        settings are stored with the run, which a resumed run reads.

        Args:
            task: what will be run; `check` has passed.
            iterations: outer iterations to come; a choice that takes long pays for many only.

        Raises:
            UserError: every choice needs more memory than there is.
        """
        labels = self.teacher_labels
        return replace(self, teacher_labels=labels.identified(task)) if labels.teacher else self  # type: ignore[type-var]

    def trial(self, task: Task) -> Trial:
        """Return an outer iteration for a plan to measure; where nothing is iterated, it is the making of all."""

        def make() -> Callable[[], object]:
            if not self.rates():
                return lambda: self.init(task)
            state = self.init(task)
            return lambda: self.step(task, state, 0)

        return Trial(device=task.data.device, parameters=task.network.size, make=make)

    def check(self, task: Task) -> None:  # noqa: B027 (a method may have nothing to check)
        """Check that the settings fit the task, before anything is computed or written.

        Raises:
            UserError: they do not; the error names the setting.
        """

    @abc.abstractmethod
    def init(self, task: Task) -> State:
        """Return the state before the first iteration; called once in a run, after `check`."""

    @abc.abstractmethod
    def rates(self) -> Mapping[str, OuterRate]:
        """Return how each learned tensor is changed, by name; empty if nothing is iterated: `init` then makes all."""

    def step(self, task: Task, state: State, iteration: int) -> Update:
        """Return the gradients at one outer iteration; they depend only on the arguments and on the rank.

        A method with rates must have this function.
        """
        raise NotImplementedError(f"the method {self.name!r} has rates, but no function step")

    @abc.abstractmethod
    def result(self, task: Task, state: State) -> SyntheticData:
        """Return the synthetic data that a state stands for, with the program that networks are trained by."""


def must_take(method: Method, task: Task) -> None:
    """Raise a `UserError` if a method cannot do what a task asks for, or if its settings do not fit the task."""
    if not (method.any_objective or task.objective == Classification()):
        raise UserError(
            f"the method {method.name} cannot make a set for the objective {task.objective}; take --objective "
            "classification"
        )
    if task.warm_start and not method.given_by_warm_start:
        raise UserError(f"the method {method.name} cannot start from an earlier set; leave --warm-start out")
    method.check(task)
    method.teacher_labels.check(task)
