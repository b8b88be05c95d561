"""Check that a distilled set does what it claims."""

import shlex
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..artifact import DistilledSet, Teacher
from ..data import RealData
from ..data.names import is_known
from ..errors import UserError, at_least
from ..modes import usual_modes
from ..storage.records import read
from ..trust import check_network, check_start
from .claims import claims, require_recorded_data
from .matching import matched
from .protocol import Protocol
from .score import score


@usual_modes()
def verify(
    distilled: DistilledSet,
    data: RealData,
    *,
    networks: int | None = None,
    tolerance: float = 0.005,
    trust: bool = False,
    progress: bool = False,
) -> dict[str, Any]:
    """Measure the claimed score again, from equal initial weights, and compare every claim of the set with it.

    Args:
        distilled: the set, with a score.
        data: the real data of the claim.
        networks: measure this number of networks, the first ones of the claim; None measures all.
        tolerance: the largest allowed difference of a mean or a standard deviation, as a fraction of 1.
        trust: let the set's network import a module or open another file; see `DistilledSet.trusted`.
        progress: show progress on the terminal.

    Returns:
        ``holds``: True if no claim is wrong; ``claimed`` and ``measured``: mean accuracies over the measured networks;
        ``n``: how many networks were measured; ``largest_difference``: over single networks; ``tolerance``; and
        ``claims``: each with name, verdict (``holds``, ``does not hold``, ``not checked``) and text.

    Raises:
        UserError: the set has no score, or one of fewer than `networks` networks; the set needs trust; or the data
            does not have the SHA-256 that the set holds.
    """
    data = matched(distilled, data)
    distilled = distilled.with_trust(trust)
    protocol, claim = claimed_protocol(distilled), distilled.header.score or {}
    at_least("tolerance", tolerance, 0)
    count = claim["n"] if networks is None else networks
    if not 1 <= count <= claim["n"]:
        raise UserError(f"networks is {count}, but the score is of {claim['n']} networks; use 1 to {claim['n']}")
    protocol, split = replace(protocol, networks=count), claim["split"]
    require_recorded_data(distilled, data, split)
    found = score(distilled, data, protocol, split=split, progress=progress)
    all_claims = list(claims(distilled, data, found, tolerance))
    pairs = list(zip(claim["accuracies"], found.accuracies, strict=False))
    return {
        "holds": all(each.verdict != "does not hold" for each in all_claims),
        "claimed": statistics.fmean(claim["accuracies"][: found.n]),
        "measured": found.mean,
        "n": found.n,
        "largest_difference": max(abs(a - b) for a, b in pairs),
        "tolerance": tolerance,
        "claims": [each.as_dict() for each in all_claims],
    }


def claimed_protocol(distilled: DistilledSet) -> Protocol:
    """Return the protocol that a set's score was measured by.

    Raises:
        UserError: the set has no score, or it is not trusted and the protocol would import a module or open a file.
    """
    if not distilled.header.score:
        raise UserError(
            "the set has no score; write it with one: datastill pack FILE --to NEW (a run that was stopped before its "
            "score goes on with: datastill distill --resume --out FOLDER)"
        )
    protocol = read(Protocol, distilled.header.score["protocol"], "score.protocol")
    if not distilled.trusted:
        check_network(protocol.network)
        if protocol.start != distilled.header.start:
            check_start(protocol.start)
    return replace(protocol, start=None) if protocol.start == distilled.header.start else protocol


def check_command(distilled: DistilledSet, path: Path) -> str:
    """Return the command that verifies the set in the file `path`, with the options that the set needs.

    ``--trust`` is for a set that names modules or other files; ``--teacher`` names the teacher that the labels come
    from; ``--data`` names data that is not in `$DATASTILL_DATA`. Data that was given in Python has no name: FOLDER is
    to be replaced by a folder that holds this data.
    """
    header, command = distilled.header, f"datastill verify {shlex.quote(str(path))}"
    if isinstance(header.labels, Teacher):
        settings = header.config.get("method", {}).get("teacher_labels", {})
        command += f" --teacher {shlex.quote(settings.get('teacher') or 'TEACHER')}"
    data = header.config.get("data", {})
    name = data.get("name", header.data)
    if data.get("in_memory"):
        command += " --data FOLDER"
    elif not is_known(name):
        command += f" --data {shlex.quote(name)}"
    try:
        check_network(header.network)
        if not distilled.theta_0:
            check_start(header.start)
    except UserError:
        return f"{command} --trust"
    return command


def packed(distilled: DistilledSet, data: RealData, *, progress: bool = False) -> DistilledSet:
    """Return the set with its examples rounded to 8 bits and its score measured again by its protocol.

    A set without a score is measured by the default protocol, on test images.

    Raises:
        UserError: the data does not fit the set, or the set is not trusted and its protocol needs trust.
    """
    data = matched(distilled, data)
    claim = distilled.header.score
    protocol, split = (claimed_protocol(distilled), claim["split"]) if claim else (Protocol(), "test")
    small = distilled.packed()
    return small.with_score(score(small, data, protocol, split=split, confusion=True, progress=progress).as_dict())
