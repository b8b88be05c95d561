"""Check that a set can be scored, before it is learned for hours."""

from dataclasses import replace

import torch
from torch import Tensor

from ..artifact import DistilledSet
from ..errors import UserError, counted
from ..networks import Network
from ..networks.pool import TEST_NETWORKS
from ..program import Shuffled
from ..user_modules import one_line
from .fit import along, unseen
from .protocol import Protocol


def must_be_measurable(
    distilled: DistilledSet, protocol: Protocol, device: torch.device, name: str = "protocol"
) -> None:
    """Raise a `UserError` if a set cannot be scored by a protocol; takes one gradient step of one network to see it.

    Args:
        distilled: a set with the size, network and type of labels of the set that will be scored.
        protocol: the protocol that the set will be scored by.
        device: the device that the networks are trained on.
        name: the name of the protocol among the settings of the run.
    """
    resolved = replace(protocol.resolved(distilled), networks=1)
    if not resolved.answerer.trains:
        raise UserError(
            f"a run is scored with networks, not by {resolved.network!r}; leave --{name}.network out, and score the "
            f'finished set with: datastill evaluate FILE --network "{resolved.network}"'
        )
    order = resolved.program_of(distilled).order
    network, thetas = unseen(distilled, resolved, TEST_NETWORKS, device)
    next(along(distilled, resolved, network, thetas))
    if isinstance(order, Shuffled) and (rest := distilled.size % order.batch):
        _must_take(network, thetas[0], distilled.inputs[:rest].to(thetas), order.batch)


@torch.no_grad()
def _must_take(network: Network, theta: Tensor, rest: Tensor, batch: int) -> None:
    """Raise a `UserError` if a network cannot take the last batch of an epoch, as with batch normalisation of one."""
    try:
        network.apply(theta, rest)
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"network {network.name!r} cannot take {counted(len(rest), 'example')}, which the last of the batches of "
            f"{batch} has: {one_line(error)}; take another number of examples, or a network without batch normalisation"
        ) from error
