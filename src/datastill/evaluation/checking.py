"""Whether a protocol can be carried out, found out before a set is learned for hours."""

from dataclasses import replace

import torch

from ..artifact import DistilledSet
from ..errors import UserError
from . import neighbours
from .fit import along, unseen
from .protocol import Protocol

LONGEST = 100_000
"""Gradient steps that a protocol may ask for."""


def must_be_measurable(distilled: DistilledSet, protocol: Protocol, device: torch.device) -> None:
    """Raise a `UserError` where a set could not be scored on the test split: takes one gradient step of one network.

    Args:
        distilled: a set of the size, network and labels that are to be scored.
        protocol: how it is to be scored.
        device: where.
    """
    resolved = replace(protocol.resolved(distilled), networks=1)
    if neighbours.asked(resolved.network):
        raise UserError(
            f"a run is scored with networks, not by {resolved.network!r}; leave --protocol.network out, and score the "
            f'finished set with: datastill evaluate FILE --network "{resolved.network}"'
        )
    steps = len(distilled.examples)
    if resolved.epochs * steps > LONGEST:
        raise UserError(
            f"protocol.epochs is {resolved.epochs}, which makes {resolved.epochs * steps} gradient steps; at most "
            f"{LONGEST} are taken"
        )
    applied = resolved.applied(distilled)
    network, thetas = unseen(applied, resolved, "test networks", device)
    next(along(applied, resolved, network, thetas))
