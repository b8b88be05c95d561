"""Studies: measurements to compare, each of which writes a section of Markdown and draws a picture."""

from .adaptation import PAIRS
from .base import Study, draw, run
from .crops import Crops
from .curves import EPOCHS, EXAMPLES, STEPS
from .existing_sets import Along, Mismatch
from .imagenet import Features
from .needed import OnSets
from .page import collect
from .poisoning import ATTACKS
from .reference import Reference
from .table import Table
from .transfer import Transfer

_ALL: tuple[Study, ...] = (
    Reference(),
    Table(
        name="table-mnist",
        title="MNIST: the distilled sets and every baseline",
        data="mnist",
        random="mnist-random",
        fixed="mnist-fixed",
        seconds=90.0,
    ),
    Table(
        name="table-mnist-long",
        title="MNIST: the distilled sets and every baseline, with 60 epochs",
        data="mnist",
        random="mnist-random-long",
        seconds=120.0,
    ),
    Table(
        name="table-cifar10",
        title="CIFAR-10: the distilled sets and every baseline",
        data="cifar10",
        random="cifar10-random",
        fixed="cifar10-fixed",
        networks=4,
        seconds=300.0,
    ),
    STEPS,
    EPOCHS,
    EXAMPLES,
    Along(),
    Mismatch(),
    Transfer(),
    *PAIRS,
    *ATTACKS,
    Features(),
    Crops(),
)
STUDIES: dict[str, Study] = {study.name: study for study in _ALL}

__all__ = ["STUDIES", "OnSets", "Study", "collect", "draw", "run"]
