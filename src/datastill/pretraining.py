"""Trains the networks of a pool; each network is saved when its training ends."""

import itertools
import shutil
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
from jaxtyping import Float, Int64
from safetensors.torch import save
from torch import Tensor

from . import distributed, migration
from .data import DataSettings, RealData
from .errors import UserError, at_least, counted
from .evaluation.answers import answers
from .identity import data_identity, files_identity, must_match
from .locks import alone
from .modes import usual_modes
from .networks import Network, build
from .networks.pool import SPLITS, Pool, parts
from .networks.snapshots import Snapshots, places, sha256_of
from .networks.start import START, Random, Start
from .objectives import Accuracy
from .program import optimiser
from .report import bytes_of
from .rng import generator
from .runlog import ProgressLine, say
from .storage.files import MOST_BYTES, as_read, must_be_writable, read_json, read_tensors, write_json, write_whole
from .storage.records import must_have_types
from .storage.streamed import read_piece
from .training import real_loss

NETWORKS_PER_BATCH = 8
"""How many networks are trained in one batch, if this is faster than one by one."""
RECORD_FILE = "settings.json"
"""The file with the settings, in the folder of an unfinished pool."""
IMAGES_PER_PASS = 250
"""Validation images in one forward pass."""


@dataclass(frozen=True, kw_only=True)
class PoolSettings:
    """How the networks of a pool are trained: by Adam, on the whole train split."""

    data: DataSettings = field(default_factory=DataSettings)
    """The real data."""
    network: str = "lenet"
    """Architecture of the networks: a name or module:callable, with arguments in brackets: convnet(depth=2)."""
    start: Annotated[Start, START] = field(default_factory=Random)
    """Initial weights of the networks:
    - random(xavier): a fresh draw of an initialiser (datastill list initialisers) for each network.
    - fixed(xavier): one draw of an initialiser for all networks.
    - pretrained: the weights that come with the network, such as alexnet(weights=FILE).
    - pool:FILE: network i starts from network i of another pool."""
    count: int = 200
    """How many networks for distilling (the paper: 2000). From 10 up, the last tenth of them is only for validation."""
    held_out: int = 20
    """How many networks to evaluate with. They are never used for distilling."""
    epochs: int = 2
    """Passes over the train split, in a new random order for each network and pass."""
    batch: int = 128
    """Images in a gradient step."""
    rate: float = 0.001
    """Initial learning rate of Adam; it falls linearly to 0."""
    seed: int = 0
    """Seed of initial weights and batches."""
    snapshots: int = 0
    """How often the weights of each network are kept along its training, at evenly spaced gradient steps: equal to
    --epochs, they are kept after every epoch. Snapshot 0 is the initial weights, and the last one is the trained
    network. A start names one by its number: pool:FILE@5. 0: only trained networks are kept."""

    def __post_init__(self) -> None:
        must_have_types(self)
        at_least("rate", self.rate, 0)
        at_least("count", self.count, 1)
        at_least("held_out", self.held_out, 0)
        at_least("epochs", self.epochs, 1)
        at_least("batch", self.batch, 1)
        at_least("snapshots", self.snapshots, 0)


@usual_modes()
def pretrain(settings: PoolSettings, data: RealData, path: Path) -> Pool:
    """Train a pool, or continue one that was stopped; finished networks are not trained again.

    Args:
        settings: how the networks are trained; a pool cannot be continued with other settings.
        data: the real data, on the device. The pool records how this data was loaded, in place of `settings.data`.
        path: the file of the pool. Until it is finished, its networks are in a folder beside it.

    Raises:
        UserError: the file or folder holds a pool of other settings, or the network cannot take the images.
    """
    settings = replace(settings, data=data.settings)
    if settings.batch > len(data.train):
        say(f"batch is {settings.batch}, but there are {len(data.train)} train images: each gradient step takes all")
    distributed.on_first_rank(lambda: must_be_writable(path))
    settings.start.must_have_order(data.class_names)
    folder = parts(path)
    if finished := distributed.on_first_rank(lambda: _finished(settings, path)):
        say(f"the pool {path} is finished")
        if distributed.on_first_rank(folder.exists):  # a kill after the pool was written, before its parts were removed
            with alone(folder):
                distributed.on_first_rank(lambda: shutil.rmtree(folder, ignore_errors=True))
        return finished
    network = distributed.on_every_rank(lambda: build(settings.network, shape=data.shape, classes=data.classes))
    network = network.to(data.device)
    _say_size(settings, network, data)
    distributed.on_every_rank(lambda: _initial(settings, network, [0]))  # a start that does not fit is refused at once
    with alone(folder):
        together = _together(settings, network, data, folder)
        _train(settings, network, data, folder, together)
        return distributed.on_first_rank(lambda: _joined(settings, network, data, folder, path))


def _say_size(settings: PoolSettings, network: Network, data: RealData) -> None:
    """Say how large the file of the pool will be; refuse a pool whose trained networks could not be read again."""
    kept = places(settings.snapshots, _total(settings, data))
    networks = settings.count + settings.held_out
    trained = networks * network.size * torch.float32.itemsize
    if trained > MOST_BYTES:
        raise UserError(
            f"the trained networks would have {bytes_of(trained)}, but a pool of at most {bytes_of(MOST_BYTES)} can be "
            f"read; use at most {MOST_BYTES * networks // trained} networks"
        )
    each = f"weights of {counted(networks, 'network')}" + (f" at {len(kept)} places" if settings.snapshots else "")
    say(f"the pool will have {bytes_of(trained * len(kept))} ({each}); twice that on disk until it is finished")


def _finished(settings: PoolSettings, path: Path) -> Pool | None:
    if not path.exists():
        return None
    pool = Pool.load(path)
    if migration.pool_settings(pool.header["settings"]) != as_read(asdict(settings)):
        raise UserError(f"{path} already holds a pool of other settings; give another file with --out")
    return pool


def _together(settings: PoolSettings, network: Network, data: RealData, folder: Path) -> int:
    """Return how many networks are trained at once. A pool stores this number at its start, as it affects rounding.

    Raises:
        UserError: the folder holds an unfinished pool of other settings or data.
    """
    files = distributed.on_every_rank(lambda: files_identity(settings.network, settings.start))
    identity = {"settings": as_read(asdict(settings)), **data_identity(data), **files}
    stored = distributed.on_first_rank(lambda: _stored(folder, identity))
    if stored:
        return stored
    even = -(-(settings.count + settings.held_out) // distributed.ranks())
    found = min(faster(settings, network, data) if even > 1 else 1, even)
    together = distributed.gathered([found])[0]
    distributed.on_first_rank(lambda: write_json(folder / RECORD_FILE, identity | {"together": together}))
    return together


def _stored(folder: Path, identity: dict[str, Any]) -> int | None:
    """Return how many networks an unfinished pool trains at once; None if the folder holds no unfinished pool."""
    if not (folder / RECORD_FILE).exists():
        return None
    record, fix = read_json(folder / RECORD_FILE), "delete that folder, or give another file with --out"
    record = migration.pool_record(record)
    together = record.get("together") if isinstance(record, dict) else None
    if not isinstance(together, int) or together < 1:
        raise UserError(f"the unfinished pool in {folder} was begun by an older version; {fix}")
    must_match(f"the unfinished pool in {folder}", record, identity, fix)
    return together


def _train(settings: PoolSettings, network: Network, data: RealData, folder: Path, together: int) -> None:
    """Train the groups of networks that are not finished; the first process saves each network.

    Groups never change, so that the rounding of a network's weights depends only on its index.
    """
    total = settings.count + settings.held_out
    groups = [range(first, min(first + together, total)) for first in range(0, total, together)]
    left = [group for group in groups if not all((folder / _name(i)).exists() for i in group)]
    done, accuracies = total - sum(map(len, left)), []
    with ProgressLine("pretrain", total=total, done=done, unit="network") as line:
        for first in range(0, len(left), distributed.ranks()):
            some = left[first : first + distributed.ranks()]
            mine = [*some[distributed.rank()]] if distributed.rank() < len(some) else []
            trained = distributed.gathered(_whole(settings, network, data, mine))
            for i, tensors in zip(itertools.chain(*some), trained, strict=True):
                accuracies.append(float(tensors["accuracy"]))
                if distributed.rank() == 0:
                    write_whole(folder / _name(i), save(tensors))
            line.update(done + len(accuracies), f"validation {statistics.fmean(accuracies):.2%}")


def _whole(settings: PoolSettings, network: Network, data: RealData, which: list[int]) -> list[dict[str, Tensor]]:
    """Train the networks with these indices; return weights, snapshots, accuracy, and the seconds of training."""
    if not which:
        return []
    began = time.perf_counter()
    along = train(settings, network, data, which)
    if not bool(along.isfinite().all()):
        raise UserError(
            f"the weights of network {network.name!r} are not finite after its training; use a smaller rate than "
            f"{settings.rate:g}, or another start than {settings.start}"
        )
    seconds = torch.tensor((time.perf_counter() - began) / len(which))
    found = []
    for thetas in along:
        accuracy = torch.tensor(_accuracy(network, thetas[-1].to(data.device), data))
        part = {"theta": thetas[-1].clone(), "accuracy": accuracy, "seconds": seconds}
        found.append(part | _kept(thetas[:-1]) | _statistics(network, thetas, data))
    return found


def _statistics(network: Network, thetas: Float[Tensor, "places size"], data: RealData) -> dict[str, Tensor]:
    """Return the running statistics of a network at each place as a tensor of its file; nothing if it has none."""
    if not network.has_statistics:
        return {}
    images = _images_of_statistics(data)
    return {"statistics": torch.stack([network.statistics(theta.to(data.device), images) for theta in thetas])}


def _kept(thetas: Float[Tensor, "snapshots size"]) -> dict[str, Tensor]:
    """Return the snapshots of a network as tensors of its file, with their SHA-256; nothing if there are none."""
    if not len(thetas):
        return {}
    return {"snapshots": thetas.contiguous(), "sha256": torch.stack([sha256_of(theta) for theta in thetas])}


def faster(settings: PoolSettings, network: Network, data: RealData) -> int:
    """Return how many networks to train at once: 1, or `NETWORKS_PER_BATCH` if this is faster per network."""
    if not network.batches or _total(settings, data) < 2:
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
    kept, found = set(places(settings.snapshots, _total(settings, data))), []
    if 0 in kept:
        found.append(_initial(settings, network, which).cpu())
    for step, thetas in enumerate(train_steps(settings, network, data, which), start=1):
        if step in kept:
            found.append(thetas.detach().cpu().clone())
    return torch.stack(found, dim=1)


def train_steps(
    settings: PoolSettings, network: Network, data: RealData, which: list[int]
) -> Iterator[Float[Tensor, "networks size"]]:
    """Yield the weights of the networks with these indices after each gradient step of Adam."""
    loss, rule, device = real_loss(network), optimiser("adam"), data.device
    thetas = _initial(settings, network, which).to(device)
    state, total = rule.start(thetas), _total(settings, data)
    for t, index in enumerate(_batches(settings, data, which)):
        images = data.normalise(data.train.images[index.flatten()]).unflatten(0, index.shape)
        weights = state[0].requires_grad_()
        (gradient,) = torch.autograd.grad(loss(weights, images, data.train.labels[index]).sum(), weights)
        rate = torch.tensor(settings.rate * (1 - t / total), device=device)
        with torch.no_grad():
            state = rule.update((weights.detach(), *state[1:]), gradient, rate, t)
        yield state[0]


def _initial(settings: PoolSettings, network: Network, which: list[int]) -> Float[Tensor, "networks size"]:
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


def _total(settings: PoolSettings, data: RealData) -> int:
    """Return the gradient steps of the whole training."""
    return _steps(settings, data) * settings.epochs


def _steps(settings: PoolSettings, data: RealData) -> int:
    """Return the gradient steps of a pass."""
    return max(len(data.train) // settings.batch, 1)


@torch.no_grad()
def _accuracy(network: Network, theta: Tensor, data: RealData) -> float:
    """Return the accuracy on the validation split; batch statistics are measured on train images."""
    predict = network.predictor(theta, _images_of_statistics(data))
    found = answers(lambda images: predict(data.normalise(images)).argmax(1), data.validation, IMAGES_PER_PASS)
    return Accuracy()(found, data.validation.labels)


def _images_of_statistics(data: RealData) -> Float[Tensor, "b *shape"]:
    """Return the train images, normalised, on which statistics of batch normalisation are measured."""
    return data.normalise(data.train.spaced(1000).images)


def _joined(settings: PoolSettings, network: Network, data: RealData, folder: Path, path: Path) -> Pool:
    """Write all networks to one file, then remove the folder."""
    found = [_part(folder, i) for i in range(settings.count + settings.held_out)]
    thetas = torch.stack([part["theta"] for part in found])
    accuracies = [round(float(part["accuracy"]), 6) for part in found]
    header = {
        "settings": as_read(asdict(settings)),
        "shape": list(data.shape),
        "classes": data.classes,
        "class_names": list(data.class_names),
        "space": as_read(asdict(data.space)),
        "parameters": {name: list(shape) for name, shape in zip(network.names, network.shapes, strict=True)},
        "accuracies": {"training": accuracies[: settings.count], "held_out": accuracies[settings.count :]},
        "seconds": round(sum(float(part["seconds"]) for part in found), 1),
        "torch": torch.__version__,
    } | ({"frozen": network.sha256()} if network.frozen else {})
    snapshots = _snapshots(settings, data, folder, found)
    if snapshots:
        header["snapshots"] = list(snapshots.steps)
    split = [settings.count, settings.held_out]
    training, held_out = thetas.split(split)
    statistics = {}
    if network.has_statistics:
        measured = torch.stack([part["statistics"] for part in found])
        header["statistics"] = measured.shape[-1]
        statistics = dict(zip(SPLITS, measured.split(split), strict=True))
    Pool(training=training, held_out=held_out, header=header, snapshots=snapshots, statistics=statistics).save(path)
    pool = Pool.load(path)
    shutil.rmtree(folder, ignore_errors=True)
    return pool


def _part(folder: Path, index: int) -> dict[str, Tensor]:
    """Return the tensors of a trained network, without its snapshots."""
    return read_tensors(folder / _name(index), ["snapshots"])[1]


def _snapshots(
    settings: PoolSettings, data: RealData, folder: Path, found: list[dict[str, Tensor]]
) -> Snapshots | None:
    """Return the snapshots in the files of the trained networks; None if there are none."""
    if not settings.snapshots:
        return None
    sha256 = torch.stack([part["sha256"] for part in found]).split([settings.count, settings.held_out])
    return Snapshots(
        steps=tuple(places(settings.snapshots, _total(settings, data))),
        sha256=dict(zip(SPLITS, sha256, strict=True)),
        read=partial(_read, folder, {"training": 0, "held_out": settings.count}),
    )


def _read(folder: Path, first: dict[str, int], split: str, network: int, snapshot: int) -> Float[Tensor, " size"]:
    """Return the weights of a snapshot, as `Snapshots.read` does; a split begins at index `first` of the pool."""
    return read_piece(folder / _name(first[split] + network), "snapshots", (snapshot,))


def _name(index: int) -> str:
    return f"{index:05d}.safetensors"
