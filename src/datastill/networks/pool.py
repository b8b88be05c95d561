"""Pools: many trained networks in one file. Networks held out for evaluation are never used for distilling."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import UserError, counted
from ..space import Space
from ..storage.files import digest, must_be_unchanged, parse_json, read_tensors, write_whole
from ..storage.streamed import Streamed, file_pieces, shapes
from .functional import Network
from .pool_header import FORMAT, SPLITS, Training, must_be_whole, training_of
from .snapshots import Snapshots, read_from, sha256_name, stack_name, statistics_name

TEST_NETWORKS = "test networks"
"""The purpose of networks that are measured on test images. Only this purpose may use held-out networks."""


class Networks:
    """Weights of the networks of a pool as flat vectors, at one place of their training."""

    training: Float[Tensor, "networks size"]
    """Weights of the networks to distil with: first `drawn`, then `validating`."""
    held_out: Float[Tensor, "held_out size"]
    """Weights of the networks that measure finished sets."""

    @property
    def drawn(self) -> Float[Tensor, "drawn size"]:
        """The networks that distillation draws from: all of `training` but the last tenth."""
        return self.training[: len(self.training) - len(self.training) // 10]

    @property
    def validating(self) -> Float[Tensor, "validating size"]:
        """The last tenth of `training`, never used for distilling: sets that overfit their networks score badly here.

        If `training` has fewer than ten networks, this is all of `training`.
        """
        kept = self.training[len(self.drawn) :]
        return kept if len(kept) else self.training


@dataclass(frozen=True, kw_only=True, eq=False)
class Pool(Networks):
    """Trained networks, with a header that describes them, and perhaps snapshots of their training.

    Examples:
        >>> pool = Pool.load("pools/mnist-lenet.safetensors")
        >>> pool.steps                # gradient steps before each snapshot: (0, 390, 780)
        >>> theta = pool.weights(3, 1)                # network 3 after 390 steps
        >>> pool.trained_by.rate                      # how the networks were trained
    """

    training: Float[Tensor, "networks size"]  # type: ignore[bad-override] (as a frozen field it is read-only)
    held_out: Float[Tensor, "held_out size"]  # type: ignore[bad-override]
    header: dict[str, Any]
    """Settings, shape, classes, parameter names and shapes, accuracies on the validation split, seconds, versions."""
    snapshots: Snapshots | None = None
    """Weights along the training; None if only trained networks were kept."""
    statistics: Mapping[str, Float[Tensor, "networks snapshots numbers"]] = field(default_factory=dict)
    """Running statistics of batch normalisation of each network, by split, at each snapshot and trained. Empty if the
    networks have none, or the pool is of version 0.1."""

    @property
    def steps(self) -> tuple[int, ...]:
        """Gradient steps before each snapshot, from 0 to the end of the training; empty if there are no snapshots."""
        return self.snapshots.steps if self.snapshots else ()

    @property
    def trained_by(self) -> Training:
        """How the networks were trained: epochs, batch, learning rate, optimiser and augmentation."""
        return training_of(self.header)

    def weights(self, network: int, snapshot: int | None = None) -> Float[Tensor, " size"]:
        """Return the weights of one network to distil with; of a snapshot, only these weights are read from the file.

        Args:
            network: its number among `training`.
            snapshot: number of the snapshot; None: the trained network.

        Raises:
            UserError: there is no such network or snapshot, or the file was changed.
        """
        self._must_have(network)
        return self._row("training", network, snapshot)

    def at(self, snapshot: int | None) -> Networks:
        """Return all networks at a snapshot; None: trained.

        Raises:
            UserError: there is no such snapshot, or the file was changed.
        """
        return self if snapshot is None or self._before_end(snapshot) is None else _at(self, snapshot)

    def onward(self, snapshot: int) -> Float[Tensor, "drawn_and_later size"]:
        """Return the networks of `drawn`, one after the other, each at a snapshot and at every later one.

        Raises:
            UserError: there is no such snapshot, or the file was changed.
        """
        self._before_end(snapshot)
        places = range(snapshot, len(self.steps))
        return torch.stack([self.weights(i, k) for i in range(len(self.drawn)) for k in places])

    def module(self, network: Network, which: int, snapshot: int | None = None) -> nn.Module:
        """Return one network to distil with as a module in evaluation mode, with its running statistics.

        Args:
            network: the architecture of the pool.
            which: number of the network among `training`.
            snapshot: number of the snapshot; None: the trained network.

        Raises:
            UserError: the weights do not fit the architecture; there is no such network or snapshot; or the network
                has batch normalisation, but the pool has no statistics of it.
        """
        self.check(network)
        theta = self.weights(which, snapshot)
        if not network.has_statistics:
            return network.with_weights(theta)
        if not self.statistics:
            raise UserError(
                f"the pool has no running statistics of batch normalisation of {network.name!r}, because an earlier "
                "version of datastill made it; pretrain it again"
            )
        place = -1 if snapshot is None else snapshot
        return network.with_weights(theta, self.statistics["training"][which, place])

    def _before_end(self, snapshot: int) -> Snapshots | None:
        """Return where a snapshot is read from; None if it is the trained network.

        Raises:
            UserError: there is no such snapshot.
        """
        if self.snapshots is None:
            raise UserError(
                f"snapshot {snapshot} is asked for, but the pool holds trained networks only; leave @{snapshot} out, "
                "or pretrain a pool with --snapshots"
            )
        self.snapshots.must_have(snapshot)
        return self.snapshots if snapshot < len(self.steps) - 1 else None

    def _must_have(self, network: int) -> None:
        if not 0 <= network < len(self.training):
            held = f"; the {len(self.held_out)} held out are for evaluation only" if len(self.held_out) else ""
            last = len(self.training) - 1
            known = f"0 to {last}" if last else "only 0"
            raise UserError(
                f"the pool has {counted(last + 1, 'network')} to distil with, so {known} can "
                f"be named, not {network}{held}"
            )

    def _row(self, split: str, network: int, snapshot: int | None) -> Float[Tensor, " size"]:
        before = None if snapshot is None else self._before_end(snapshot)
        if before is not None and snapshot is not None:
            return before.weights(split, network, snapshot)
        row: Tensor = getattr(self, split)[network]
        return row

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of header and weights. A result stores it to name the pool it was made with."""
        return digest(json.dumps(self.header, sort_keys=True), self._tensors())

    def save(self, path: Path) -> None:
        """Write the pool to one file, completely or not at all; snapshots pass through memory one by one."""
        metadata = {"format": FORMAT, "header": json.dumps(self.header, sort_keys=True), "sha256": self.sha256}
        tensors = {name: Streamed.whole(value) for name, value in self._tensors().items()}
        write_whole(path, file_pieces(self._streamed() | tensors, metadata))

    def _tensors(self) -> dict[str, Tensor]:
        """Return the tensors of the file that are in memory; the SHA-256 of snapshots stand for their weights."""
        kept = {name: getattr(self, name).contiguous() for name in SPLITS}
        beside = self.snapshots.sha256 if self.snapshots else {}
        statistics = {statistics_name(split): value.contiguous() for split, value in self.statistics.items()}
        return kept | statistics | {sha256_name(split): value for split, value in beside.items()}

    def _streamed(self) -> dict[str, Streamed]:
        """Return the snapshots as tensors of the file."""
        if self.snapshots is None:
            return {}
        size, count = self.training.shape[1], len(self.steps) - 1
        return {
            stack_name(split): Streamed(
                shape=(len(getattr(self, split)), count, size),
                dtype=torch.float32,
                pieces=self._all(split),
            )
            for split in SPLITS
        }

    def _all(self, split: str) -> Iterator[Tensor]:
        """Yield all snapshots of a split, network by network."""
        for i in range(len(getattr(self, split))):
            for k in range(len(self.steps) - 1):
                yield self._row(split, i, k)

    @classmethod
    def load(cls, path: str | Path) -> "Pool":
        """Read a pool; every byte is checked against the digest in the file.

        Raises:
            UserError: the file is missing, cut short, changed or no pool, or a value in it is impossible.
        """
        path = Path(path)
        if not path.is_file():
            begun = " (one is unfinished; repeat its command to finish it)" if parts(path).exists() else ""
            raise UserError(f"there is no pool at {path}{begun}; make one with datastill pretrain, or correct the path")
        metadata, tensors = read_tensors(path, [stack_name(split) for split in SPLITS])
        if (found := metadata.get("format", "none")) != FORMAT:
            kind = (
                "is a distilled set, not a pool of networks"
                if found.startswith("datastill/")
                else (f"is not a pool of format {FORMAT} (format found: {found})")
            )
            raise UserError(f"{path} {kind}; give a pool, made by datastill pretrain")
        must_be_unchanged(path, metadata, tensors)
        try:
            header = parse_json(metadata.get("header", ""))
            must_be_whole(header, tensors, shapes(path))
        except ValueError as error:
            raise UserError(f"the pool {path} cannot be used: {error}") from error
        statistics = {split: tensors[statistics_name(split)] for split in SPLITS if "statistics" in header}
        kept = {name: tensors[name] for name in SPLITS}
        return cls(**kept, header=header, snapshots=_snapshots(path, header, tensors), statistics=statistics)

    def check(self, network: Network) -> None:
        """Raise a `UserError` unless the weights fit `network` and its frozen weights are those of the pool."""
        self._must_fit(network)
        claimed, found = self.header.get("frozen", ""), network.sha256()
        if claimed != found:
            raise UserError(
                f"network {network.name!r} has other frozen weights (SHA-256 {found[:12] or 'none'}) than the pool "
                f"({claimed[:12] or 'none'}); give the network the weights file of the pool"
            )

    def must_take(self, space: Space) -> None:
        """Raise a `UserError` if the networks were trained on examples of another kind, e.g. without whitening."""
        theirs = self.header.get("space", {}).get("kind", "pixels")
        if theirs != space.kind:
            raise UserError(
                f"the networks of the pool were trained on {theirs}, but the data has {space.kind}; pretrain on data "
                "with the settings of this data, such as whiten"
            )

    def _must_fit(self, network: Network) -> None:
        ours = {name: list(shape) for name, shape in zip(network.names, network.shapes, strict=True)}
        if self.header["parameters"] == ours:
            return
        theirs, shape = self.header["settings"]["network"], "x".join(map(str, self.header["shape"]))
        mine = "x".join(map(str, network.shape))
        of_equal_data = (shape, self.header["classes"]) == (mine, network.classes)
        fix = f"take the network {theirs!r}" if of_equal_data else "take a pool of networks for these examples"
        raise UserError(
            f"the pool holds {theirs!r} for examples of {shape} in {self.header['classes']} classes, and "
            f"its weights do not fit {network.name!r} for {mine} in {network.classes}; {fix}, or pretrain a "
            "new pool"
        )


def _snapshots(path: Path, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Snapshots | None:
    """Return the snapshots in the file of a pool; None if it has none."""
    if "snapshots" not in header:
        return None
    sha256 = {split: tensors[sha256_name(split)] for split in SPLITS}
    return Snapshots(steps=tuple(header["snapshots"]), sha256=sha256, read=partial(read_from, path))


@dataclass(frozen=True, eq=False)
class AtSnapshot(Networks):
    """The networks of a pool at one snapshot, which are read when they are asked for."""

    pool: Pool
    snapshot: int

    @cached_property
    def training(self) -> Float[Tensor, "networks size"]:  # type: ignore[override]
        """Weights of the networks to distil with."""
        return self._read("training", self.pool.training)

    @cached_property
    def held_out(self) -> Float[Tensor, "held_out size"]:  # type: ignore[override]
        """Weights of the networks that measure finished sets."""
        return self._read("held_out", self.pool.held_out)

    def _read(self, split: str, like: Tensor) -> Tensor:
        rows = [self.pool._row(split, i, self.snapshot) for i in range(len(like))]
        return torch.stack(rows) if rows else like


@lru_cache(maxsize=2)  # validations during a run draw from one snapshot again and again
def _at(pool: Pool, snapshot: int) -> Networks:
    """Return the networks of a pool at one snapshot; a second call returns those in memory."""
    return AtSnapshot(pool, snapshot)


def load_pool(path: str) -> Pool:
    """Load the pool in a file; a second call returns the pool in memory if the file is unchanged. See `Pool.load`."""
    try:
        found = Path(path).stat()
    except OSError:
        return Pool.load(path)  # raises the error
    return _kept(path, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=2)  # a run loads its pool for distilling, validating and scoring
def _kept(path: str, changed: int, size: int) -> Pool:  # noqa: ARG001
    return Pool.load(path)


def parts(path: Path) -> Path:
    """Return the folder beside a pool that holds its networks until the pool is finished."""
    return Path(f"{path}.parts")


def named_in(text: str) -> tuple[str, int | None, int | None]:
    """Return file, network and snapshot that a text names: FILE, FILE#3, FILE@5 or FILE#3@5; None: not named.

    Raises:
        UserError: what follows # or @ is no number.
    """
    file, mark, rest = text.partition("#")
    if mark:
        which, at, snapshot = rest.partition("@")
    else:
        file, at, snapshot = text.rpartition("@")
        if not snapshot.isdecimal():  # an @ in the name of a folder or file
            file, at, snapshot = text, "", ""
        which = ""
    if mark and not _is_count(which):
        raise UserError(f"{text!r} names no network; write FILE#3 for the one with number 3")
    if at and not _is_count(snapshot):
        raise UserError(f"{text!r} names no snapshot; write FILE@5 or FILE#3@5 for the one with number 5")
    return file, int(which) if mark else None, int(snapshot) if at else None


def _is_count(text: str) -> bool:
    return text.isdecimal() and len(text) < 10
