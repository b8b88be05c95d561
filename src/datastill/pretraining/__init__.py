"""Trains the networks of a pool; each network is saved when its training ends, and from time to time before."""

import itertools
import shutil
import statistics
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import save
from torch import Tensor

from .. import distributed, migration
from ..data import RealData
from ..errors import UserError, counted
from ..identity import changes, data_identity, files_identity, must_match
from ..locks import alone
from ..modes import usual_modes
from ..networks import Network, build
from ..networks.pool import Pool, parts
from ..networks.pool_header import SPLITS
from ..networks.snapshots import Snapshots, places
from ..report import bytes_of
from ..runlog import ProgressLine, say
from ..storage.files import (
    MOST_BYTES,
    as_path,
    as_read,
    must_be_writable,
    read_json,
    read_tensors,
    write_json,
    write_whole,
)
from ..storage.streamed import read_piece
from .experts import (
    accuracy_of,
    begin,
    faster,
    initial,
    running_statistics,
    snapshot_tensors,
    total_steps,
    train,
    train_steps,
)
from .settings import PoolSettings
from .unfinished import Checkpoints, goes_on, read

__all__ = ["PoolSettings", "begin", "faster", "pretrain", "train", "train_steps"]

RECORD_FILE = "settings.json"
"""The file with the settings, in the folder of an unfinished pool."""


@usual_modes()
def pretrain(settings: PoolSettings, data: RealData, path: str | Path) -> Pool:
    """Train a pool, or go on with one that was stopped, which ends on the same machine as if it had not been stopped.

    Args:
        settings: how the networks are trained; a pool cannot be continued with other settings.
        data: the real data, on the device. The pool records how this data was loaded, in place of `settings.data`.
        path: the file of the pool. Until it is finished, its networks are in a folder beside it.

    Raises:
        UserError: the file or folder holds a pool of other settings, or the network cannot take the images.
    """
    settings, path = replace(settings, data=data.settings), as_path("path", path)
    if settings.batch > len(data.train):
        say(f"batch is {settings.batch}, but there are {len(data.train)} train images: each gradient step takes all")
    distributed.on_first_rank(lambda: must_be_writable(path))
    settings.start.must_have_order(data.class_names)
    if settings.augmentation != "none" and len(data.shape) != 3:
        raise UserError(
            f"augmentation is {settings.augmentation}, but the examples are {data.space.words}; leave it out"
        )
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
    distributed.on_every_rank(lambda: initial(settings, network, [0]))  # a start that does not fit is refused at once
    with alone(folder):
        together = _together(settings, network, data, folder)
        _train(settings, network, data, folder, together)
        return distributed.on_first_rank(lambda: _joined(settings, network, data, folder, path))


def _say_size(settings: PoolSettings, network: Network, data: RealData) -> None:
    """Say how large the file of the pool will be; refuse a pool whose trained networks could not be read again."""
    kept = places(settings.snapshots, total_steps(settings, data))
    networks = settings.count + settings.held_out
    trained = networks * network.size * torch.float32.itemsize
    if trained > MOST_BYTES:
        raise UserError(
            f"the trained networks would have {bytes_of(trained)}, but a pool of at most {bytes_of(MOST_BYTES)} can be "
            f"read; use at most {MOST_BYTES * networks // trained} networks"
        )
    each = f"weights of {counted(networks, 'network')}" + (f" at {len(kept)} places" if settings.snapshots else "")
    say(f"the pool will have {bytes_of(trained * len(kept))} ({each}); twice that on disk until it is finished")


def _identity(settings: PoolSettings) -> dict[str, Any]:
    return {"settings": as_read(asdict(settings))}


def _finished(settings: PoolSettings, path: Path) -> Pool | None:
    if not path.exists():
        return None
    pool = Pool.load(path)
    if changed := changes({"settings": migration.pool_settings(pool.header["settings"])}, _identity(settings)):
        raise UserError(
            f"{path} already holds a pool of other settings: {'; '.join(changed)}; give another file with --out"
        )
    return pool


def _together(settings: PoolSettings, network: Network, data: RealData, folder: Path) -> int:
    """Return how many networks are trained at once. A pool stores this number at its start, as it affects rounding.

    Raises:
        UserError: the folder holds an unfinished pool of other settings or data.
    """
    files = distributed.on_every_rank(lambda: files_identity(settings.network, settings.start))
    identity = _identity(settings) | data_identity(data) | files
    stored = distributed.on_first_rank(lambda: _stored(folder, identity))
    if stored:
        return stored
    even = -(-(settings.count + settings.held_out) // distributed.ranks())
    found = min(faster(settings, network, data) if even > 1 else 1, even)
    together = distributed.gathered([found])[0]
    distributed.on_first_rank(lambda: write_json(folder / RECORD_FILE, identity | {"together": together}))
    return together


def _stored(folder: Path, identity: dict[str, Any]) -> int | None:
    """Return how many networks an unfinished pool trains at once; None if the folder holds no finished network."""
    if not (folder / RECORD_FILE).exists() or not any(folder.glob("[0-9]*.safetensors")):
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
    total, steps = settings.count + settings.held_out, total_steps(settings, data)
    groups = [range(first, min(first + together, total)) for first in range(0, total, together)]
    left = [group for group in groups if not all((folder / _name(i)).exists() for i in group)]
    finished, accuracies = total - sum(map(len, left)), []
    begun = sum(len(group) * found.step for group in left if (found := read(folder / _unfinished(group[0]))))
    done = finished * steps + begun
    with ProgressLine("pretrain", total=total * steps, done=done, unit="gradient step") as line:
        for first in range(0, len(left), distributed.ranks()):
            some = left[first : first + distributed.ranks()]
            mine = [*some[distributed.rank()]] if distributed.rank() < len(some) else []
            networks = sum(map(len, some))
            note = f"{finished} of {counted(total, 'network')} trained"
            tell = partial(_tell, line, finished * steps, networks, note)
            trained = distributed.gathered(_whole(settings, network, data, mine, folder, tell))
            for i, tensors in zip(itertools.chain(*some), trained, strict=True):
                accuracies.append(float(tensors["accuracy"]))
                if distributed.rank() == 0:
                    write_whole(folder / _name(i), save(tensors))
                    (folder / _unfinished(i)).unlink(missing_ok=True)
            finished += networks
            line.update(finished * steps, f"validation {statistics.fmean(accuracies):.2%}")


def _tell(line: ProgressLine, done: int, networks: int, note: str, step: int) -> None:
    """Show the gradient step that this many networks have reached, after those that were done before."""
    line.update(done + step * networks, note)


def _whole(
    settings: PoolSettings,
    network: Network,
    data: RealData,
    which: list[int],
    folder: Path,
    tell: Callable[[int], object],
) -> list[dict[str, Tensor]]:
    """Train the networks with these indices; return weights, snapshots, accuracy, and the seconds of training."""
    if not which:
        return []
    file = folder / _unfinished(which[0])
    begun = goes_on(file, begin(settings, network, data, which))
    with Checkpoints(file, begun, tell) as checkpoints:
        ended = train(settings, network, data, which, begun=begun, follow=checkpoints.follow)
    along = torch.stack(ended.kept, dim=1)
    if not bool(along.isfinite().all()):
        file.unlink(missing_ok=True)
        raise UserError(
            f"the weights of network {network.name!r} are not finite after its training; use a smaller rate than "
            f"{settings.rate:g}, or another start than {settings.start}"
        )
    seconds = torch.tensor(ended.seconds / len(which))
    found = []
    for thetas in along:
        each = torch.tensor([accuracy_of(network, theta.to(data.device), data) for theta in thetas])
        part = {"theta": thetas[-1].clone(), "accuracy": each[-1].clone(), "seconds": seconds}
        found.append(part | snapshot_tensors(thetas, each) | running_statistics(network, thetas, data))
    return found


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
        along = torch.stack([part["along"] for part in found[: settings.count]]).mean(0)
        header["along"] = [round(float(each), 6) for each in along]
    split = [settings.count, settings.held_out]
    training, held_out = thetas.split(split)
    running = {}
    if network.has_statistics and all("statistics" in part for part in found):  # version 0.1 measured none
        measured = torch.stack([part["statistics"] for part in found])
        header["statistics"] = measured.shape[-1]
        running = dict(zip(SPLITS, measured.split(split), strict=True))
    Pool(training=training, held_out=held_out, header=header, snapshots=snapshots, statistics=running).save(path)
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
        steps=tuple(places(settings.snapshots, total_steps(settings, data))),
        sha256=dict(zip(SPLITS, sha256, strict=True)),
        read=partial(_read, folder, {"training": 0, "held_out": settings.count}),
    )


def _read(folder: Path, first: dict[str, int], split: str, network: int, snapshot: int) -> Float[Tensor, " size"]:
    """Return the weights of a snapshot, as `Snapshots.read` does; a split begins at index `first` of the pool."""
    return read_piece(folder / _name(first[split] + network), "snapshots", (snapshot,))


def _name(index: int) -> str:
    """Return the name of the file of a network in the folder of an unfinished pool."""
    return f"{index:05d}.safetensors"


def _unfinished(index: int) -> str:
    """Return the name of the file of networks in training there, the first of which has this index."""
    return f"{index:05d}-training.safetensors"
