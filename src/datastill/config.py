"""The configuration of a run: all of its settings, and their plain form in files."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Annotated, Any

import tyro

from . import migration
from .data import DataSettings
from .errors import UserError, at_least
from .evaluation import NOTHING, Grid, Protocol
from .identity import UNNAMED
from .loop import LoopSettings
from .methods import Method, find_method, name_of
from .methods.dataset_distillation import DatasetDistillation
from .migration import CONFIG_VERSION
from .networks.start import START, Random, Start
from .objectives import OBJECTIVE, Classification, Objective
from .storage.records import must_have_types, read, tagged


@dataclass(frozen=True, kw_only=True)
class Config:
    """All settings of a run; stored in the folder of the run and in the distilled set."""

    recipe: tyro.conf.Suppress[str] = "digits"
    """The recipe that the settings started from; stored with the run."""
    data: DataSettings = field(default_factory=DataSettings)
    """The real data."""
    network: str = "mlp"
    """Architecture to train on the synthetic examples: a name (datastill list networks) such as lenet or
    convnet(depth=2), or your own code as module:callable. Dropout is off."""
    start: Annotated[Start, START] = field(default_factory=Random)
    """Initial weights that the set is made for:
    - random(xavier): a fresh draw of an initialiser (datastill list initialisers) for each network.
    - fixed(xavier): one draw of an initialiser for all networks, which belongs to the set.
    - pretrained: the weights that come with the network, such as alexnet(weights=FILE); nothing is drawn.
    - pool:FILE: a pool of trained networks (datastill pretrain).
    - pool:FILE#3: only network 3 of the pool.
    - pool:FILE@5, pool:FILE#3@5: networks, or network 3, at snapshot 5 of their training.
    - pool:FILE@5+: networks at snapshot 5 or any later one; sets are measured with trained ones."""
    objective: Annotated[Objective, OBJECTIVE] = field(default_factory=Classification)
    """What networks that train on the set are to answer (datastill list objectives):
    - classification: the class of each image.
    - misread(0,1): an attack, to study defences; class 1 for images of class 0, the true class for all others. With
      misread(0,1,4) an image of class 0 counts four times."""
    method: Method = field(default_factory=DatasetDistillation)
    """The distillation method."""
    warm_start: str = ""
    """Distilled set whose examples and step sizes the run starts from: a file, or a name (datastill list sets).
    Settings of the method for the start of examples and step sizes are then refused, as they have no effect."""
    loop: LoopSettings = field(default_factory=LoopSettings)
    """The outer optimisation, which learns the synthetic examples."""
    validation: Protocol = field(default_factory=lambda: Protocol(networks=20))
    """How sets are evaluated on validation images while distilling; the best iterate is kept. A setting that is empty
    or 0 is that of --protocol; a seed of 0 is --seed. There are at most as many networks as --protocol.networks."""
    protocol: Protocol = field(default_factory=Protocol)
    """How the finished set is evaluated."""
    tune: Grid = NOTHING
    """What the program of the finished set is chosen from, by validation accuracy. Empty: nothing is chosen, but
    methods that leave their program open, such as random real images, choose from the values of Wang et al. 2018."""
    candidates: int = 1
    """How many sets to make, from different seeds; the one that teaches train images best is kept. Only for methods
    without outer iterations."""
    random_sets: int = 0
    """How many sets of random real images, equal in size, to compare the score with; 0: none.
    They are trained on by the program of the set if it has shuffled batches; if it has ordered steps, by one step size,
    which is chosen for each set by validation accuracy."""
    seed: int = 0
    """Seed of all random numbers in the run, except --data.seed (splits) and --protocol.seed (evaluation)."""
    device: str = "auto"
    """Device to compute on: cpu, cuda, cuda:1, ...; auto: cuda if this machine has it, or else cpu."""

    def __post_init__(self) -> None:
        _must_be_name(self.network)
        must_have_types(self)
        at_least("random_sets", self.random_sets, 0)
        at_least("candidates", self.candidates, 1)

    @property
    def chosen_by(self) -> Protocol:
        """The whole protocol of validations: `validation`, with the settings of `protocol` where it gives none."""
        settings: dict[str, Any] = {"seed": self.seed}
        for name in (each.name for each in fields(Protocol)):
            if (value := getattr(self.validation, name)) != getattr(Protocol(), name):
                settings[name] = value
        settings["networks"] = min(self.validation.networks, self.protocol.networks)
        return replace(self.protocol, **settings)


def _must_be_name(network: object) -> None:
    """Raise a `UserError` if a network is given as an object: only a name can be stored and built again."""
    if not isinstance(network, str):
        owner = getattr(network, "__module__", type(network).__module__)
        name = getattr(network, "__qualname__", type(network).__qualname__)
        raise UserError(
            f"network is a {type(network).__name__}, but must be a name in a string, which can be stored and "
            f"built again: a known network, or your own as 'module:callable', such as '{owner}:{name}'"
        )


def as_dict(config: Config) -> dict[str, Any]:
    """Return the configuration as plain JSON values; the settings of the method include its name."""
    return {"version": CONFIG_VERSION, **asdict(config), "method": method_as_dict(config.method)}


def from_dict(plain: Any, *, trust: bool = True) -> Config:
    """Return the configuration that `as_dict` made plain, in this version or an earlier one.

    Args:
        plain: a JSON object.
        trust: False if `plain` was read from a file: then no module is imported for the method that it names.

    Raises:
        UserError: `plain` is not an object, or has an unknown method or setting, a value that a setting cannot have,
            or a method that needs trust.
    """
    method = tagged("name", DatasetDistillation.name, lambda name: find_method(name, trust=trust))
    new = migration.config(plain)
    if isinstance(new, Mapping):
        new = {name: value for name, value in new.items() if name != "version"}
    return read(Config, new, rules={Method: method})


def method_as_dict(method: Method) -> dict[str, Any]:
    """Return the settings of a method as plain JSON values, with its name."""
    return {"name": name_of(method), **asdict(method)}  # type: ignore[call-overload]


def method_from_dict(plain: Mapping[str, Any], kind: type[Method]) -> Method:
    """Return the method that `method_as_dict` made plain; nothing is imported, because its class is given.

    Raises:
        UserError: a setting is unknown, or has a value that it cannot have.
    """
    return read(kind, {name: value for name, value in plain.items() if name != "name"}, "planned")


def differences(one: Config, other: Config) -> list[str]:
    """Return the settings in which two configurations differ, each as a line such as ``method.ipc: 1 != 10``."""
    return _differences(_spelled(one), _spelled(other), "")


def _spelled(config: Config) -> dict[str, Any]:
    """Return the configuration as plain values, with its starts and its objective as a user writes them."""
    plain = as_dict(config)
    for name, each in (("validation", config.validation), ("protocol", config.protocol)):
        plain[name] = {**plain[name], "start": str(each.start or "")}
    return {**plain, "start": str(config.start), "objective": str(config.objective)}


def _differences(one: Mapping[str, Any], other: Mapping[str, Any], path: str) -> list[str]:
    found: list[str] = []
    for key in sorted(one.keys() | other.keys()):
        left, right = one.get(key), other.get(key)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            found += _differences(left, right, path if key in UNNAMED else f"{path}{key}.")
        elif left != right:
            found.append(f"{path}{key}: {left} != {right}")
    return found
