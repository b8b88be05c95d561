"""The settings of a pool."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from ..data import DataSettings
from ..errors import at_least
from ..networks.start import START, Random, Start
from ..program import AugmentationName, OptimiserName
from ..storage.records import must_have_types


@dataclass(frozen=True, kw_only=True)
class PoolSettings:
    """How the networks of a pool are trained, on the whole train split."""

    data: DataSettings = field(default_factory=DataSettings)
    """The real data."""
    network: str = "lenet"
    """Architecture of the networks: a name or module:callable, with arguments in brackets: convnet(depth=2)."""
    start: Annotated[Start, START] = field(default_factory=Random)
    """Initial weights of the networks:
    - random(xavier): a fresh draw of an initialiser (datastill list initialisers) for each network.
    - fixed(xavier): one draw of an initialiser for all networks.
    - pretrained: the weights that come with the network, such as alexnet(weights=FILE).
    - pool:FILE: network i starts from network i of another pool."""
    count: int = 200
    """How many networks for distilling (the paper: 2000). From 10 up, the last tenth of them is only for validation."""
    held_out: int = 20
    """How many networks to evaluate with. They are never used for distilling."""
    epochs: int = 2
    """Passes over the train split, in a new random order for each network and pass."""
    batch: int = 128
    """Images in a gradient step."""
    rate: float = 0.001
    """Learning rate of the first gradient step."""
    schedule: Literal["linear", "constant"] = "linear"
    """linear: the learning rate falls in equal steps to 0. constant: it stays, as for the experts of trajectory
    matching (Cazenavette et al. 2022, arXiv 2203.11932)."""
    optimiser: OptimiserName = "adam"
    """The optimiser (datastill list optimisers)."""
    augmentation: AugmentationName = "none"
    """Augmentation of the train images, drawn anew in each gradient step and for each network."""
    seed: int = 0
    """Seed of initial weights, batches and augmentation."""
    snapshots: int = 0
    """How often the weights of each network are kept along its training, at evenly spaced gradient steps; with a
    number equal to that of --epochs, they are kept after every epoch. Snapshot 0 is the initial weights, and the last
    one is the trained network. A start names one by its number: pool:FILE@5. 0: only trained networks are kept."""

    def __post_init__(self) -> None:
        must_have_types(self)
        at_least("rate", self.rate, 0)
        at_least("count", self.count, 1)
        at_least("held_out", self.held_out, 0)
        at_least("epochs", self.epochs, 1)
        at_least("batch", self.batch, 1)
        at_least("snapshots", self.snapshots, 0)
