"""Training on real data, as pools of networks and the features of selections need it."""

import itertools
from collections.abc import Callable, Iterable, Iterator

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ..data import RealData
from ..networks import Network
from ..program import Rule, State, gradient_of
from .inner import mean_loss

STATISTICS_IMAGES = 1000
"""Train images on which the running statistics of batch normalisation are measured."""
Change = Callable[[Float[Tensor, "networks b *shape"], int], Float[Tensor, "networks b *shape"]]
"""What an augmentation makes of the images of gradient step t."""


def trained_on(
    data: RealData,
    network: Network,
    state: State,
    batches: Iterable[Int64[Tensor, "networks b"]],
    *,
    rule: Rule,
    rate: Callable[[int], float],
    change: Change | None = None,
    done: int = 0,
) -> Iterator[State]:
    """Yield weights and moments after each gradient step by the mean cross-entropy of a batch of train images.

    Args:
        data: the real data.
        network: the architecture.
        state: weights and moments to start from, on the device of the data.
        batches: the indices of train images of each step, for each network.
        rule: the optimiser.
        rate: the learning rate of step t, counted from 0.
        change: an augmentation; None: images as they are.
        done: how many steps were done before; their batches are passed over.
    """
    gradient = gradient_of(mean_loss(network), network.images_of_training(data.device))
    for t, index in itertools.islice(enumerate(batches), done, None):
        images = data.normalise(data.train.images[index.flatten()]).unflatten(0, index.shape)
        images = change(images, t) if change else images
        with torch.no_grad():
            found = gradient(state[0], images, data.train.labels[index])
            state = rule.update(state, found, torch.tensor(rate(t), device=data.device), t)
        yield state


def shuffled(
    data: RealData, size: int, epochs: int, draws: Callable[[int], Iterable[torch.Generator]]
) -> Iterator[Int64[Tensor, "networks b"]]:
    """Yield indices of train images, in a new random order per network and pass, without the incomplete last batch.

    Args:
        data: the real data.
        size: images in a batch; all if there are fewer.
        epochs: passes over the images.
        draws: the generators of an epoch, one for each network.
    """
    count, size = len(data.train), min(size, len(data.train))
    for epoch in range(epochs):
        orders = torch.stack([torch.randperm(count, generator=draw) for draw in draws(epoch)]).to(data.device)
        yield from orders[:, : count // size * size].split(size, dim=1)


def images_of_statistics(data: RealData) -> Float[Tensor, "b *shape"]:
    """Return the train images, normalised, on which the statistics of batch normalisation are measured."""
    return data.normalise(data.train.spaced(STATISTICS_IMAGES).tensor)
