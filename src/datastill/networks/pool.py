"""Pools: many trained networks in one file. Networks held out for evaluation are never used for distilling."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import save
from torch import Tensor

from ..errors import UserError
from ..space import SPACE
from ..storage.files import digest, must_be_unchanged, parse_json, read_tensors, write_whole
from ..storage.records import (
    FINITE,
    INTEGER_LIMIT,
    TEXT,
    WHOLE,
    list_of,
    mapping_of,
    number,
    optional,
    record,
    shown,
    whole,
)
from .functional import Network

FORMAT = "datastill-pool/1"
SPLITS = ("training", "held_out")
TEST_NETWORKS = "test networks"
"""The purpose of networks that are measured on test images. Only this purpose may use held-out networks."""
MOST_NETWORKS = 10_000_000
"""The largest number of networks in a pool, of classes, and of numbers in a shape."""
FIELDS = {
    "settings": record({"network": TEXT}, needed=("network",), more=True),
    "shape": list_of(WHOLE, 1, 3),
    "classes": WHOLE,
    "class_names": list_of(TEXT, 1, MOST_NETWORKS),
    "space": SPACE,
    "parameters": mapping_of(list_of(whole(0, INTEGER_LIMIT), 0, 100)),
    "accuracies": record(dict.fromkeys(SPLITS, list_of(number(0, 1), 0, MOST_NETWORKS)), needed=SPLITS),
    "seconds": FINITE,
    "torch": TEXT,
    "frozen": optional(TEXT),
    "mean": list_of(FINITE, 1, MOST_NETWORKS),
    "std": list_of(FINITE, 1, MOST_NETWORKS),
}
HEADER = record(FIELDS, needed=[name for name in FIELDS if name not in ("frozen", "space", "mean", "std")])
"""The rule of the header of a pool. ``frozen`` is absent if no parameter is frozen. Pools of version 0.1 hold ``mean``
and ``std`` of pixels in the place of ``space``."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Pool:
    """Trained networks as flat vectors, with a header that describes them."""

    training: Float[Tensor, "networks size"]
    """Weights of the networks to distil with: first `drawn`, then `validating`."""
    held_out: Float[Tensor, "held_out size"]
    """Weights of the networks that measure finished sets."""
    header: dict[str, Any]
    """Settings, shape, classes, parameter names and shapes, accuracies on the validation split, seconds, versions."""

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

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of header and weights. A result stores it to name the pool it was made with."""
        return digest(json.dumps(self.header, sort_keys=True), self._tensors())

    def save(self, path: Path) -> None:
        """Write the pool to one file, completely or not at all."""
        metadata = {"format": FORMAT, "header": json.dumps(self.header, sort_keys=True), "sha256": self.sha256}
        write_whole(path, save(self._tensors(), metadata))

    def _tensors(self) -> dict[str, Tensor]:
        return {name: getattr(self, name).contiguous() for name in SPLITS}

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
        metadata, tensors = read_tensors(path)
        if metadata.get("format") != FORMAT:
            raise UserError(f"{path} is not a pool of format {FORMAT} (format found: {metadata.get('format', 'none')})")
        must_be_unchanged(path, metadata, tensors)
        try:
            header = parse_json(metadata.get("header", ""))
            must_be_whole(header, tensors)
        except ValueError as error:
            raise UserError(f"the pool {path} cannot be used: {error}") from error
        return cls(**tensors, header=header)

    def check(self, network: Network) -> None:
        """Raise a `UserError` unless the weights fit `network` and its frozen weights are those of the pool."""
        self._must_fit(network)
        claimed, found = self.header.get("frozen", ""), network.sha256()
        if claimed != found:
            raise UserError(
                f"network {network.name!r} has other frozen weights (SHA-256 {found[:12] or 'none'}) than the pool "
                f"({claimed[:12] or 'none'}); give the network the weights file of the pool"
            )

    def _must_fit(self, network: Network) -> None:
        ours = {name: list(shape) for name, shape in zip(network.names, network.shapes, strict=True)}
        if self.header["parameters"] == ours:
            return
        settings, shape = self.header["settings"], "x".join(map(str, self.header["shape"]))
        mine = "x".join(map(str, network.shape))
        raise UserError(
            f"the pool holds {settings['network']!r} for images of {shape} in {self.header['classes']} classes, and "
            f"its weights do not fit {network.name!r} for {mine} in {network.classes}; pretrain a new pool, or change "
            "--network, --data.resize or --data.channels"
        )


def must_be_whole(header: Any, tensors: Mapping[str, Tensor]) -> None:
    """Raise a `UserError` unless a header has all fields of a pool, with their types, and fits the tensors."""
    HEADER(header, "header")
    if len(header["class_names"]) != header["classes"]:
        raise UserError(f"it has {len(header['class_names'])} class names for {header['classes']} classes")
    if set(tensors) != set(SPLITS):
        raise UserError(
            f"it holds the tensors {', '.join(map(shown, sorted(tensors)[:5]))} instead of {' and '.join(SPLITS)}"
        )
    size = sum(map(math.prod, header["parameters"].values()))
    for name, value in tensors.items():
        _must_hold_networks(name, value, size, len(header["accuracies"][name]))


def _must_hold_networks(name: str, value: Tensor, size: int, accuracies: int) -> None:
    if value.dtype != torch.float32 or value.dim() != 2 or value.shape[1] != size:
        raise UserError(
            f"{name} is {value.dtype} of shape {tuple(value.shape)}, but must be float32 with {size} columns"
        )
    if not bool(value.isfinite().all()):
        raise UserError(f"{name} holds weights that are not finite")
    if name == "training" and not len(value):
        raise UserError("it holds no networks to distil with")
    if accuracies != len(value):
        raise UserError(f"it has {accuracies} accuracies of {name} for {len(value)} networks")


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
