"""Check that a set can be scored, before it is learned for hours."""

from dataclasses import replace

import torch

from ..artifact import DistilledSet
from ..errors import UserError
from .fit import along, unseen
from .protocol import Protocol

MOST_STEPS = 100_000
"""The largest number of gradient steps of a protocol."""


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
    steps = resolved.program_of(distilled).length(distilled.size)
    if steps > MOST_STEPS:
        raise UserError(
            f"{name}.epochs is {resolved.epochs}, which makes {steps} gradient steps, but at most {MOST_STEPS} are "
            "allowed; use fewer epochs"
        )
    network, thetas = unseen(distilled, resolved, "test networks", device)
    next(along(distilled, resolved, network, thetas))
