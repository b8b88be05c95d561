"""What a poisoned set does to networks: how often one class is read as another, and what it costs the others."""

import itertools
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from .. import distributed
from ..artifact import DistilledSet
from ..data import RealData
from ..errors import UserError
from ..modes import usual_modes
from ..rng import generator
from ..runlog import ProgressLine
from .accuracy import Accuracy
from .fit import trained, unseen
from .matching import matched
from .protocol import Protocol


@dataclass(frozen=True, kw_only=True)
class Shares:
    """Of each network, as fractions of 1."""

    misread: list[float]
    """Of the attacked class, what is read as the target class."""
    overall: list[float]
    """Of all images, what is read as what it is."""
    others: list[float]
    """Of all images but those of the attacked class, what is read as what it is."""


@dataclass(frozen=True, kw_only=True)
class AttackScore:
    """Networks before and after they are trained on the set."""

    attack_class: str
    target_class: str
    split: str
    images: int
    n: int
    before: Shares
    after: Shares

    def __str__(self) -> str:
        def both(name: str) -> str:
            return " -> ".join(_mean_sd_text(getattr(shares, name)) for shares in (self.before, self.after))

        return (
            f"class {self.attack_class!r} read as {self.target_class!r}: {both('misread')}; "
            f"accuracy: {both('overall')}; of the other classes: {both('others')} "
            f"(n = {self.n}, {self.images} {self.split} images)"
        )

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "AttackScore":
        """The inverse of `as_dict`."""
        named: dict[str, Any] = {**plain, **{name: Shares(**plain[name]) for name in ("before", "after")}}
        return cls(**named)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


@usual_modes()
def attacked(
    distilled: DistilledSet,
    data: RealData,
    protocol: Protocol | None = None,
    *,
    split: Literal["test", "validation"] = "test",
    trust: bool = False,
    progress: bool = False,
) -> AttackScore:
    """Measure the networks of a protocol before and after they are trained on a set that poisons.

    Args:
        distilled: the set; its header names the two classes.
        data: the real data, with its true labels.
        protocol: which networks; the set's own when left out.
        split: ``validation`` for every choice, ``test`` once at the end.
        trust: let the set's network import a module or open another file; see `DistilledSet.trusted`.
        progress: show progress on the terminal.

    Raises:
        UserError: the set was not made to attack, or data and set do not belong together.
    """
    distilled = distilled.with_trust(trust)
    if distilled.header.attack is None:
        raise UserError("the set was not made to attack: it names no class to be misread")
    data = matched(distilled, data)
    resolved, real = (protocol or Protocol()).resolved(distilled), getattr(data, split)
    applied = resolved.applied(distilled)
    network, thetas = unseen(applied, resolved, f"{split} networks", data.device)
    thetas = thetas[distributed.rank_slice(len(thetas))]
    victim, target = distilled.header.attack
    of_class = real.labels == victim
    mine, rest = real.take(of_class.nonzero()[:, 0]), real.take((~of_class).nonzero()[:, 0])
    measures = [Accuracy(network, applied, images) for images in (mine.read_as(victim, target), mine, rest)]
    share = len(mine) / len(real)

    def measured(theta: Float[Tensor, " size"]) -> tuple[float, float, float]:
        misread, right, others = (measure(theta) for measure in measures)
        return misread, share * right + (1 - share) * others, others

    before, after = [], []
    with ProgressLine("attack", total=len(thetas), unit="network", quiet=not progress) as line:
        finals = itertools.chain.from_iterable(trained(applied, resolved, network, thetas))
        for theta, final in zip(thetas, finals, strict=True):
            before.append(measured(theta))
            after.append(measured(final))
            line.update(len(after), f"misread {statistics.fmean(row[0] for row in after):.2%}")
    before, after = distributed.gathered(before), distributed.gathered(after)
    return AttackScore(
        attack_class=distilled.header.class_names[victim],
        target_class=distilled.header.class_names[target],
        split=split,
        images=len(real),
        n=len(after),
        before=_shares(before),
        after=_shares(after),
    )


def with_clean(distilled: DistilledSet, data: RealData, ipc: int, seed: int = 0) -> DistilledSet:
    """The set with real images, rightly labelled, in every step: so many of each class, the same in all.

    Raises:
        UserError: a class has fewer images, or the set has soft labels.
    """
    if not distilled.hard:
        raise UserError("the set has soft labels, which real images have not; make it hard first")
    data = matched(distilled, data)
    index = data.by_class(ipc, generator(seed, "clean images")).flatten()
    steps = len(distilled.examples)
    images = distilled.normalise(data.train.images[index]).cpu().expand(steps, -1, -1, -1, -1)
    labels = data.train.labels[index].cpu().expand(steps, -1)
    return replace(
        distilled,
        examples=torch.cat([distilled.examples, images], 1),
        labels=torch.cat([distilled.labels, labels], 1),
    )


def _shares(rows: list[tuple[float, float, float]]) -> Shares:
    misread, overall, others = (list(column) for column in zip(*rows, strict=True))
    return Shares(misread=misread, overall=overall, others=others)


def _mean_sd_text(values: list[float]) -> str:
    spread = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.fmean(values):.1f}{spread} %"
