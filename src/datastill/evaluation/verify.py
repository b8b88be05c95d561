"""Whether a distilled set does what it claims."""

import shlex
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..artifact import DistilledSet
from ..data import RealData
from ..errors import UserError
from ..modes import usual_modes
from ..records import updated
from ..trust import check_data, check_initialiser, check_network
from .attack import attacked
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
    """Measure the claimed score again, on the same networks, and say of every claim in the set what became of it.

    Args:
        distilled: the set, with a score.
        data: the real data of the claim.
        networks: only the first so many networks; all when left out.
        tolerance: how far a mean or a standard deviation may be off, as a fraction of 1.
        trust: let the set's network import a module or open another file; see `DistilledSet.trusted`.
        progress: show progress on the terminal.

    Returns:
        ``holds`` (no claim was found wrong), the ``claimed`` and ``measured`` means over the same networks, ``n``, the
        largest difference of any one network, and ``claims``: each with its name, its verdict (``holds``, ``does not
        hold``, ``not checked``) and a text.

    Raises:
        UserError: the set claims nothing, or fewer networks than asked for, or needs trust, or the data is not that
            whose SHA-256 the set holds.
    """
    distilled = distilled.with_trust(trust)
    protocol, claim = claimed_protocol(distilled), distilled.header.score or {}
    count = claim["n"] if networks is None else networks
    if not 1 <= count <= claim["n"]:
        raise UserError(f"networks is {count}, but the claim was measured on {claim['n']}; take 1 to {claim['n']}")
    protocol, split = replace(protocol, networks=count), claim["split"]
    data = matched(distilled, data)
    require_recorded_data(distilled, data, split)
    found = score(distilled, data, protocol, split=split, progress=progress)
    attack = None
    if distilled.header.attack and "attack" in claim:
        attack = attacked(distilled, data, protocol, split=split, progress=progress)
    all_claims = list(claims(distilled, data, found, attack, tolerance))
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
    """The protocol that a set's score was measured by.

    Raises:
        UserError: the set claims nothing, or it is not trusted and the protocol would import a module or open a file.
    """
    if not distilled.header.score:
        raise UserError("the set claims no score; measure one with: datastill evaluate")
    protocol = updated(Protocol(), distilled.header.score["protocol"], "score.protocol.")
    if not distilled.trusted:
        check_network(protocol.network)
        check_initialiser(protocol.initialiser)
    # fixed and none are what a set's own weights and nearest neighbours are resolved to, not names of initialisers
    return replace(protocol, initialiser="") if protocol.initialiser in ("fixed", "none") else protocol


def check_command(distilled: DistilledSet, path: Path) -> str:
    """The command that measures the claims of the set in a file again, with ``--trust`` where it is needed."""
    header = distilled.header
    try:
        data = header.config.get("data", {})
        if not data.get("in_memory"):
            check_data(data.get("name", header.data))
        check_network(header.network)
        if header.initial == "random":
            check_initialiser(header.initialiser)
    except UserError:
        return f"datastill verify {shlex.quote(str(path))} --trust"
    return f"datastill verify {shlex.quote(str(path))}"


def packed(distilled: DistilledSet, data: RealData, *, progress: bool = False) -> DistilledSet:
    """The set with its examples rounded to 8 bits, and its score measured again by the protocol that it had.

    Raises:
        UserError: the set claims no score, or data and set do not belong together.
    """
    protocol, split = claimed_protocol(distilled), (distilled.header.score or {})["split"]
    small = distilled.packed()
    return small.with_score(score(small, data, protocol, split=split, progress=progress).as_dict())
