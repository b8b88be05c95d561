"""The contract of a distillation method: a frozen record of settings with three pure steps."""

import abc
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from .. import distributed
from ..data import RealData
from ..networks import Network
from ..networks.initial import check_initialiser
from ..objectives import Attack, classification
from ..rng import generator
from ..synthetic import Synthetic
from ..training import Engine, Optimiser, RealLoss, Steps
from ..training.program import inner_loss

PLAIN = Engine(mode="stored", execution="eager", together=1, precision="float32")
"""The way to compute that needs no measuring and is possible everywhere."""

LearnedTensors = dict[str, Tensor]
"""What a method learns, by name; plain tensors without gradients."""


class InitialWeights(abc.ABC):
    """p(theta_0), the distribution that initial weights come from."""

    @abc.abstractmethod
    def draw(self, seed: int, iteration: int, which: Sequence[int]) -> Float[Tensor, "networks size"]:
        """Those of networks `which` of an outer iteration, on the CPU; each depends on its own number alone."""


@dataclass(frozen=True)
class RandomWeights(InitialWeights):
    """A fresh draw from an initialiser each time."""

    network: Network
    initialiser: str
    dtype: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        check_initialiser(self.initialiser)

    def draw(self, seed: int, iteration: int, which: Sequence[int]) -> Float[Tensor, "networks size"]:
        """One draw for each."""
        draws = [generator(seed, "initial weights", iteration, i) for i in which]
        return self.network.init(self.initialiser, draws, self.dtype)


@dataclass(frozen=True, eq=False)
class FixedWeights(InitialWeights):
    """One known theta_0."""

    theta: Float[Tensor, " size"]

    def draw(self, seed: int, iteration: int, which: Sequence[int]) -> Float[Tensor, "networks size"]:  # noqa: ARG002
        """The same weights for all."""
        return self.theta.expand(len(which), -1)


class PoolWeights(InitialWeights):
    """Trained networks: each of an iteration is drawn from a part of the pool of its own, so that no two are the same.

    Args:
        thetas: the pool.
        networks: of an iteration. A process keeps the parts of its own share of them.
    """

    def __init__(self, thetas: Float[Tensor, "pool size"], networks: int) -> None:
        bounds = [len(thetas) * i // networks for i in range(networks + 1)]
        self.parts = {i: thetas[bounds[i] : bounds[i + 1]].clone() for i in distributed.rank_slice(networks)}

    def draw(self, seed: int, iteration: int, which: Sequence[int]) -> Float[Tensor, "networks size"]:
        """One of each part."""
        return torch.stack([self._one(i, generator(seed, "networks of the pool", iteration, i)) for i in which])

    def _one(self, i: int, draw: torch.Generator) -> Float[Tensor, " size"]:
        part = self.parts[i]
        return part[int(torch.randint(len(part), (), generator=draw))]


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """What every method is given."""

    data: RealData
    network: Network
    initial: InitialWeights
    seed: int
    engine: Engine = PLAIN
    attack: Attack | None = None
    """Judge by real data in which one class stands as another, instead of by the data as they are."""
    warm_start: Synthetic | None = None
    """A set in this normalised space that methods start from instead of starting anew."""

    def __post_init__(self) -> None:
        self.network.must_see_images()

    @functools.cached_property
    def steps(self) -> Steps:
        """Gradient steps of the network on synthetic examples; kept, as tracing and compiling take time."""
        return self.engine.steps(inner_loss(self._network))

    def optimiser(self, name: str) -> Optimiser:
        """The inner optimiser of that name; kept, like the steps."""
        return self._optimisers.setdefault(name, self.engine.optimiser(name))

    @functools.cached_property
    def _optimisers(self) -> dict[str, Optimiser]:
        return {}

    @functools.cached_property
    def objective(self) -> RealLoss:
        """What trained weights are judged by on real data."""
        return classification(self._network, self.attack)

    @functools.cached_property
    def _network(self) -> Network:
        return self.network.computing(self.engine.layers)


@dataclass(frozen=True, kw_only=True)
class Update:
    """One stochastic gradient of the outer objective."""

    objective: float
    """Mean over networks; not finite when training diverged."""
    gradients: LearnedTensors
    """Named like what is learned, one for each network of this process: (networks, *shape). The loop limits each and
    takes the mean, over all processes."""


@dataclass(frozen=True, kw_only=True)
class OuterRate:
    """How the outer loop moves one learned tensor."""

    rate: float
    """OuterRate learning rate."""
    clip: float = 0.0
    """Limit on the norm of each network's gradient, in medians of the last 100 norms; 0 for none. Hypergradients have a
    heavy tail: without a limit one network in a hundred decides the update. But the tail may also be what says that
    step sizes are too large (docs/LOG.md)."""


class Method(abc.ABC):
    """A way to distil: how to start, the gradient at an iteration, and the set that results.

    Subclasses are frozen dataclasses of settings. All randomness comes from ``rng.generator(problem.seed, purpose,
    iteration, network)``, so that a run can be resumed at any iteration and shared out over processes: the gradient at
    an iteration is that of ``distributed.rank_slice(networks)``, and the loop takes the mean over all.
    """

    name: ClassVar[str]

    def adapted(self, data: RealData) -> "Method":  # noqa: ARG002
        """The settings as they are used on `data`, e.g. a batch no larger than the train split; stored with the run."""
        return self

    @abc.abstractmethod
    def start(self, problem: Problem) -> LearnedTensors:
        """The learned tensors before the first iteration.

        Raises:
            UserError: settings and data do not fit each other.
        """

    @abc.abstractmethod
    def rates(self) -> Mapping[str, OuterRate]:
        """How each learned tensor is moved, by name."""

    @abc.abstractmethod
    def gradient(self, problem: Problem, learned: LearnedTensors, iteration: int) -> Update:
        """The gradient at one outer iteration; a function of its arguments and of this process's share alone."""

    @abc.abstractmethod
    def result(self, problem: Problem, learned: LearnedTensors) -> Synthetic:
        """The synthetic examples, labels and step sizes."""
