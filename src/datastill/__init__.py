"""datastill: learn a few synthetic examples that train a network nearly as well as the whole data set."""

__version__ = "0.2.0"

# ruff: noqa: E402
from .caches import find_room
from .importing import at_first_use, leave_out_current_folder

leave_out_current_folder()  # before any other import: the current folder may hold a file of the same name
find_room()  # before the libraries choose their cache folders

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .artifact import DistilledSet, Header
    from .baselines import baseline
    from .bundled import load
    from .bundled import names as list_sets
    from .classifier import DistilledClassifier
    from .config import Config
    from .data import DataSettings, RealData, load_data, load_rows
    from .errors import UserError
    from .evaluation import Protocol, Score, score, verify
    from .evaluation import packed as pack
    from .exporting import export
    from .loop import LoopSettings, Stopped
    from .methods.dataset_distillation import DatasetDistillation
    from .networks import Network
    from .networks import build as build_network
    from .networks.start import parse_start
    from .recipes import recipe
    from .run import distill
    from .training import hypergradient

__all__ = [
    "Config",
    "DataSettings",
    "DatasetDistillation",
    "DistilledClassifier",
    "DistilledSet",
    "Header",
    "LoopSettings",
    "Network",
    "Protocol",
    "RealData",
    "Score",
    "Stopped",
    "UserError",
    "baseline",
    "build_network",
    "distill",
    "export",
    "hypergradient",
    "list_sets",
    "load",
    "load_data",
    "load_rows",
    "pack",
    "parse_start",
    "recipe",
    "score",
    "verify",
]

__getattr__ = at_first_use(
    "datastill",
    {
        "artifact": ("DistilledSet", "Header"),
        "baselines": ("baseline",),
        "bundled": ("load", "names as list_sets"),
        "classifier": ("DistilledClassifier",),
        "config": ("Config",),
        "data": ("DataSettings", "RealData", "load_data", "load_rows"),
        "errors": ("UserError",),
        "evaluation": ("Protocol", "Score", "score", "verify", "packed as pack"),
        "exporting": ("export",),
        "loop": ("LoopSettings", "Stopped"),
        "methods.dataset_distillation": ("DatasetDistillation",),
        "networks": ("Network", "build as build_network"),
        "networks.start": ("parse_start",),
        "recipes": ("recipe",),
        "run": ("distill",),
        "training": ("hypergradient",),
    },
)


def __dir__() -> list[str]:
    return sorted({*__all__, "__doc__", "__version__"})
