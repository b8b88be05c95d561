"""The score of a distilled set: accuracy of networks that distilling never saw, trained on the set alone."""

import itertools
import os
import platform
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from .. import distributed
from ..artifact import DistilledSet
from ..data import RealData, Split
from ..errors import at_least, must_be, unknown
from ..modes import usual_modes
from ..networks import Network
from ..objectives import Accuracy, Measure
from ..runlog import ProgressLine, say
from . import fit
from .answerers import NearestNeighbours
from .answers import Answers
from .confusion import Counts, counted, none_yet, together
from .fit import along, unseen
from .kept import Kept, kept_for
from .matching import matched
from .protocol import Protocol

Rows = list[list[float]]
"""The values of several measures, a row for each network."""
CURVE, LONG_CURVE = (10, 2000), (2, 500)
"""The largest numbers of networks and of images that a curve is measured with; the second is for long programs, whose
curve would otherwise take longer than the score."""
LONG_STEPS = 500
"""Gradient steps above which a program is long."""
CURVE_POINTS = 60
"""The approximate largest number of points of a curve."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """The score of a set: accuracy of several networks, as fractions of 1."""

    split: str
    """Split of the real data: ``test`` or ``validation``."""
    images: int
    """Number of images that each network was measured on."""
    mean: float
    """Mean accuracy over networks."""
    sd: float
    """Standard deviation over networks (n - 1 in the denominator; 0 for one network)."""
    n: int
    """Number of networks."""
    accuracies: list[float]
    """Accuracy of each network."""
    seconds: float
    """Seconds that the evaluation took, since it was last begun."""
    hardware: str
    """Kind of the machine, e.g. ``2-core x86_64 CPU``."""
    protocol: dict[str, Any]
    """The resolved protocol, with a value for every setting."""
    measures: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    """Further measures of each network by their names, as fractions of 1: ``before`` and ``after`` training on the set.
    Without networks (nearest neighbours) there is no value before."""
    confusion: list[list[int]] = field(default_factory=list)
    """In row i and column j: how many answers of all networks together were class j for examples of class i.
    Empty if this was not asked for, or if there are more than 100 classes."""

    def __str__(self) -> str:
        spread = f" ± {self.sd * 100:.2f}" if self.n > 1 else ""
        return f"{self.mean:.2%}{spread} (n = {self.n}, {self.images} {self.split} examples)"

    def as_dict(self) -> dict[str, Any]:
        """Return the score as plain JSON values; without measures and confusion if there are none."""
        return {name: value for name, value in asdict(self).items() if value or name not in ("measures", "confusion")}


@usual_modes()
def score(
    distilled: DistilledSet,
    data: RealData,
    protocol: Protocol | None = None,
    *,
    split: Literal["test", "validation"] = "test",
    images: int | None = None,
    trained: bool = True,
    measures: Sequence[Measure] | None = None,
    confusion: bool = False,
    trust: bool = False,
    progress: bool = False,
    folder: str | Path | None = None,
) -> Score:
    """Train unseen networks on the set alone and measure each on a split of the real data.

    Args:
        distilled: the set.
        data: the real data that it was made from, or other data with the same image shape and class names, in any
            order.
        protocol: the networks and their training; None uses the defaults of `Protocol`.
        split: ``validation`` for every choice, ``test`` once at the end.
        images: measure on this number of images, evenly spaced in the split; None measures on all.
        trained: False measures the networks with their initial weights, before they are trained on the set.
        measures: what to measure besides the accuracy, which needs true labels; None: what the objective of the set
            asks for.
        confusion: also count how often each class is answered for each.
        trust: let the set's network import a module or open another file; see `DistilledSet.trusted`.
        progress: show progress on the terminal.
        folder: keep the values of finished networks in this folder, and do not measure again those that it holds.

    Raises:
        UserError: the data does not fit the set, the network cannot take the images, or the set needs trust.
    """
    began = time.perf_counter()
    protocol = protocol or Protocol()
    must_be("protocol", protocol, Protocol, "make one: datastill.Protocol(networks=20)")
    if images is not None:
        at_least("images", images, 1)
    if split not in ("test", "validation"):
        raise unknown("split", str(split), ("test", "validation"))
    for each in measures or ():
        must_be("one of measures", each, Measure, "make one: datastill.objectives.Accuracy()")
    data = matched(distilled, data)
    distilled = distilled.with_trust(trust)
    resolved = protocol.resolved(distilled)
    real = getattr(data, split).spaced(images)
    chosen = [Accuracy(), *(distilled.header.objective.measures if measures is None else measures)]
    counts = none_yet(distilled.classes) if confusion else None
    if isinstance(neighbours := resolved.answerer, NearestNeighbours):
        answers = neighbours.answers(distilled, real)
        found = {"after": [[measure(answers, real.labels) for measure in chosen]]}
        counts = counted(answers, real.labels, distilled.classes) if counts is not None else None
    else:
        purpose = f"{split} networks"
        settings = [resolved.as_plain(), split, len(real), trained, [measure.name for measure in chosen]]
        settings += ["confusion"] if counts is not None else []
        kept = kept_for(Path(folder), "networks", distilled, settings) if folder else None
        found, counts = _measured(
            distilled, resolved, real, purpose, chosen, kept, counts, trained=trained, quiet=not progress
        )
        resolved = replace(resolved, networks=len(found["after"]))  # a pool may have fewer networks
    accuracies = [values[0] for values in found["after"]]
    if progress:
        _say_if_fewer(len(accuracies), protocol.networks)
        _say_if_diverged(accuracies)
    return Score(
        split=split,
        images=len(real),
        mean=statistics.fmean(accuracies),
        sd=statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0,
        n=len(accuracies),
        accuracies=accuracies,
        seconds=round(time.perf_counter() - began, 2),
        hardware=hardware(data.device),
        protocol=resolved.as_plain(),
        measures={
            measure.name: {stage: [values[i] for values in rows] for stage, rows in found.items()}
            for i, measure in enumerate(chosen[1:], 1)
        },
        confusion=[] if counts is None else counts.tolist(),
    )


def _say_if_fewer(measured: int, asked: int) -> None:
    """Say that fewer networks were measured than the user asked for; nothing is said about the default number."""
    if measured < asked and asked != Protocol.networks:
        why = "the pool has no more" if measured > 1 else "there are no other initial weights to train from"
        say(f"networks is {asked}, but {measured} can be measured: {why}")


def _say_if_diverged(accuracies: Sequence[float]) -> None:
    """Say how many networks are right for no example, which is below guessing."""
    if wrong := accuracies.count(0):
        say(
            f"{wrong} of {len(accuracies)} networks answer no example right, so their training has probably diverged "
            "(outputs that are not finite count as wrong); try a smaller step size"
        )


def _measured(
    distilled: DistilledSet,
    protocol: Protocol,
    real: Split,
    purpose: str,
    measures: Sequence[Measure],
    kept: Kept | None,
    counts: Counts | None,
    *,
    trained: bool,
    quiet: bool,
) -> tuple[dict[str, Rows], Counts | None]:
    """Return the values of the measures of each network, after training and, of several measures, before it.

    With `counts`, also return them with the answers of all networks after training added.
    """
    network, thetas = unseen(distilled, protocol, purpose, real.images.device)
    thetas = thetas[distributed.rank_slice(len(thetas))]
    answers = Answers(network, distilled, real, len(thetas))
    before: Rows = []
    both = trained and len(measures) > 1
    after, counts = _begun(kept, counts, network, thetas)
    of_groups = counts
    stages: list[tuple[Rows, Iterable[Tensor]]] = [(before, [thetas])] if both else []
    first, total = len(after), len(thetas) * (2 if both else 1)
    with ProgressLine("evaluate", total=total, done=first, unit="network", quiet=quiet) as line:

        def follow(done: float, note: str) -> None:
            line.update(len(before) + first + done, note)

        left = thetas[first:]
        stages.append((after, fit.trained(distilled, protocol, network, left, purpose, follow) if trained else [left]))
        for rows, stacks in stages:
            for one in answers.each(theta for some in stacks for theta in some):
                rows.append([measure(one, real.labels) for measure in measures])
                if counts is not None and rows is after:
                    counts = counts + counted(one, real.labels, distilled.classes)
                    of_groups = counts if len(fit.whole_groups(after, network, thetas)) == len(after) else of_groups
                if kept and rows is after:
                    kept.keep(after, of_groups)
                line.update(len(before) + len(after), f"mean {statistics.fmean(values[0] for values in rows):.2%}")
    found = {"before": before, "after": after} if both else {"after": after}
    return {stage: distributed.gathered(rows) for stage, rows in found.items()}, together(counts)


def _begun(
    kept: Kept | None, counts: Counts | None, network: Network, thetas: Float[Tensor, "networks size"]
) -> tuple[Rows, Counts | None]:
    """Return the values of the networks that were measured before, and the counts of their answers."""
    rows = fit.whole_groups(kept.rows(), network, thetas) if kept else []
    if not kept or not rows or counts is None:
        return rows, counts
    found = kept.counts()
    return (rows, found) if found is not None and found.shape == counts.shape else ([], counts)


@usual_modes()
def curve(
    distilled: DistilledSet, data: RealData, protocol: Protocol | None = None, *, progress: bool = False
) -> dict[str, Any]:
    """Measure the accuracy during training on the set, on part of the validation split.

    Args:
        distilled: the set.
        data: as for `score`.
        protocol: as for `score`.
        progress: show progress on the terminal.

    Returns:
        ``steps``: numbers of gradient steps, from 0 to all, about evenly spaced; ``mean`` and ``sd``: accuracy over
        networks after each of these numbers of steps; ``split``, ``images`` and ``networks`` of the measurement.
    """
    data = matched(distilled, data)
    resolved = (protocol or Protocol()).resolved(distilled)
    resolved.must_train("accuracy after each step")
    purpose = "validation networks"
    network, thetas = unseen(distilled, resolved, purpose, data.device)
    length = resolved.program_of(distilled).length(distilled.size)
    networks, images = LONG_CURVE if length > LONG_STEPS else CURVE
    thetas, real = thetas[:networks], data.validation.spaced(images)
    answers, accuracy = Answers(network, distilled, real), Accuracy()
    shown = {*range(0, length, -(-length // CURVE_POINTS)), length}
    stages = itertools.chain([thetas], along(distilled, resolved, network, thetas, purpose))
    rows = []
    with ProgressLine("accuracy along the program", total=length, unit="gradient step", quiet=not progress) as line:
        for step, stage in enumerate(stages):
            if step in shown:
                rows.append([accuracy(answers(theta), real.labels) for theta in stage])
            line.update(step)
    return {
        "steps": sorted(shown),
        "split": "validation",
        "images": len(real),
        "networks": len(thetas),
        "mean": [statistics.fmean(row) for row in rows],
        "sd": [statistics.stdev(row) if len(row) > 1 else 0.0 for row in rows],
    }


def hardware(device: torch.device) -> str:
    """Return the kind of the machine, e.g. ``2-core x86_64 CPU`` or the model of the GPU, without its host name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores}-core {platform.machine()} CPU"
