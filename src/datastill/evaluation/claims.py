"""The claims in a distilled set about its score: each holds, does not hold, or was not checked."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..artifact import DistilledSet, Teacher
from ..artifact.scores import ROUNDED
from ..data import RealData
from ..errors import UserError, counted
from .claim import Claim, Verdict
from .protocol_claims import protocol_claims
from .score import Score

UNCHECKED = ("baseline", "curve", "seconds", "hardware")
"""The parts of a score that `verify` does not measure."""
NETWORKS_PER_MOVED_ONE = 20
"""One network among so many may get a very different accuracy from the rounding of another machine."""
NEARLY_EQUAL = 1e-4
"""The largest difference of two means or standard deviations of pixels in [0, 1] that counts as none: a fortieth of one
of 256 levels. Copies of one dataset differ by up to 3e-5."""


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


def claims(distilled: DistilledSet, data: RealData, found: Score, tolerance: float) -> Iterator[Claim]:
    """Yield every claim of a set, compared with a new measurement.

    Args:
        distilled: the set, with a score.
        data: the real data of the new measurement.
        found: the new measurement, on the first networks of the set's score.
        tolerance: the largest allowed difference of a mean or a standard deviation, as a fraction of 1.
    """
    header, claim = distilled.header, distilled.header.score or {}
    yield from _figures(claim, found, tolerance)
    yield _equal("images", claim["images"], found.images)
    yield Claim(name="split", verdict="holds", text=f"measured on the {found.split} split")
    yield _data_name(distilled, data)
    yield from _identity(distilled, data)
    yield _normalisation(distilled, data)
    if isinstance(header.labels, Teacher) and found.protocol["labels"] == "soft":
        yield Claim(name="teacher", verdict="holds", text=f"SHA-256 {header.labels.sha256[:12]}")
    yield from protocol_claims(distilled, found.protocol)
    yield from _measures(distilled, found, tolerance)
    for name in UNCHECKED:
        if name in claim:
            yield Claim(name=name, verdict="not checked", text="verify does not measure it")
    for name in ("method", "config", "provenance"):
        if getattr(header, name):
            yield Claim(name=name, verdict="not checked", text="how the set was made cannot be seen from the set")


def _figures(claim: Mapping[str, Any], found: Score, tolerance: float) -> Iterator[Claim]:
    count, measured = claim["n"], found.accuracies
    first = claim["accuracies"][: found.n]
    if whole := found.n == count == len(claim["accuracies"]):
        yield _near("mean", claim["mean"], found.mean, tolerance, "measured")
        yield _sd(claim, found, tolerance)
    yield _near(
        f"accuracies of {counted(found.n, 'network')}", statistics.fmean(first), found.mean, tolerance, "measured"
    )
    yield _single_accuracies(first, measured, tolerance)
    if whole:
        yield Claim(name="n", verdict="holds", text=f"{counted(found.n, 'network')}, all measured")
        return
    if len(claim["accuracies"]) != count:
        text = f"{count} claimed, but there are {len(claim['accuracies'])} accuracies"
        yield Claim(name="n", verdict="does not hold", text=text)
        return
    for name in ("mean", "sd", "n"):
        text = f"{claim[name]:.6g} claimed for {counted(count, 'network')}, of which {found.n} measured"
        yield Claim(name=name, verdict="not checked", text=text)


def _sd(claim: Mapping[str, Any], found: Score, tolerance: float) -> Claim:
    """Compare standard deviations; if they differ, once more without the few networks that differ most.

    Rounding of another machine can move one network of twenty by several points, and the standard deviation with it.
    """
    plain, few = _near("sd", claim["sd"], found.sd, tolerance, "measured"), found.n // NETWORKS_PER_MOVED_ONE
    agrees = few and abs(statistics.stdev(claim["accuracies"]) - claim["sd"]) <= ROUNDED
    if plain.verdict == "holds" or not agrees:
        return plain
    pairs = sorted(zip(claim["accuracies"], found.accuracies, strict=True), key=lambda pair: abs(pair[0] - pair[1]))
    claimed, measured = (statistics.stdev(values) for values in zip(*pairs[:-few], strict=True))
    if abs(claimed - measured) > tolerance:
        return plain
    without = f"{claimed:.2%} and {measured:.2%} without the largest differences ({counted(few, 'network')})"
    return Claim(name="sd", verdict="holds", text=f"{plain.text}, but {without}, which rounding can explain")


def _single_accuracies(claimed: Sequence[float], measured: Sequence[float], tolerance: float) -> Claim:
    """Compare single networks: another machine may move one of them, but not their mean, so that it is no proof."""
    largest = max(abs(a - b) for a, b in zip(claimed, measured, strict=False))
    text = f"the largest difference of one network is {largest * 100:.2f} points"
    if largest <= tolerance:
        return Claim(name="accuracy of each network", verdict="holds", text=text)
    text += "; rounding of another machine can explain it, and so can a wrong claim"
    return Claim(name="accuracy of each network", verdict="not checked", text=text)


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
    for split, ours in data.sha256.items() if recorded else ():
        name, sha256 = f"SHA-256 of the {split} split", recorded.get(split)
        if not sha256:
            yield Claim(name=name, verdict="not checked", text="not recorded")
            continue
        verdict: Verdict = "holds" if sha256 == ours else "does not hold"
        yield Claim(name=name, verdict=verdict, text=f"{sha256[:12]} claimed, {ours[:12]} found")
    names = sorted(distilled.header.class_names) == sorted(data.class_names)
    text = "equal to the class names of the data" if names else "different from the class names of the data"
    yield Claim(name="class names", verdict="holds" if names else "not checked", text=text)


def _normalisation(distilled: DistilledSet, data: RealData) -> Claim:
    """Compare the numbers that normalise examples, such as mean and standard deviation, with those of the data."""
    space = distilled.header.space
    largest = space.difference(data.space)
    verdict: Verdict = "holds" if largest <= NEARLY_EQUAL else "does not hold"
    return Claim(
        name=space.compared, verdict=verdict, text=f"they differ from those of the data by at most {largest:.2g}"
    )


def _measures(distilled: DistilledSet, found: Score, tolerance: float) -> Iterator[Claim]:
    objective, claimed = distilled.header.objective, (distilled.header.score or {}).get("measures") or {}
    for measure in objective.measures:
        if measure.name not in claimed:
            yield Claim(name=measure.name, verdict="not checked", text="the score does not hold this measure")
    for name, stages in claimed.items():
        if name not in found.measures:
            text = f"no such measure belongs to the objective of the set, which is {objective}"
            yield Claim(name=name, verdict="does not hold", text=text)
            continue
        for stage, values in stages.items():
            yield _stage(f"{name} {stage}", values, found.measures[name].get(stage), tolerance)


def _stage(name: str, claimed: Sequence[float], measured: Sequence[float] | None, tolerance: float) -> Claim:
    if measured is None:
        return Claim(name=name, verdict="not checked", text="verify does not measure it")
    first, mean = statistics.fmean(claimed[: len(measured)]), statistics.fmean(measured)
    return _near(name, first, mean, tolerance, f"measured with {counted(len(measured), 'network')}")
