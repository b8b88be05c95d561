"""The start of a run: initial weights of networks, and the distilled set of a warm start."""

from pathlib import Path

from .artifact import DistilledSet, examples_of
from .bundled import load
from .config import Config
from .data import RealData
from .errors import UserError
from .networks import Network
from .networks.start import Draws
from .recipes import RECIPES
from .synthetic import SyntheticData


def earlier_set(config: Config, data: RealData) -> DistilledSet | None:
    """Load the distilled set of the warm start; None without a warm start.

    Raises:
        UserError: there is no such set; or it has another image size or other classes, or its classes are in another
            order while the objective names classes by number.
    """
    if not config.warm_start:
        return None
    _must_be_made(Path(config.warm_start))
    earlier = load(config.warm_start)
    for what, theirs, ours in (
        (f"{data.space.nouns} of", "x".join(map(str, earlier.shape)), "x".join(map(str, data.shape))),
        ("classes", *_classes(config, earlier, data)),
    ):
        if theirs != ours:
            raise UserError(
                f"the warm start {config.warm_start} has {what} {theirs}, but this run has {ours}; take a set that was "
                "made from such data"
            )
    if not data.space.reads(earlier.header.space):
        raise UserError(
            f"the warm start {config.warm_start} has {data.space.nouns} of other {data.space.parts} than the data of "
            "this run; give the data that it was made from, with its settings"
        )
    return earlier


def _must_be_made(path: Path) -> None:
    """Raise a `UserError` if the set of a run that follows a recipe is missing, which names the command for it."""
    folder = path.parent
    if path.suffix and not path.exists() and folder.name in RECIPES:
        raise UserError(
            f"there is no warm start at {path}; make it with: datastill distill {folder.name} --out {folder}"
        )


def _classes(config: Config, earlier: DistilledSet, data: RealData) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the class names of the set and of the data; equal if only their order differs."""
    names = earlier.header.class_names, data.class_names
    reordered = sorted(names[0]) == sorted(names[1])
    return (names[0], names[0]) if reordered and not config.objective.names_classes else names


def class_order(config: Config, data: RealData, earlier: DistilledSet | None) -> tuple[str, ...]:
    """Return the class names in the order of the warm start, or else of the pool that the run starts from.

    Raises:
        UserError: the pool has the classes in another order than the warm start, or than the data while the objective
            names classes by number; or it was trained on other examples.
    """
    config.start.must_take(data.space)
    order = earlier.header.class_names if earlier else data.class_names
    names = config.start.class_names()
    if names is None:
        return order
    if not earlier and not config.objective.names_classes and sorted(names) == sorted(order):
        return names
    config.start.must_have_order(order)
    return order


def as_start(earlier: DistilledSet, data: RealData) -> SyntheticData:
    """Return the set as synthetic data, with its examples normalised by the mean and standard deviation of `data`."""
    if earlier.targets.dim() == 3:
        raise UserError("the labels of the warm start are other ones in each epoch, which cannot be learned on")
    space, own = data.space, earlier.header.space
    images = space.renormalised(own.original(earlier.images).to(data.like))
    targets, program = earlier.targets.to(data.device), earlier.program.to(data.like)
    return SyntheticData(
        **examples_of(images, earlier.header.enlarged), factor=earlier.header.enlarged, targets=targets, program=program
    )


def initial_weights(config: Config, network: Network, earlier: DistilledSet | None) -> Draws:
    """Return the initial weights of a run: of its start, or stored in the set of the warm start.

    Args:
        config: the settings of the run.
        network: the network of the run.
        earlier: the distilled set of the warm start.

    Raises:
        UserError: the start does not fit the network, or has too few weights for an outer iteration.
    """
    config.start.check(config.network)
    stored = earlier.initial_weights() if earlier and config.start.continues else None
    start = earlier.header.start if earlier and stored else config.start
    return start.bound(
        network,
        seed=config.seed,
        networks=config.method.networks,
        dtype=config.method.dtype,
        stored=stored,
    )
