"""The contract of a distillation method: a frozen record of settings with pure functions."""

import abc
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..data import RealData
from ..networks import Network
from ..networks.start import Draws
from ..objectives import Attack, classification
from ..program import Rule
from ..synthetic import Synthetic
from ..training import Engine, RealLoss, Steps, inner_loss

PLAIN = Engine(mode="stored", execution="eager", together=1, precision="float32")
"""The plain way to compute: it works for every network and on every machine, and nothing is measured to choose it."""

LearnedTensors = dict[str, Tensor]
"""The tensors that a method learns, by name; plain tensors without gradients."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """The data, network, initial weights and settings that every method is given."""

    data: RealData
    network: Network
    draws: Draws
    """The initial weights of networks: ``draws(seed, iteration, which)``."""
    seed: int
    engine: Engine = PLAIN
    attack: Attack | None = None
    """The attack, if networks are to misread a class of the real data; None: networks are to classify it."""
    warm_start: Synthetic | None = None
    """Examples (normalised by the mean and sd of `data`) and step sizes to start from; None: start afresh."""

    def __post_init__(self) -> None:
        self.network.must_see_images()

    @functools.cached_property
    def steps(self) -> Steps:
        """Gradient steps of the network on synthetic examples; made only once, because compiling takes time."""
        return self.engine.steps(inner_loss(self._network))

    def optimiser(self, name: str) -> Rule:
        """Return the inner optimiser of this name; each one is made only once, because compiling takes time."""
        return self._optimisers.setdefault(name, self.engine.optimiser(name))

    @functools.cached_property
    def _optimisers(self) -> dict[str, Rule]:
        return {}

    @functools.cached_property
    def objective(self) -> RealLoss:
        """The loss of trained weights on real data, which the outer loop minimises."""
        return classification(self._network, self.attack)

    @functools.cached_property
    def _network(self) -> Network:
        return self.network.computing(self.engine.layers)


@dataclass(frozen=True, kw_only=True)
class Update:
    """One stochastic gradient of the outer objective."""

    objective: float
    """Mean loss over the networks of this process; not finite if their training diverged."""
    gradients: LearnedTensors
    """Gradients by the names of the learned tensors, one for each network of this process: (networks, *shape). The loop
    clips each one, and takes the mean over the networks of all processes."""


@dataclass(frozen=True, kw_only=True)
class OuterRate:
    """The outer learning rate and the clipping of one learned tensor."""

    rate: float
    """Outer learning rate (of Adam)."""
    clip: float = 0.0
    """Clip the gradient of each network at this multiple of the median of the last 100 norms; 0: no clipping. Without
    clipping, one network in a hundred decides the update, because a few hypergradients are very large. For step sizes
    these few may be the signal that the step sizes are too large (docs/LOG.md)."""


class Method(abc.ABC):
    """A distillation method: its start, its gradient at an iteration, and the set that it learns.

    Subclasses are frozen dataclasses of settings. All random numbers come from ``rng.generator(problem.seed, purpose,
    iteration, network)``, so that a run can be resumed at any iteration and shared by processes: each process computes
    the gradients of the networks ``distributed.rank_slice(networks)``, and the loop takes the mean over all networks.
    """

    name: ClassVar[str]
    given_by_warm_start: ClassVar[Mapping[str, str]] = {}
    """The settings that a warm start replaces, each with the words for what the warm start gives instead, e.g.
    ``{"step_size": "step sizes"}``. A user who changes one of them together with a warm start gets an error."""

    def adapted(self, data: RealData) -> "Method":  # noqa: ARG002
        """Return the settings fitted to `data`, e.g. a batch no larger than the train split; stored with the run."""
        return self

    def shortened(self, steps: int, epochs: int) -> "Method | None":  # noqa: ARG002
        """The settings with another number of gradient steps, so that a plan can count the cost of a few of them.

        Each step costs as much as a step of this method, and all steps are differentiated through. A method that
        gives one has the fields `steps` and `epochs`.

        Returns:
            The settings; None if the cost of a step is not known, so that a plan runs whole iterations.
        """
        return None

    @abc.abstractmethod
    def start(self, problem: Problem) -> LearnedTensors:
        """Return the learned tensors before the first iteration.

        Raises:
            UserError: the settings do not fit the data.
        """

    @abc.abstractmethod
    def rates(self) -> Mapping[str, OuterRate]:
        """Return the outer learning rate and the clipping of each learned tensor, by name."""

    @abc.abstractmethod
    def gradient(self, problem: Problem, learned: LearnedTensors, iteration: int) -> Update:
        """Return the gradients at one outer iteration; they depend only on the arguments and on the rank."""

    @abc.abstractmethod
    def result(self, problem: Problem, learned: LearnedTensors) -> Synthetic:
        """Return the synthetic examples, labels and step sizes that the learned tensors stand for."""
