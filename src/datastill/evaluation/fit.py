"""Train many networks on one distilled set at once."""

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from ..artifact import DistilledSet, Header
from ..errors import UserError
from ..networks import Network, build
from ..networks.pool import TEST_NETWORKS
from ..program import labels_from, train_stack
from ..rng import derive
from ..training import mean_loss
from .protocol import Protocol

Value = TypeVar("Value")
NETWORKS_PER_BATCH = 20
"""The number of networks that are trained in one batch; wide networks on CPU are faster one by one (docs/LOG.md)."""


def unseen(
    distilled: DistilledSet, protocol: Protocol, purpose: str, device: torch.device
) -> tuple[Network, Float[Tensor, "networks size"]]:
    """Return the network of a protocol and the initial weights to train it from, one row per network.

    Args:
        distilled: the set.
        protocol: a resolved protocol, see `Protocol.resolved`.
        purpose: a name for the draw of initial weights, e.g. ``test networks``; other names give other weights.
        device: the device of the weights.

    Raises:
        UserError: the network cannot take the set's images, the stored weights do not fit it, or it does not have the
            weights that the set was made for.
    """
    header = distilled.header
    network = build(protocol.network, shape=distilled.shape, classes=distilled.classes)
    if own := protocol.network == header.network:
        _must_have_recorded_weights(header, network)
    network, start = network.to(device), protocol.start or header.start
    stored = distilled.theta_0 if own and start == header.start else None
    if not stored:
        start.must_have_order(header.class_names)
    thetas = start.unseen(
        network,
        seed=protocol.seed,
        purpose=purpose,
        networks=protocol.networks,
        stored=stored,
    )
    return network, thetas.to(device)


def _must_have_recorded_weights(header: Header, network: Network) -> None:
    """Raise a `UserError` if a set records the frozen or pretrained weights of its network, and these are others."""
    pretrained = header.start.required_sha256
    for claimed, found in (
        (header.frozen, network.sha256() if header.frozen else ""),
        (pretrained, network.sha256(network.own()) if pretrained else ""),
    ):
        if found != claimed:
            raise UserError(
                f"network {network.name!r} has other weights (SHA-256 {found[:12] or 'none'}) than the set was made "
                f"for (SHA-256 {claimed[:12]}); give it the weights file that the set was made with"
            )


def trained(
    distilled: DistilledSet,
    protocol: Protocol,
    network: Network,
    thetas: Float[Tensor, "networks size"],
    purpose: str = TEST_NETWORKS,
    follow: Callable[[float, str], object] = lambda *_: None,
) -> Iterator[Float[Tensor, "networks size"]]:
    """Yield the weights after training, for up to `NETWORKS_PER_BATCH` networks at a time; see `along`.

    After each gradient step, `follow` is called with how many networks are trained (with a part of one that is half
    trained) and with the step in words.
    """
    length = protocol.program_of(distilled).length(distilled.size)
    done = 0
    for some in thetas.split(_together(network, thetas)) if len(thetas) else ():  # a process may have no network
        last = some
        for step, last in enumerate(along(distilled, protocol, network, some, purpose), start=1):  # noqa: B007
            follow(done + len(some) * step / (length + 1), f"gradient step {step}/{length}")  # what is left: to measure
        done += len(some)
        yield last


def whole_groups(rows: list[Value], network: Network, thetas: Float[Tensor, "networks size"]) -> list[Value]:
    """Return the rows of the first networks that `trained` trains in groups of which every network has a row.

    The others are trained in groups of the same networks as if there were no rows, so they get equal bits.
    """
    if len(rows) >= len(thetas):
        return rows[: len(thetas)]
    return rows[: len(rows) - len(rows) % _together(network, thetas)]


def _together(network: Network, thetas: Float[Tensor, "networks size"]) -> int:
    """Return how many networks `trained` trains in one batch."""
    return 1 if network.wide and thetas.device.type == "cpu" else NETWORKS_PER_BATCH


def along(
    distilled: DistilledSet,
    protocol: Protocol,
    network: Network,
    thetas: Float[Tensor, "networks size"],
    purpose: str = TEST_NETWORKS,
) -> Iterator[Float[Tensor, "networks size"]]:
    """Yield the weights of all networks after each gradient step.

    Args:
        distilled: the set.
        protocol: a resolved protocol.
        network: the architecture.
        thetas: the initial weights, one row per network.
        purpose: a name for the draws of shuffled batches and augmentations, as for `unseen`: those of the final score
            are not those by which anything was chosen.
    """
    program = protocol.program_of(distilled)
    targets = protocol.targets_of(distilled)
    targets = targets.to(thetas) if targets.is_floating_point() else targets.to(thetas.device)
    loss, inputs = mean_loss(network, program.loss), distilled.inputs.to(thetas)
    teacher = None if protocol.labels == "hard" else distilled.teacher_of_labels()
    labels, most = labels_from(teacher, thetas.device), network.images_of_training(thetas.device)
    seed = protocol.seed if purpose == TEST_NETWORKS else derive(protocol.seed, purpose)
    return train_stack(loss, thetas, inputs, targets, program, seed, labels, most)
