"""The claims about how a score was measured: with the settings of the set, or with settings of its configuration."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from ..artifact import DistilledSet
from ..networks import build
from ..networks.start import Start
from ..storage.files import as_read
from .claim import Claim
from .protocol import Protocol, start_words

COUNTED_ELSEWHERE = ("networks", "seed")
"""Settings that are no property of the set: how many networks were measured, and which ones."""


def protocol_claims(distilled: DistilledSet, measured: Mapping[str, Any]) -> Iterator[Claim]:
    """Yield the claims about the settings of a score, compared with the settings of the new measurement.

    Args:
        distilled: the set, with a score.
        measured: the resolved protocol of the new measurement.
    """
    given = {name: value for name, value in measured.items() if value not in ("", 0, None)}
    settings = ", ".join(f"{name} {_said(name, value)}" for name, value in given.items())
    wrong = list(_wrong(distilled, measured))
    if not any(each.name == "network" for each in wrong):
        yield Claim(name="network", verdict="holds", text=f"measured with {measured['network']!r}")
    yield from wrong
    if not wrong:
        yield Claim(name="protocol", verdict="holds", text=f"measured with {settings}")
    if distilled.theta_0:
        text = "the initial weights are stored; how they were drawn cannot be seen"
        yield Claim(name="start", verdict="not checked", text=text)
    yield from _weights(distilled, measured["network"])


def _wrong(distilled: DistilledSet, measured: Mapping[str, Any]) -> Iterator[Claim]:
    """Yield a claim for each setting that neither the set has nor its configuration asks for, or that had no effect."""
    claimed = (distilled.header.score or {})["protocol"]
    asked = as_read(distilled.header.config.get("protocol"))
    own = _own(distilled, measured["network"])
    for name, value in measured.items():
        if name in COUNTED_ELSEWHERE:
            continue
        if claimed.get(name) and claimed[name] != value:
            text = f"the score claims {_said(name, claimed[name])!r}, but only {_said(name, value)!r} can be measured"
        elif value not in (own[name], asked.get(name) if isinstance(asked, Mapping) else None):
            text = f"the set was made for {_said(name, own[name])!r}, but its score was measured with "
            text += repr(_said(name, value))
        else:
            continue
        yield Claim(name=name, verdict="does not hold", text=text)


def _own(distilled: DistilledSet, network: str) -> Mapping[str, Any]:
    """Return the resolved settings of the set itself on a network; names are compared, nothing is opened."""
    own = Protocol(network=network).resolved(replace(distilled, trusted=True)).as_plain()
    return own | {"network": distilled.header.network}


def _said(name: str, value: Any) -> Any:
    """Return a setting as a user writes it."""
    return start_words(value) if name == "start" else value


def _weights(distilled: DistilledSet, network: str) -> Iterator[Claim]:
    """Yield the claim about weights that the user's network must already have."""
    header = distilled.header
    recorded = header.start.required_sha256 or header.frozen
    if network != header.network:
        if recorded:
            yield Claim(name="weights", verdict="not checked", text="measured with another network")
        return
    if recorded:  # compared when the network was made
        yield Claim(name="weights", verdict="holds", text=f"SHA-256 {recorded[:12]}")
    elif _comes_with_weights(header.start) or build(network, shape=distilled.shape, classes=distilled.classes).sha256():
        yield Claim(
            name="weights", verdict="not checked", text="the SHA-256 of the network's own weights is not recorded"
        )


def _comes_with_weights(start: Start) -> bool:
    """Return whether the only weights to start from are not in the set."""
    return start.is_one and not start.is_stored
