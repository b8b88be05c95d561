"""The claims in a distilled set about its score: each holds, does not hold, or was not checked."""

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ..artifact import DistilledSet
from ..data import RealData
from ..errors import UserError
from .attack import AttackScore
from .score import Score

Verdict = Literal["holds", "does not hold", "not checked"]
UNCHECKED = ("baseline", "curve", "seconds", "hardware")
"""The parts of a score that `verify` does not measure."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A claim of a set, with the result of checking it."""

    name: str
    verdict: Verdict
    text: str
    """The claimed and the measured value, or the reason why the claim was not checked."""

    def as_dict(self) -> dict[str, Any]:
        """Return the claim as plain JSON values."""
        return asdict(self)


def require_recorded_data(distilled: DistilledSet, data: RealData, split: str) -> None:
    """Raise a `UserError` if the set's file holds the SHA-256 of a split and the data's split has another one."""
    if why := other_data(distilled, data, split):
        raise UserError(f"{why}; give the right data with --data")


def other_data(distilled: DistilledSet, data: RealData, split: str) -> str:
    """Return one line that says that a split is not of the data that the set was made from; empty if nothing differs.

    Args:
        distilled: the set; a set of an older version holds no SHA-256 of its data, so that nothing is known.
        data: the real data, with its classes in the order of the set.
        split: the split to compare.
    """
    recorded = _recorded_data(distilled).get(split)
    if not recorded or recorded == data.sha256[split]:
        return ""
    return (
        f"this is not the data that the set was made from: the {split} split of {data.name!r} has SHA-256 "
        f"{data.sha256[split][:12]}, but the set's file says {recorded[:12]}"
    )


def claims(
    distilled: DistilledSet, data: RealData, found: Score, attack: AttackScore | None, tolerance: float
) -> Iterator[Claim]:
    """Yield every claim of a set, compared with a new measurement.

    Args:
        distilled: the set, with a score.
        data: the real data of the new measurement.
        found: the new measurement, on the first networks of the set's score.
        attack: the new measurement of the attack; None if the set claims no attack.
        tolerance: the largest allowed difference of a mean or a standard deviation, as a fraction of 1.
    """
    header, claim = distilled.header, distilled.header.score or {}
    yield from _figures(claim, found, tolerance)
    yield _equal("images", claim["images"], found.images)
    yield Claim(name="split", verdict="holds", text=f"measured on the {found.split} split")
    yield _data_name(distilled, data)
    yield from _identity(distilled, data)
    yield _network(distilled)
    settings = ", ".join(f"{name} {value}" for name, value in found.protocol.items() if value not in ("", 0))
    yield Claim(name="protocol", verdict="holds", text=f"measured with {settings}")
    if attack:
        yield from _attack(claim["attack"], attack, tolerance)
    elif "attack" in claim:
        yield Claim(name="attack", verdict="does not hold", text="the header says that the set was not made to attack")
    for name in UNCHECKED:
        if name in claim:
            yield Claim(name=name, verdict="not checked", text="verify does not measure it")
    for name in ("method", "config", "provenance"):
        if getattr(header, name):
            yield Claim(name=name, verdict="not checked", text="how the set was made cannot be seen from the set")


def _figures(claim: Mapping[str, Any], found: Score, tolerance: float) -> Iterator[Claim]:
    whole = found.n == claim["n"]
    of = "measured" if whole else f"computed from the {len(claim['accuracies'])} accuracies in the file"
    accuracies = found.accuracies if whole else claim["accuracies"]
    mean, sd = statistics.fmean(accuracies), statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0
    yield _near("mean", claim["mean"], mean, tolerance, of)
    yield _near("sd", claim["sd"], sd, tolerance, of)
    first = statistics.fmean(claim["accuracies"][: found.n])
    yield _near(f"accuracies of {found.n} networks", first, found.mean, tolerance, "measured")
    if len(claim["accuracies"]) != claim["n"]:
        text = f"{claim['n']} claimed, but there are {len(claim['accuracies'])} accuracies"
        yield Claim(name="n", verdict="does not hold", text=text)
    elif whole:
        yield Claim(name="n", verdict="holds", text=f"{found.n} networks, all of them measured")
    else:
        yield Claim(name="n", verdict="not checked", text=f"{claim['n']} claimed, only {found.n} of them were measured")


def _near(name: str, claimed: float, value: float, tolerance: float, of: str) -> Claim:
    verdict: Verdict = "holds" if abs(claimed - value) <= tolerance else "does not hold"
    return Claim(name=name, verdict=verdict, text=f"{claimed:.2%} claimed, {value:.2%} {of}")


def _equal(name: str, claimed: Any, value: Any) -> Claim:
    verdict: Verdict = "holds" if claimed == value else "does not hold"
    return Claim(name=name, verdict=verdict, text=f"{claimed} claimed, {value} measured")


def _data_name(distilled: DistilledSet, data: RealData) -> Claim:
    header = distilled.header
    configured = header.config.get("data", {}).get("name", header.data)
    if configured != header.data:
        text = f"the header names {header.data!r}, and its configuration {configured!r}"
        return Claim(name="data", verdict="does not hold", text=text)
    if Path(header.data).name == Path(data.name).name:
        return Claim(name="data", verdict="holds", text=f"measured on {data.name!r}")
    return Claim(name="data", verdict="not checked", text=f"{header.data!r} claimed, but measured on {data.name!r}")


def _recorded_data(distilled: DistilledSet) -> Mapping[str, str]:
    return distilled.header.provenance.get("data_sha256") or {}


def _identity(distilled: DistilledSet, data: RealData) -> Iterator[Claim]:
    recorded = _recorded_data(distilled)
    if not recorded:
        yield Claim(name="identity of the data", verdict="not checked", text="not recorded")
    for split, sha256 in recorded.items():
        name, ours = f"SHA-256 of the {split} split", data.sha256[split]
        verdict: Verdict = "holds" if sha256 == ours else "does not hold"
        yield Claim(name=name, verdict=verdict, text=f"{sha256[:12]} claimed, {ours[:12]} found")
    names = sorted(distilled.header.class_names) == sorted(data.class_names)
    text = "equal to the class names of the data" if names else "different from the class names of the data"
    yield Claim(name="class names", verdict="holds" if names else "not checked", text=text)


def _network(distilled: DistilledSet) -> Claim:
    """Check that the score is of the network the set was made for, or of the one that its configuration asks for."""
    header = distilled.header
    measured = (header.score or {})["protocol"]["network"] or header.network
    configured = header.config.get("protocol")
    asked = configured.get("network") if isinstance(configured, Mapping) else None
    if measured in (header.network, asked):
        return Claim(name="network", verdict="holds", text=f"measured with {measured!r}")
    text = f"the set was made for {header.network!r}, but its score was measured with {measured!r}"
    return Claim(name="network", verdict="does not hold", text=text)


def _attack(claim: Mapping[str, Any], found: AttackScore, tolerance: float) -> Iterator[Claim]:
    for name in ("attack_class", "target_class", "split", "images"):
        yield _equal(f"attack: {name}", claim[name], getattr(found, name))
    for stage in ("before", "after"):
        for name, values in claim[stage].items():
            mean = statistics.fmean(getattr(getattr(found, stage), name))
            yield _near(
                f"attack: {name} {stage}",
                statistics.fmean(values[: found.n]),
                mean,
                tolerance,
                f"measured with {found.n} networks",
            )
