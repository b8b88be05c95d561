"""Pools: many trained networks in one file, those to distil with and those held out kept apart by construction."""

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

from .errors import UserError
from .files import digest, must_be_unchanged, parse_json, read_tensors, write_whole
from .networks import Network
from .records import fits, shown

FORMAT = "datastill-pool/1"
PREFIX = "pool:"
"""What an initialiser begins with that is the file of a pool."""
SPLITS = ("training", "held_out")
FIELDS = {
    "settings": Mapping[str, Any],
    "shape": tuple[int, int, int],
    "classes": int,
    "class_names": tuple[str, ...],
    "mean": tuple[float, ...],
    "std": tuple[float, ...],
    "parameters": Mapping[str, Any],
    "accuracies": Mapping[str, Any],
    "seconds": float,
    "torch": str,
    "frozen": str | None,
}
"""What the header of a pool holds; ``frozen`` is left out where a network freezes nothing."""
TEST = "test networks"
"""The purpose of networks that are measured on test images, the only one that those held out are for."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Pool:
    """Trained networks as flat vectors, with what is known of them."""

    training: Float[Tensor, "networks size"]
    """Those to distil with: `drawn` and `validating`."""
    held_out: Float[Tensor, "held_out size"]
    """Those that finished sets are measured with."""
    header: dict[str, Any]
    """Settings, shape, classes, parameter names and shapes, accuracies on the validation split, seconds, versions."""

    @property
    def drawn(self) -> Float[Tensor, "drawn size"]:
        """Those that distillation draws from: all of `training` but the last tenth."""
        return self.training[: len(self.training) - len(self.training) // 10]

    @property
    def validating(self) -> Float[Tensor, "validating size"]:
        """The last tenth of `training`, on which a set that serves no others than it saw does badly.

        In a pool of fewer than ten, all of them.
        """
        kept = self.training[len(self.drawn) :]
        return kept if len(kept) else self.training

    @cached_property
    def sha256(self) -> str:
        """Of header and weights: what a result says that it was made with."""
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
            UserError: the file is missing, cut short, changed, or of another kind, or holds values that no pool has.
        """
        path = Path(path)
        if not path.is_file():
            begun = " (one was begun; the same command goes on with it)" if parts(path).exists() else ""
            raise UserError(f"there is no pool at {path}{begun}; make one with datastill pretrain, or say where it is")
        metadata, tensors = read_tensors(path)
        if metadata.get("format") != FORMAT:
            raise UserError(f"{path} is not a pool of format {FORMAT} (format found: {metadata.get('format', 'none')})")
        must_be_unchanged(path, metadata, tensors)
        try:
            header = parse_json(metadata.get("header", ""))
            must_be_whole(header, tensors)
        except ValueError as error:
            raise UserError(f"the pool {path} is of no use: {error}") from error
        return cls(**tensors, header=header)

    def check(self, network: Network) -> None:
        """Raise a `UserError` unless the weights are this network's, and it freezes what it froze before."""
        self._must_fit(network)
        claimed, found = self.header.get("frozen", ""), network.sha256()
        if claimed != found:
            raise UserError(
                f"network {network.name!r} freezes other weights (SHA-256 {found[:12] or 'of none'}) than those that "
                f"the pool was trained with ({claimed[:12] or 'none'}); give it the weights file of the pool"
            )

    def _must_fit(self, network: Network) -> None:
        ours = {name: list(shape) for name, shape in zip(network.names, network.shapes, strict=True)}
        if self.header["parameters"] == ours:
            return
        settings, shape = self.header["settings"], "x".join(map(str, self.header["shape"]))
        mine = "x".join(map(str, network.shape))
        raise UserError(
            f"the pool holds {settings['network']!r} for images of {shape} in {self.header['classes']} classes, and "
            f"its weights do not fit {network.name!r} for {mine} in {network.classes}; pretrain such a pool, or change "
            "--network, --data.resize or --data.channels"
        )


def must_be_whole(header: Any, tensors: Mapping[str, Tensor]) -> None:
    """Raise a `UserError` unless a header has all fields of a pool, of their types, and the tensors fit it."""
    if not isinstance(header, dict):
        raise UserError("its header is not a JSON object")
    for name, kind in FIELDS.items():
        value = header.get(name)
        if not fits(kind, tuple(value) if isinstance(value, list) else value):
            raise UserError(f"its header has {shown(value)} as {name}")
    if not fits(str, header["settings"].get("network")):
        raise UserError("its settings name no network")
    if len(header["class_names"]) != header["classes"]:
        raise UserError(f"it has {len(header['class_names'])} class names for {header['classes']} classes")
    size = sum(_size(name, shape) for name, shape in header["parameters"].items())
    if set(tensors) != set(SPLITS):
        raise UserError(f"it holds the tensors {', '.join(sorted(tensors)[:5])} instead of {' and '.join(SPLITS)}")
    for name, value in tensors.items():
        _must_hold_networks(name, value, size, header["accuracies"].get(name))


def _size(name: str, shape: Any) -> int:
    """How many numbers a parameter of this shape has."""
    if not isinstance(shape, list) or not all(fits(int, side) and side >= 0 for side in shape):
        raise UserError(f"its header has {shown(shape)} as the shape of the parameter {name!r}")
    return math.prod(shape)


def _must_hold_networks(name: str, value: Tensor, size: int, accuracies: Any) -> None:
    if value.dtype != torch.float32 or value.dim() != 2 or value.shape[1] != size:
        raise UserError(
            f"{name} is {value.dtype} of shape {tuple(value.shape)}, but must be float32 with {size} columns"
        )
    if not bool(value.isfinite().all()):
        raise UserError(f"{name} holds weights that are not finite")
    if name == "training" and not len(value):
        raise UserError("it holds no networks to distil with")
    if not fits(tuple[float, ...], tuple(accuracies) if isinstance(accuracies, list) else accuracies):
        raise UserError(f"its header has {shown(accuracies)} as accuracies of {name}")
    if len(accuracies) != len(value) or not all(0 <= accuracy <= 1 for accuracy in accuracies):
        raise UserError(f"its accuracies of {name} are not {len(value)} numbers from 0 to 1")


def load_pool(path: str) -> Pool:
    """The pool in a file, kept while the file is the same; see `Pool.load`."""
    try:
        found = Path(path).stat()
    except OSError:
        return Pool.load(path)  # which says what is wrong
    return _kept(path, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=2)  # a run asks for the same one while distilling, validating and scoring
def _kept(path: str, changed: int, size: int) -> Pool:  # noqa: ARG001
    return Pool.load(path)


def is_pool(initialiser: str) -> bool:
    """Whether an initialiser is a pool: pool:FILE, or pool:FILE#3 for one network of it."""
    return initialiser.startswith(PREFIX)


def parse(initialiser: str) -> tuple[str, int | None]:
    """The file of pool:FILE, and which network of it is meant by pool:FILE#3.

    Raises:
        UserError: there is no file, or what follows # is no number.
    """
    path, mark, number = initialiser.removeprefix(PREFIX).partition("#")
    if not path:
        raise UserError(f"{initialiser!r} names no file; write {PREFIX}FILE, made by: datastill pretrain")
    if mark and not number.isdecimal():
        raise UserError(f"{initialiser!r} names no network; write {PREFIX}FILE#3 for the one with index 3")
    return path, int(number) if mark else None


def networks_of(initialiser: str, network: Network) -> Float[Tensor, "networks size"]:
    """The networks that an initialiser names: all that distillation draws from, or the one after #.

    Raises:
        UserError: no such pool, weights that do not fit the network, or a number beyond those to distil with.
    """
    pool, path, number = _fitting(initialiser, network)
    if number is None:
        return pool.drawn
    if number >= len(pool.training):
        held = f"; the {len(pool.held_out)} held out are for evaluation only" if len(pool.held_out) else ""
        raise UserError(
            f"the pool {path} has {len(pool.training)} networks to distil with, so 0 to "
            f"{len(pool.training) - 1} can be named, not {number}{held}"
        )
    return pool.training[number : number + 1]


def measured_with(initialiser: str, network: Network, purpose: str) -> Float[Tensor, "networks size"]:
    """The networks to evaluate with: those held out, those for validation, or the one after #.

    Raises:
        UserError: no such pool, weights that do not fit the network, or none is held out.
    """
    pool, path, number = _fitting(initialiser, network)
    if number is not None:
        return networks_of(initialiser, network)
    if purpose != TEST:
        return pool.validating
    if not len(pool.held_out):
        raise UserError(f"the pool {path} holds no networks out to evaluate with; pretrain one with --held-out 20")
    return pool.held_out


def _fitting(initialiser: str, network: Network) -> tuple[Pool, str, int | None]:
    """The pool of an initialiser, its file, and which network of it is meant."""
    path, number = parse(initialiser)
    pool = load_pool(path)
    pool.check(network)
    return pool, path, number


def parts(path: Path) -> Path:
    """The folder beside a pool that holds its networks while it is not finished."""
    return path.with_name(path.name + ".parts")
