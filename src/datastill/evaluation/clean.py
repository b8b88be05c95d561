"""A defence against poisoned sets: correctly labelled real images are added to every step."""

from dataclasses import replace

import torch
from jaxtyping import Shaped
from torch import Tensor

from ..artifact import DistilledSet, Plain
from ..data import RealData
from ..errors import UserError
from ..rng import generator
from .matching import matched


def with_clean(distilled: DistilledSet, data: RealData, ipc: int, seed: int = 0) -> DistilledSet:
    """Return the set with `ipc` correctly labelled real images of each class added to every step, always equal ones.

    If a program shuffles the examples, the images are added to the set once, and come in other batches in each epoch.

    Args:
        distilled: a set with hard labels.
        data: the real data; the images are from its training split.
        ipc: images per class.
        seed: seed of the choice of images.

    Raises:
        UserError: a class has fewer than `ipc` images, the set has soft labels, or it does not fit the data.
    """
    if not distilled.hard:
        raise UserError("the set has soft labels, but real ones have hard labels; give a set with hard labels")
    data = matched(distilled, data)
    index = data.by_class(ipc, generator(seed, "clean images")).flatten()
    images, labels = distilled.normalise(data.train.images[index]).cpu(), data.train.labels[index].cpu()
    return replace(
        distilled,
        inputs=_with_each(distilled.inputs, images, distilled.batches),
        targets=_with_each(distilled.targets, labels, distilled.batches),
        stored=None,
        header=replace(distilled.header, enlarged=1, decode=Plain()),
    )


def _with_each(values: Shaped[Tensor, "n *shape"], more: Tensor, batches: int) -> Shaped[Tensor, "more *shape"]:
    """Return values of batches that lie one after the other, with more values at the end of each batch."""
    split = values.unflatten(0, (batches, -1))
    return torch.cat([split, more.to(values).expand(batches, *more.shape)], 1).flatten(0, 1)
