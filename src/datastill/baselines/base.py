"""The contract of a baseline: it chooses the examples; networks are trained on them in one way for all baselines."""

import abc
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from ..artifact import DistilledSet, Header
from ..data import DataSettings, RealData
from ..errors import at_least
from ..evaluation import Grid, Protocol, matched, tuned
from ..modes import usual_modes
from ..networks import Network, build
from ..networks.start import Draws, Random, Start
from ..objectives import Classification, Objective
from ..program import Ordered, Program, known_name
from ..rng import derive
from ..synthetic import by_step, start_labels
from ..trust import check_network, check_start


@dataclass(frozen=True, kw_only=True, eq=False)
class Setting:
    """The conditions that a baseline and the set it is compared with have in common."""

    data: RealData
    network: str
    """The network that is trained on the examples: a name or module:callable."""
    start: Start = field(default_factory=Random)
    """Its initial weights."""
    ipc: int = 10
    """Images per class."""
    steps: int = 1
    """Gradient steps in an epoch; each step uses other images."""
    grid: Grid = field(default_factory=Grid)
    """Step sizes and numbers of epochs to choose from, on validation images; unused if there is a program."""
    program: Program | None = None
    """How networks are trained on the examples; None: in ordered steps, with a step size and epochs of the grid."""
    seed: int = 0
    """Random seed: other seeds give other sets of the same kind."""
    source: DataSettings | None = None
    """How the data was loaded; stored with the set."""
    objective: Objective = field(default_factory=Classification)
    """What networks are to answer: examples get the labels that it wants, and step sizes are chosen with these."""

    def __post_init__(self) -> None:
        at_least("ipc (images per class)", self.ipc, 1)
        at_least("steps", self.steps, 1)
        self.start.check(self.network)

    @classmethod
    def like(
        cls, distilled: DistilledSet, data: RealData, source: DataSettings | None = None, **changes: Any
    ) -> "Setting":
        """The conditions of a distilled set: its network, size, and program or steps, epochs and optimiser.

        Args:
            distilled: the set that baselines will be compared with.
            data: the real data of the set.
            source: how the data was loaded; stored with the baseline.
            changes: fields that differ from the set's, e.g. ``network="mlp"``.

        Raises:
            UserError: the set was read from a file that is not trusted, and its network or its initial weights would
                import a module or open another file.
        """
        header, start = distilled.header, distilled.header.start.fresh()
        if not distilled.trusted:
            if "network" not in changes:
                check_network(header.network)
            if "start" not in changes:
                check_start(start)
        fields: dict[str, Any] = {
            "network": header.network,
            "start": start,
            "ipc": distilled.size // distilled.classes,
            "steps": distilled.batches,
            "grid": Grid().matching(distilled),
            "program": None if isinstance(distilled.program.order, Ordered) else distilled.program,
            "objective": header.objective,
        }
        ordered = matched(distilled, data) if header.objective.names_classes else data
        return cls(data=ordered, source=source, **fields | changes)

    @property
    def data_to_choose_on(self) -> RealData:
        """The real data that step sizes are chosen on, with the labels that the objective wants."""
        return self.data.relabelled(self.objective.wanted)

    @cached_property
    def _network(self) -> Network:
        return build(self.network, shape=self.data.shape, classes=self.data.classes)

    @cached_property
    def _draws(self) -> Draws:
        return self.start.bound(self._network, seed=self.seed)

    @property
    def theta_0(self) -> dict[str, Tensor] | None:
        """The initial weights by name, if they are equal for all networks and a set must store them; otherwise None."""
        one = self._draws.one
        return self._network.named(one) if self._draws.start.is_stored and one is not None else None

    @property
    def header(self) -> Header:
        """The header of a set that is made under these conditions."""
        data = self.data
        return Header(
            data=self.source.name if self.source else data.name,
            class_names=data.class_names,
            space=data.space,
            network=self.network,
            start=self._draws.start,
            frozen=self._network.sha256(),
            objective=self.objective,
            config={"data": asdict(self.source)} if self.source else {},
        )


class Baseline(abc.ABC):
    """A way to choose or compute examples without learning them. Subclasses are frozen dataclasses of settings."""

    name: ClassVar[str]
    varies: ClassVar[bool] = True
    """Whether another seed gives another set."""

    @abc.abstractmethod
    def images(self, setting: Setting) -> Float[Tensor, "classes each *shape"]:
        """The normalised images of each class: ipc per class, or fewer, and then every step uses all of them.

        Raises:
            UserError: a class has too few images.
        """

    @usual_modes()
    def build(self, setting: Setting, protocol: Protocol | None = None) -> DistilledSet:
        """Make the set, with the step size and number of epochs of the grid that have the best validation accuracy.

        Args:
            setting: data, network and size.
            protocol: step size and epochs chosen earlier, e.g. for another seed; None chooses them now.

        Raises:
            UserError: a class has too few images, or the network cannot take them.
        """
        plain = self.plain(setting)
        if setting.program:
            return plain
        chosen = protocol or tuned(
            plain, setting.data_to_choose_on, Protocol(seed=setting.seed), self.grid(setting, plain)
        )
        return plain.with_program(chosen.program_of(plain))

    def record(self, setting: Setting) -> dict[str, Any]:
        """All settings that decide the images, besides the data; stored with the set."""
        size = {"ipc": setting.ipc, "steps": setting.steps, "seed": setting.seed}
        return {"kind": self.name, **vars(self), **size}

    def plain(self, setting: Setting) -> DistilledSet:
        """The set with a provisional step size of 0.01, before one is chosen."""
        return arranged(self.images(setting), setting, self)

    def grid(self, setting: Setting, plain: DistilledSet) -> Grid:
        """The grid to choose from.

        If every step uses the same images, an epoch is one step, and the numbers of epochs are multiplied by the steps.
        """
        repeats = setting.steps // plain.batches
        return replace(setting.grid, epochs=[count * repeats for count in setting.grid.epochs])


def arranged(
    images: Float[Tensor, "classes each *shape"], setting: Setting, about: Baseline | None = None
) -> DistilledSet:
    """Arrange images into steps that hold every class equally often, with a provisional step size of 0.01.

    Raises:
        UserError: the images of a class cannot be shared evenly by the steps.
    """
    each = images.shape[1]
    steps = setting.steps if each == setting.ipc else 1
    examples, labels = by_step(images, steps), start_labels(setting.data, ipc=each, steps=steps)
    header = setting.header
    if about:
        header = replace(header, method=about.name, config={**header.config, "baseline": about.record(setting)})
    return DistilledSet(
        inputs=examples.flatten(0, 1).cpu(),
        targets=setting.objective.wanted(labels).flatten().cpu(),
        program=setting.program or Program(order=Ordered(step_sizes=torch.full((1, steps), 0.01))),
        header=header,
        theta_0=setting.theta_0,
    )


def trained_by(distilled: DistilledSet) -> Protocol:
    """The step size, epochs and optimiser of a finished baseline, to be used for other seeds of the same kind."""
    sizes, optimiser = distilled.step_sizes, known_name(distilled.program.optimiser)
    return Protocol(step_size=float(sizes[0, 0]), epochs=len(sizes), optimiser=optimiser)  # type: ignore[arg-type]


def seeded(setting: Setting, purpose: str) -> int:
    """A seed for scikit-learn, which depends on the seed of the setting and on the purpose."""
    return derive(setting.seed, purpose) % 2**32


def of_class(data: RealData, label: int) -> Float[Tensor, "n *shape"]:
    """All normalised train images of a class."""
    return data.normalise(data.train.images[data.train.labels == label])
