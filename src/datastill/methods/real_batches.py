"""The real data of an outer iteration: a batch for each network, changed by an augmentation or as it is."""

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ..data import RealData
from ..errors import UserError
from ..program import Augmentation, Program, Step
from ..rng import derive, generator
from ..runlog import say
from .task import Task

Images = Float[Tensor, "networks b *shape"]
Clusters = list[list[np.ndarray]]
"""The indices of the train examples of each cluster of each class."""


def real_batches(
    task: Task, iteration: int, which: range, size: int, clusters: int = 0
) -> tuple[Images, Int64[Tensor, "networks b"]]:
    """Return a batch of `size` real examples for each network in `which`, normalised, with the labels that are wanted.

    Network i has an equal batch however many networks there are, in one process or in several. With `clusters`, batches
    are drawn by `representative`, and otherwise from all examples alike.
    """
    batches = [_batch(task, iteration, i, size, clusters) for i in which]
    images, labels = (torch.stack(parts) for parts in zip(*batches, strict=True))
    return images, task.objective.wanted(labels)


def _batch(task: Task, iteration: int, i: int, size: int, clusters: int) -> tuple[Tensor, Tensor]:
    purpose, data = (task.seed, "real batch", iteration, i), task.data
    if not clusters:
        return data.batch(generator(*purpose), size, task.objective.counts(data.train.labels))
    found = task.once(("clusters", clusters), lambda: clusters_of(data, clusters, task.seed))
    index = torch.from_numpy(representative(found, size, np.random.default_rng(derive(*purpose)))).to(data.device)
    return data.normalise(data.train.images[index]), data.train.labels[index]


def must_have_clusters(task: Task, clusters: int) -> None:
    """Raise a `UserError` if a class has fewer train examples than clusters, or some count more than others."""
    data = task.data
    if clusters and task.objective.counts(data.train.labels) is not None:
        raise UserError(
            f"real_clusters is {clusters}, so that all classes are drawn alike, but in {task.objective} one class "
            "counts more; leave one of them out"
        )
    if clusters > data.smallest_class:
        raise UserError(
            f"real_clusters is {clusters}, but a class of {data.name!r} has only {data.smallest_class} train "
            f"{data.space.nouns}; take at most {data.smallest_class}"
        )


def clusters_of(data: RealData, count: int, seed: int) -> Clusters:
    """Return `count` clusters of each class, found by k-means on normalised values; empty ones are left out.

    They follow from the seed alone: the number of steps of k-means is fixed, so that rounding does not end it earlier.
    """
    if count > 1:
        say(f"finding {count} clusters in each of {data.classes} classes, for real batches")
    members = [(data.train.labels == label).nonzero()[:, 0] for label in range(data.classes)]
    return [_divided(data, index, count, derive(seed, "clusters", label)) for label, index in enumerate(members)]


def _divided(data: RealData, index: Int64[Tensor, " n"], count: int, seed: int) -> list[np.ndarray]:
    """Return the indices of the examples in each cluster of a class."""
    numbers = index.cpu().numpy()
    if count == 1:
        return [numbers]
    import sklearn.cluster  # two seconds

    flat = data.normalise(data.train.images[index]).flatten(1).cpu().numpy()
    means = sklearn.cluster.MiniBatchKMeans(
        count, n_init=1, max_iter=10, tol=0.0, max_no_improvement=None, random_state=seed % 2**32
    )
    found = means.fit_predict(flat)
    return [numbers[found == cluster] for cluster in np.unique(found)]


def representative(clusters: Clusters, size: int, draw: np.random.Generator) -> Int64[np.ndarray, " size"]:
    """Draw `size` indices, of each class an equal share, and of each of its clusters an equal share of that.

    Shares that are no whole numbers differ by 1, at random. Within a cluster indices are drawn without replacement, as
    far as it has enough.
    """
    found = []
    for own, count in zip(clusters, _shares(size, len(clusters), draw), strict=True):
        for members, share in zip(own, _shares(count, len(own), draw), strict=True):
            found += [draw.permutation(members)[:share], draw.choice(members, max(share - len(members), 0))]
    return np.concatenate(found)


def _shares(total: int, parts: int, draw: np.random.Generator) -> list[int]:
    """Divide a number into whole numbers that differ by 1 at most; which are larger is drawn."""
    shares = np.full(parts, total // parts)
    shares[draw.permutation(parts)[: total % parts]] += 1
    return shares.tolist()


def changed_alone(task: Task, iteration: int, which: range, images: Images, augmentation: Augmentation) -> Images:
    """Return real images, each changed by its own numbers."""
    draws = (generator(task.seed, "augmentation of real images", iteration, i) for i in which)
    return augmentation.of_each(images, draws)


def step_of(program: Program, count: int, seed: int, t: int) -> Step:
    """Return gradient step t of a program on `count` examples."""
    return next(step for i, step in enumerate(program.steps(count, seed)) if i == t)
