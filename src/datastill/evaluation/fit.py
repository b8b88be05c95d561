"""Train many networks on one distilled set at once."""

from collections import deque
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from ..artifact import DistilledSet
from ..errors import UserError
from ..networks import Network, build
from ..networks.pool import is_pool, load_pool, measured_with, must_have_order, parse
from ..program import train_stack
from ..rng import generator
from ..training import inner_loss
from .protocol import Protocol

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
    network = build(protocol.network, shape=distilled.shape, classes=distilled.classes)
    if protocol.network == distilled.header.network:
        _must_come_with_the_same(distilled, network)
    network = network.to(device)
    if is_pool(protocol.initialiser):
        _must_be_the_recorded_pool(distilled, protocol.initialiser)
        must_have_order(protocol.initialiser, distilled.header.class_names)
        return network, measured_with(protocol.initialiser, network, purpose)[: protocol.networks].to(device)
    if protocol.initialiser != "fixed":
        streams = [generator(protocol.seed, purpose, i) for i in range(protocol.networks)]
        return network, network.init(protocol.initialiser, streams).to(device)
    own = distilled.header.initial == "own"
    return network, (network.own() if own else stored_weights(distilled, network))[None].to(device)


def _must_be_the_recorded_pool(distilled: DistilledSet, initialiser: str) -> None:
    """Raise a `UserError` if the pool in the file has another SHA-256 than the pool that the set was made for."""
    recorded = distilled.header.provenance.get("pool", {}).get("sha256")
    if not recorded or initialiser != distilled.header.initialiser:
        return
    path = parse(initialiser)[0]
    found = load_pool(path).sha256
    if found != recorded:
        raise UserError(
            f"{path} is not the pool that the set was made for: its SHA-256 is {found[:12]}, but the set says "
            f"{recorded[:12]}; put the right pool there, or name another one with --initialiser pool:FILE"
        )


def user_weights_sha256(network: Network, initial: str) -> str:
    """Return the SHA-256 of the weights that the user's network must supply because the set does not store them.

    Args:
        network: the network.
        initial: `Header.initial` of the set. For ``own``, all weights of the network count, otherwise the frozen ones.

    Returns:
        The digest; empty if the network needs no weights of its own.
    """
    return network.sha256(network.own() if initial == "own" else None)


def _must_come_with_the_same(distilled: DistilledSet, network: Network) -> None:
    claimed = distilled.header.weights
    found = user_weights_sha256(network, distilled.header.initial) if claimed else ""
    if found != claimed:
        raise UserError(
            f"network {network.name!r} has other weights (SHA-256 {found[:12] or 'none'}) than the set was made for "
            f"(SHA-256 {claimed[:12]}); give it the weights file that the set was made with"
        )


def stored_weights(distilled: DistilledSet, network: Network) -> Float[Tensor, " size"]:
    """Return the initial weights that the set holds, as one vector.

    Raises:
        UserError: the names or shapes of the weights do not fit the network.
    """
    stored = dict(distilled.theta_0 or {})
    if {name: value.shape for name, value in stored.items()} != dict(zip(network.names, network.shapes, strict=True)):
        raise UserError(f"the initial weights stored in the set do not fit network {network.name!r}")
    return network.flat(stored)


def trained(
    distilled: DistilledSet, protocol: Protocol, network: Network, thetas: Float[Tensor, "networks size"]
) -> Iterator[Float[Tensor, "networks size"]]:
    """Yield the weights after training, for up to `NETWORKS_PER_BATCH` networks at a time.

    Args:
        distilled: the set.
        protocol: a resolved protocol.
        network: the architecture.
        thetas: the initial weights, one row per network.
    """
    if not len(thetas):  # one of several processes may have no network
        return
    for some in thetas.split(1 if network.wide and thetas.device.type == "cpu" else NETWORKS_PER_BATCH):
        steps = along(distilled, protocol, network, some)
        yield deque(steps, maxlen=1).pop()  # keep only the last step, as all steps would fill the memory


def along(
    distilled: DistilledSet, protocol: Protocol, network: Network, thetas: Float[Tensor, "networks size"]
) -> Iterator[Float[Tensor, "networks size"]]:
    """Yield the weights of all networks after each gradient step.

    Args:
        distilled: the set.
        protocol: a resolved protocol.
        network: the architecture.
        thetas: the initial weights, one row per network.
    """
    program = protocol.program_of(distilled)
    targets = protocol.targets_of(distilled)
    targets = targets.to(thetas) if targets.is_floating_point() else targets.to(thetas.device)
    loss, inputs = inner_loss(network, program.loss), distilled.inputs.to(thetas)
    return train_stack(loss, thetas, inputs, targets, program, protocol.seed)
