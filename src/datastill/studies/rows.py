"""The rows of tables: making and measuring one kind of baseline, and writing its scores."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any

from ..artifact import DistilledSet
from ..baselines import Beside
from ..evaluation import Protocol, Score, score
from ..methods.selection import Average, Herding, KCenter, KMeans, RandomReal, Selection
from ..program import known_name
from ..report import spread_of


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of baseline."""

    title: str
    """Its name in tables."""
    method: Selection
    candidates: int = 1
    """How many sets are made, of which the best on train images is kept."""


KINDS = {
    "random": Kind(title="random real images", method=RandomReal()),
    "optimised-random": Kind(title="random real, best 20 % on train images", method=RandomReal(), candidates=5),
    "average": Kind(title="class average", method=Average()),
    "k-means": Kind(title="k-means of each class", method=KMeans()),
}
"""The baselines of the paper."""


def core_sets(features: str) -> dict[str, Kind]:
    """Return the core-sets by pixels, and by the features of a network that is trained first."""
    learned = f"features of a trained {features}"
    return {
        "k-center": Kind(title="k-center greedy, pixels", method=KCenter()),
        "k-center-features": Kind(title=f"k-center greedy, {learned}", method=KCenter(features=features)),
        "herding": Kind(title="herding, pixels", method=Herding()),
        "herding-features": Kind(title=f"herding, {learned}", method=Herding(features=features)),
    }


def sets(kind: Kind, beside: Beside, count: int, *, tune: bool = True) -> Iterator[DistilledSet]:
    """Make sets with the seeds from 0 to `count` - 1, or only with seed 0 if the kind does not depend on it.

    With `tune` their program is chosen for each set, otherwise it stays provisional.
    """
    for seed in range(count if kind.method.varies else 1):
        yield beside.made(kind.method, seed=seed, candidates=kind.candidates, tune=tune)


def baseline(kind: Kind, beside: Beside, count: int, networks: int) -> dict[str, Any]:
    """Measure sets on the test split; the program is chosen on validation images, for the first set and then kept.

    Returns:
        ``scores``; ``bytes`` of a set; ``chosen``, the training that was chosen.
    """
    program, scores = None, []
    for seed in range(count if kind.method.varies else 1):
        one = beside.made(kind.method, seed=seed, candidates=kind.candidates, program=program)
        program = one.program
        scores.append(score(one, beside.data, Protocol(networks=networks), progress=True).as_dict())
    return {"scores": scores, "bytes": one.nbytes, "chosen": asdict(_protocol(one))}


def _protocol(distilled: DistilledSet) -> Protocol:
    """Return the step size, epochs and optimiser of a baseline as a protocol."""
    sizes, optimiser = distilled.step_sizes, known_name(distilled.program.optimiser)
    return Protocol(step_size=float(sizes[0, 0]), epochs=len(sizes), optimiser=optimiser)  # type: ignore[arg-type]


def as_score(plain: dict[str, Any]) -> Score:
    """Make a score from plain values, which may hold other keys too."""
    return Score(**{f.name: plain[f.name] for f in fields(Score) if f.name in plain})


def scores_of(record: dict[str, Any]) -> list[Score]:
    """Return the scores in the record of a part."""
    return [as_score(plain) for plain in record["scores"]]


def count_and_accuracy(scores: list[Score]) -> str:
    """Write two cells of a table: networks x sets, and mean and standard deviation over all of them."""
    accuracies = [accuracy for one in scores for accuracy in one.accuracies]
    return f"{scores[0].n} x {len(scores)} | {spread_of(accuracies)}"
