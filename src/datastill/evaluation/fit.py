"""Many networks trained on one distilled set at once."""

from collections import deque
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from ..artifact import DistilledSet
from ..errors import UserError
from ..networks import Network, build
from ..pool import is_pool, load_pool, measured_with, parse
from ..rng import generator
from ..training import Clipped, optimiser, unroll
from ..training.program import inner_loss
from .protocol import Protocol

TOGETHER = 20  # networks in one batched program; wide ones on CPU are faster one by one (docs/LOG.md)


def unseen(
    distilled: DistilledSet, protocol: Protocol, purpose: str, device: torch.device
) -> tuple[Network, Float[Tensor, "networks size"]]:
    """The network of a resolved protocol and the initial weights that it is evaluated from.

    Raises:
        UserError: the network cannot take the set's images, the stored weights do not fit it, or it comes with other
            weights than those that the set was made for.
    """
    network = build(protocol.network, shape=distilled.shape, classes=distilled.classes)
    if protocol.network == distilled.header.network:
        _must_come_with_the_same(distilled, network)
    network = network.to(device)
    if is_pool(protocol.initialiser):
        _must_be_the_recorded_pool(distilled, protocol.initialiser)
        return network, measured_with(protocol.initialiser, network, purpose)[: protocol.networks].to(device)
    if protocol.initialiser != "fixed":
        streams = [generator(protocol.seed, purpose, i) for i in range(protocol.networks)]
        return network, network.init(protocol.initialiser, streams).to(device)
    own = distilled.header.initial == "own"
    return network, (network.own() if own else stored_weights(distilled, network))[None].to(device)


def _must_be_the_recorded_pool(distilled: DistilledSet, initialiser: str) -> None:
    """Raise a `UserError` if the file of the set's pool holds another pool than the one that the set was made for."""
    recorded = distilled.header.provenance.get("pool", {}).get("sha256")
    if not recorded or initialiser != distilled.header.initialiser:
        return
    path = parse(initialiser)[0]
    found = load_pool(path).sha256
    if found != recorded:
        raise UserError(
            f"{path} is not the pool that the set was made for: its SHA-256 is {found[:12]}, the set says "
            f"{recorded[:12]}; put the right pool there, or name another one with --initialiser pool:FILE"
        )


def user_weights_sha256(network: Network, initial: str) -> str:
    """SHA-256 of the weights that sets with this `Header.initial` leave to the network; empty where there are none."""
    return network.sha256(network.own() if initial == "own" else None)


def _must_come_with_the_same(distilled: DistilledSet, network: Network) -> None:
    claimed = distilled.header.weights
    found = user_weights_sha256(network, distilled.header.initial) if claimed else ""
    if found != claimed:
        raise UserError(
            f"network {network.name!r} comes with other weights (SHA-256 {found[:12] or 'of none'}) than those that "
            f"the set was made for ({claimed[:12]}); give it the weights file that the set was made with"
        )


def stored_weights(distilled: DistilledSet, network: Network) -> Float[Tensor, " size"]:
    """The initial weights that the set holds, as one vector.

    Raises:
        UserError: they do not fit the network.
    """
    stored = dict(distilled.theta_0 or {})
    if {name: value.shape for name, value in stored.items()} != dict(zip(network.names, network.shapes, strict=True)):
        raise UserError(f"the initial weights stored in the set do not fit network {network.name!r}")
    return network.flat(stored)


def trained(
    distilled: DistilledSet, protocol: Protocol, network: Network, thetas: Float[Tensor, "networks size"]
) -> Iterator[Float[Tensor, "networks size"]]:
    """Final weights, `TOGETHER` networks at a time."""
    if not len(thetas):  # a process may have no share
        return
    for some in thetas.split(1 if network.wide and thetas.device.type == "cpu" else TOGETHER):
        steps = along(distilled, protocol, network, some)
        yield deque(steps, maxlen=1).pop()  # all of a long program would fill the memory


def along(
    distilled: DistilledSet, protocol: Protocol, network: Network, thetas: Float[Tensor, "networks size"]
) -> Iterator[Float[Tensor, "networks size"]]:
    """Weights after each step of the program, of a set as the protocol trains on it (`Protocol.applied`)."""
    device, rule = thetas.device, optimiser(distilled.header.optimiser)
    if protocol.clip:
        rule = Clipped(inside=rule, limit=protocol.clip)
    labels = distilled.labels.to(device) if distilled.hard else distilled.labels.to(thetas)
    tensors = (distilled.examples.to(thetas), labels, distilled.step_sizes.to(thetas))
    return unroll(inner_loss(network), thetas, *tensors, rule)
