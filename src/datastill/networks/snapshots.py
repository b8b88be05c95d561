"""Snapshots: the weights of the networks of a pool along their training, left in its file until they are needed."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ..errors import UserError
from ..storage.streamed import read_piece

DIGEST_BYTES = 32
"""Bytes of a SHA-256."""
MOST_LISTED = 12
"""The largest number of snapshots of which an error lists every gradient step."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Snapshots:
    """The weights of each network at some places of its training, before its end.

    Only the weights that are asked for are read, and compared with the SHA-256 that the pool has for them.
    """

    steps: tuple[int, ...]
    """Gradient steps before each snapshot. The first is 0, the initial weights; the last is the trained network, which
    is no snapshot in the file but a network of the pool itself."""
    sha256: Mapping[str, UInt8[Tensor, "networks snapshots 32"]]
    """SHA-256 of the weights, by split."""
    read: Callable[[str, int, int], Float[Tensor, " size"]]
    """Function of split, number of the network and number of the snapshot."""

    def weights(self, split: str, network: int, snapshot: int) -> Float[Tensor, " size"]:
        """Return the weights of one network at one snapshot, which is not the last.

        Raises:
            UserError: the weights are not those that the pool was saved with.
        """
        theta = self.read(split, network, snapshot)
        if not torch.equal(sha256_of(theta), self.sha256[split][network, snapshot]):
            raise UserError(f"snapshot {snapshot} of {split} network {network} of the pool was changed after it was "
                            "written: its SHA-256 is another one; pretrain the pool again")  # fmt: skip
        return theta

    def must_have(self, snapshot: int) -> None:
        """Raise a `UserError` that lists all snapshots unless there is one with this number."""
        last = len(self.steps) - 1
        if not 0 <= snapshot <= last:
            steps = [*map(str, self.steps)]
            steps = steps if len(steps) <= MOST_LISTED else [*steps[:3], "...", steps[-1]]
            raise UserError(
                f"the pool has no snapshot {snapshot}; it has 0 to {last}, after {', '.join(steps)} gradient steps"
            )


def sha256_of(theta: Float[Tensor, " size"]) -> UInt8[Tensor, " 32"]:
    """Return the SHA-256 of weights as 32 bytes."""
    found = hashlib.sha256(theta.detach().cpu().contiguous().numpy().tobytes()).digest()
    return torch.frombuffer(bytearray(found), dtype=torch.uint8)


def places(snapshots: int, steps: int) -> list[int]:
    """Return after how many gradient steps the weights are kept: evenly spaced, from 0 to the end of the training.

    Args:
        snapshots: how many times they are kept, besides the initial weights.
        steps: gradient steps of the training.

    Raises:
        UserError: there are fewer steps than snapshots.
    """
    if snapshots > steps:
        raise UserError(f"snapshots is {snapshots}, but the training has {steps} gradient steps; use {steps} or fewer")
    return [steps * k // snapshots for k in range(snapshots + 1)] if snapshots else [steps]


def read_from(path: Path, split: str, network: int, snapshot: int) -> Float[Tensor, " size"]:
    """Return the weights that the file of a pool holds, as `Snapshots.read` does."""
    return read_piece(path, stack_name(split), (network, snapshot))


def stack_name(split: str) -> str:
    """Return the name of the tensor (networks, snapshots, size) in the file of a pool."""
    return f"{split}.snapshots"


def sha256_name(split: str) -> str:
    """Return the name of the tensor (networks, snapshots, 32) in the file of a pool."""
    return f"{split}.sha256"


def statistics_name(split: str) -> str:
    """Return the name of the tensor (networks, snapshots and the end, numbers) of running statistics in the file."""
    return f"{split}.statistics"
