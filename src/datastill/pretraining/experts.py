"""The training of the networks of a pool on real data, and what is measured on them."""

import time
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from ..data import RealData
from ..evaluation.answers import answered, answers
from ..networks import Network
from ..networks.snapshots import places, sha256_of
from ..objectives import Accuracy
from ..program import AUGMENTATIONS, State, optimiser
from ..rng import generator
from ..training import images_of_statistics, shuffled, trained_on
from .settings import PoolSettings
from .unfinished import TrainingState

NETWORKS_PER_BATCH = 8
"""How many networks are trained in one batch, if this is faster than one by one."""


def running_statistics(network: Network, thetas: Float[Tensor, "places size"], data: RealData) -> dict[str, Tensor]:
    """Return the running statistics of a network at each place as a tensor of its file; nothing if it has none."""
    if not network.has_statistics:
        return {}
    images = images_of_statistics(data)
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
        steps = train_steps(settings, network, data, [0] * count, begin(settings, network, data, [0] * count))
        next(steps)
        began = time.perf_counter()
        float(next(steps)[0].sum())
        seconds[count] = (time.perf_counter() - began) / count
    return min(seconds, key=lambda count: seconds[count])


def begin(settings: PoolSettings, network: Network, data: RealData, which: list[int]) -> TrainingState:
    """Return the training of the networks with these indices before its first gradient step."""
    first = initial(settings, network, which)
    kept = (first.cpu(),) if 0 in places(settings.snapshots, total_steps(settings, data)) else ()
    return TrainingState(state=optimiser(settings.optimiser).start(first.to(data.device)), kept=kept)


def train(
    settings: PoolSettings,
    network: Network,
    data: RealData,
    which: list[int],
    *,
    begun: TrainingState | None = None,
    follow: Callable[[TrainingState], object] = lambda _: None,
) -> TrainingState:
    """Train the networks with these indices; the weights of each depend only on its index, up to rounding.

    Args:
        settings: how they are trained.
        network: the architecture.
        data: the real data.
        which: their indices in the pool.
        begun: the training as far as it was done before; None: it begins.
        follow: is called after each gradient step.

    Returns:
        The finished training. Its `kept` has the trained weights, after those of the snapshots if there are any.
    """
    now = begun or begin(settings, network, data, which)
    places_kept = set(places(settings.snapshots, total_steps(settings, data)))
    earlier, began = now.seconds, time.perf_counter()
    for step, state in enumerate(train_steps(settings, network, data, which, now), start=now.step + 1):
        kept = (*now.kept, state[0].detach().cpu().clone()) if step in places_kept else now.kept
        now = TrainingState(step=step, seconds=earlier + time.perf_counter() - began, state=state, kept=kept)
        follow(now)
    return now


def train_steps(
    settings: PoolSettings, network: Network, data: RealData, which: list[int], begun: TrainingState
) -> Iterator[State]:
    """Yield weights and moments of the networks with these indices after each gradient step that is left."""
    total, seed = total_steps(settings, data), settings.seed
    return trained_on(
        data,
        network,
        begun.state,
        shuffled(
            data,
            settings.batch,
            settings.epochs,
            lambda epoch: (generator(seed, "pool batches", i, epoch) for i in which),
        ),
        rule=optimiser(settings.optimiser),
        rate=lambda t: settings.rate * (1 - t / total if settings.schedule == "linear" else 1),
        change=lambda images, t: _changed(settings, images, which, t),
        done=begun.step,
    )


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


def total_steps(settings: PoolSettings, data: RealData) -> int:
    """Return the gradient steps of the whole training."""
    return _steps(settings, data) * settings.epochs


def _steps(settings: PoolSettings, data: RealData) -> int:
    """Return the gradient steps of a pass."""
    return max(len(data.train) // settings.batch, 1)


@torch.no_grad()
def accuracy_of(network: Network, theta: Tensor, data: RealData) -> float:
    """Return the accuracy on the validation split; batch statistics are measured on train images."""
    predict, few = network.predictor(theta, images_of_statistics(data)), network.images_in_one_pass(data.device)
    found = answers(lambda images: answered(predict(data.normalise(images))), data.validation.images, few)
    return Accuracy()(found, data.validation.labels)
