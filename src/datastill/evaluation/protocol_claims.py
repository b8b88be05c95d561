"""The claims about how a score was measured: with the settings of the set, or with settings of its configuration."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

from ..artifact import DistilledSet
from ..networks import build
from . import neighbours
from .claim import Claim
from .protocol import Protocol

COUNTED_ELSEWHERE = ("networks", "seed")
"""Settings that are no property of the set: how many networks were measured, and which ones."""


def protocol_claims(distilled: DistilledSet, measured: Mapping[str, Any]) -> Iterator[Claim]:
    """Yield the claims about the settings of a score, compared with the settings of the new measurement.

    Args:
        distilled: the set, with a score.
        measured: the resolved protocol of the new measurement.
    """
    settings = ", ".join(f"{name} {value}" for name, value in measured.items() if value not in ("", 0))
    wrong = list(_wrong(distilled, measured))
    if not any(each.name == "network" for each in wrong):
        yield Claim(name="network", verdict="holds", text=f"measured with {measured['network']!r}")
    yield from wrong
    if not wrong:
        yield Claim(name="protocol", verdict="holds", text=f"measured with {settings}")
    if distilled.header.initial == "fixed":
        text = "the initial weights are stored; how they were drawn cannot be seen"
        yield Claim(name="initialiser", verdict="not checked", text=text)
    yield from _weights(distilled, measured["network"])


def _wrong(distilled: DistilledSet, measured: Mapping[str, Any]) -> Iterator[Claim]:
    """Yield a claim for each setting that neither the set has nor its configuration asks for, or that had no effect."""
    claimed = (distilled.header.score or {})["protocol"]
    asked = distilled.header.config.get("protocol")
    own = _own(distilled, measured["network"])
    for name, value in measured.items():
        if name in COUNTED_ELSEWHERE:
            continue
        if claimed.get(name) and claimed[name] != value:
            text = f"the score claims {claimed[name]!r}, but only {value!r} can be measured"
        elif value not in (own[name], asked.get(name) if isinstance(asked, Mapping) else None):
            text = f"the set was made for {own[name]!r}, but its score was measured with {value!r}"
        else:
            continue
        yield Claim(name=name, verdict="does not hold", text=text)


def _own(distilled: DistilledSet, network: str) -> Mapping[str, Any]:
    """Return the resolved settings of the set itself on a network; names are compared, nothing is opened."""
    own = asdict(Protocol(network=network).resolved(replace(distilled, trusted=True)))
    if neighbours.asked(network):
        own["initialiser"] = "none"
    return own | {"network": distilled.header.network}


def _weights(distilled: DistilledSet, network: str) -> Iterator[Claim]:
    """Yield the claim about weights that the user's network must already have."""
    header = distilled.header
    if network != header.network:
        if header.weights:
            yield Claim(name="weights", verdict="not checked", text="measured with another network")
        return
    if header.weights:  # compared when the network was made
        yield Claim(name="weights", verdict="holds", text=f"SHA-256 {header.weights[:12]}")
    elif header.initial == "own" or build(network, shape=distilled.shape, classes=distilled.classes).sha256():
        yield Claim(
            name="weights", verdict="not checked", text="the SHA-256 of the network's own weights is not recorded"
        )
