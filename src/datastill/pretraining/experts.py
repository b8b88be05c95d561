"""The training of the networks of a pool on real data, and what is measured on them."""

import time
from collections.abc import Iterator

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ..data import RealData
from ..evaluation.answers import answered, answers
from ..networks import Network
from ..networks.snapshots import places, sha256_of
from ..objectives import Accuracy
from ..program import AUGMENTATIONS, gradient_of, optimiser
from ..rng import generator
from ..training import mean_loss
from .settings import PoolSettings

NETWORKS_PER_BATCH = 8
"""How many networks are trained in one batch, if this is faster than one by one."""


def running_statistics(network: Network, thetas: Float[Tensor, "places size"], data: RealData) -> dict[str, Tensor]:
    """Return the running statistics of a network at each place as a tensor of its file; nothing if it has none."""
    if not network.has_statistics:
        return {}
    images = _images_of_statistics(data)
    return {"statistics": torch.stack([network.statistics(theta.to(data.device), images) for theta in thetas])}


def snapshot_tensors(thetas: Float[Tensor, "places size"], accuracies: Float[Tensor, " places"]) -> dict[str, Tensor]:
    """Return the snapshots of a network, the last of which is trained, as tensors of its file; nothing without any."""
    if len(thetas) == 1:
        return {}
    sha256 = torch.stack([sha256_of(theta) for theta in thetas[:-1]])
    return {"snapshots": thetas[:-1].contiguous(), "sha256": sha256, "along": accuracies}


def faster(settings: PoolSettings, network: Network, data: RealData) -> int:
    """Return how many networks to train at once: 1, or `NETWORKS_PER_BATCH` if this is faster per network."""
    if not network.batches or total_steps(settings, data) < 2:
        return 1
    seconds = {}
    for count in (1, NETWORKS_PER_BATCH):
        steps = train_steps(settings, network, data, [0] * count)
        next(steps)
        began = time.perf_counter()
        float(next(steps).sum())
        seconds[count] = (time.perf_counter() - began) / count
    return min(seconds, key=lambda count: seconds[count])


def train(
    settings: PoolSettings, network: Network, data: RealData, which: list[int]
) -> Float[Tensor, "networks places size"]:
    """Train the networks with these indices; the weights of each depend only on its index, up to rounding.

    Returns:
        Their weights on the CPU at each snapshot; the last ones are trained. Without snapshots, only these.
    """
    kept, found = set(places(settings.snapshots, total_steps(settings, data))), []
    if 0 in kept:
        found.append(initial(settings, network, which).cpu())
    for step, thetas in enumerate(train_steps(settings, network, data, which), start=1):
        if step in kept:
            found.append(thetas.detach().cpu().clone())
    return torch.stack(found, dim=1)


def train_steps(
    settings: PoolSettings, network: Network, data: RealData, which: list[int]
) -> Iterator[Float[Tensor, "networks size"]]:
    """Yield the weights of the networks with these indices after each gradient step."""
    rule, device = optimiser(settings.optimiser), data.device
    gradient = gradient_of(mean_loss(network), network.images_of_training(device))
    thetas = initial(settings, network, which).to(device)
    state, total = rule.start(thetas), total_steps(settings, data)
    for t, index in enumerate(_batches(settings, data, which)):
        images = data.normalise(data.train.images[index.flatten()]).unflatten(0, index.shape)
        images = _changed(settings, images, which, t)
        rate = torch.tensor(settings.rate * (1 - t / total if settings.schedule == "linear" else 1), device=device)
        with torch.no_grad():
            state = rule.update(state, gradient(state[0], images, data.train.labels[index]), rate, t)
        yield state[0]


def _changed(
    settings: PoolSettings, images: Float[Tensor, "networks b *shape"], which: list[int], t: int
) -> Float[Tensor, "networks b *shape"]:
    """Return the images of a gradient step, as the draw of the augmentation for each network changes them."""
    augmentation = AUGMENTATIONS[settings.augmentation]
    if augmentation is None:
        return images
    return augmentation.of_each(images, (generator(settings.seed, "pool augmentation", i, t) for i in which))


def initial(settings: PoolSettings, network: Network, which: list[int]) -> Float[Tensor, "networks size"]:
    """Return the weights of the networks with these indices before their training."""
    settings.start.check(settings.network)
    counts = {"training": settings.count, "held_out": settings.held_out}
    return settings.start.first(network, seed=settings.seed, which=which, counts=counts)


def _batches(settings: PoolSettings, data: RealData, which: list[int]) -> Iterator[Int64[Tensor, "networks b"]]:
    """Yield indices of train images, in a new random order per network and pass, without the incomplete last batch."""
    size = min(settings.batch, len(data.train))
    for epoch in range(settings.epochs):
        draws = [generator(settings.seed, "pool batches", i, epoch) for i in which]
        orders = torch.stack([torch.randperm(len(data.train), generator=draw) for draw in draws]).to(data.device)
        yield from orders[:, : size * _steps(settings, data)].split(size, dim=1)


def total_steps(settings: PoolSettings, data: RealData) -> int:
    """Return the gradient steps of the whole training."""
    return _steps(settings, data) * settings.epochs


def _steps(settings: PoolSettings, data: RealData) -> int:
    """Return the gradient steps of a pass."""
    return max(len(data.train) // settings.batch, 1)


@torch.no_grad()
def accuracy_of(network: Network, theta: Tensor, data: RealData) -> float:
    """Return the accuracy on the validation split; batch statistics are measured on train images."""
    predict, few = network.predictor(theta, _images_of_statistics(data)), network.images_in_one_pass(data.device)
    found = answers(lambda images: answered(predict(data.normalise(images))), data.validation, few)
    return Accuracy()(found, data.validation.labels)


def _images_of_statistics(data: RealData) -> Float[Tensor, "b *shape"]:
    """Return the train images, normalised, on which statistics of batch normalisation are measured."""
    return data.normalise(data.train.spaced(1000).tensor)
