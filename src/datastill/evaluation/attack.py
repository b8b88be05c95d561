"""The effect of a poisoned set: how many images of one class are misclassified as another, and the accuracy."""

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from .. import distributed
from ..artifact import DistilledSet
from ..data import RealData
from ..errors import UserError
from ..modes import usual_modes
from ..rng import generator
from ..runlog import ProgressLine
from . import neighbours
from .accuracy import Accuracy
from .fit import trained, unseen
from .matching import matched
from .protocol import Protocol


@dataclass(frozen=True, kw_only=True)
class Shares:
    """Measurements of an attack, one value per network, as fractions of 1."""

    misread: tuple[float, ...]
    """Share of the images of the attacked class that are classified as the target class."""
    overall: tuple[float, ...]
    """Accuracy on all images."""
    others: tuple[float, ...]
    """Accuracy on the images of the other classes, without the attacked class."""


@dataclass(frozen=True, kw_only=True)
class AttackScore:
    """The effect of a poisoned set on networks: measurements before and after training on it."""

    attack_class: str
    """Name of the class whose images are to be misclassified."""
    target_class: str
    """Name of the class that the attacked images are to be classified as."""
    split: str
    """Split of the real data: ``test`` or ``validation``."""
    images: int
    """Number of images that each network was measured on."""
    n: int
    """Number of networks."""
    before: Shares
    """Measurements with the initial weights."""
    after: Shares
    """Measurements after training on the set."""

    def __str__(self) -> str:
        def both(name: str) -> str:
            return " -> ".join(_mean_sd_text(getattr(shares, name)) for shares in (self.before, self.after))

        return (
            f"class {self.attack_class!r} classified as {self.target_class!r}: {both('misread')}; "
            f"accuracy: {both('overall')}; accuracy on the other classes: {both('others')} "
            f"(n = {self.n}, {self.images} {self.split} images)"
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the score as plain JSON values."""
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
    """Measure networks before and after they are trained on a poisoned set.

    Args:
        distilled: the poisoned set; its header names the attacked class and the target class.
        data: the real data, with true labels.
        protocol: the networks and their training; None uses the defaults of `Protocol`.
        split: ``validation`` for every choice, ``test`` once at the end.
        trust: let the set's network import a module or open another file; see `DistilledSet.trusted`.
        progress: show progress on the terminal.

    Raises:
        UserError: the set is not poisoned, it does not fit the data, or it needs trust.
    """
    distilled = distilled.with_trust(trust)
    if distilled.header.attack is None:
        raise UserError("the set was not made to attack: its header names no attacked class; give a poisoned set")
    data = matched(distilled, data)
    resolved, real = (protocol or Protocol()).resolved(distilled), getattr(data, split)
    neighbours.must_train(resolved, "measure of an attack")
    network, thetas = unseen(distilled, resolved, f"{split} networks", data.device)
    thetas = thetas[distributed.rank_slice(len(thetas))]
    victim, target = distilled.header.attack
    of_class = real.labels == victim
    mine, rest = real.take(of_class.nonzero()[:, 0]), real.take((~of_class).nonzero()[:, 0])
    measures = [Accuracy(network, distilled, images) for images in (mine.read_as(victim, target), mine, rest)]
    share = len(mine) / len(real)

    def measured(theta: Float[Tensor, " size"]) -> tuple[float, float, float]:
        misread, right, others = (measure(theta) for measure in measures)
        return misread, share * right + (1 - share) * others, others

    before, after = [], []
    with ProgressLine("attack", total=len(thetas), unit="network", quiet=not progress) as line:
        finals = itertools.chain.from_iterable(trained(distilled, resolved, network, thetas))
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
    """Return the set with `ipc` correctly labelled real images of each class added to every batch, always equal ones.

    Args:
        distilled: a set with hard labels.
        data: the real data; the images are from its training split.
        ipc: images per class.
        seed: seed of the choice of images.

    Raises:
        UserError: a class has fewer than `ipc` images, the set has soft labels, or it does not fit the data.
    """
    if not distilled.hard:
        raise UserError("the set has soft labels, but real images have hard labels; give a set with hard labels")
    data = matched(distilled, data)
    index = data.by_class(ipc, generator(seed, "clean images")).flatten()
    images, labels = distilled.normalise(data.train.images[index]).cpu(), data.train.labels[index].cpu()
    return replace(
        distilled,
        inputs=_with_each(distilled.inputs, images, distilled.batches),
        targets=_with_each(distilled.targets, labels, distilled.batches),
    )


def _with_each(values: Shaped[Tensor, "n *shape"], more: Tensor, batches: int) -> Shaped[Tensor, "more *shape"]:
    """Return values of batches that lie one after the other, with more values at the end of each batch."""
    split = values.unflatten(0, (batches, -1))
    return torch.cat([split, more.to(values).expand(batches, *more.shape)], 1).flatten(0, 1)


def _shares(rows: list[tuple[float, float, float]]) -> Shares:
    misread, overall, others = zip(*rows, strict=True)
    return Shares(misread=misread, overall=overall, others=others)


def _mean_sd_text(values: Sequence[float]) -> str:
    spread = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.fmean(values):.1f}{spread} %"
