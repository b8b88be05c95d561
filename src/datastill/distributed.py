"""Sharing work between several processes that torchrun starts; with one process these functions change nothing.

    torchrun --nproc-per-node=2 -m datastill distill mnist-random --method.networks 4

Each process has a rank, 0 to ranks - 1, and computes a part of the networks; only rank 0 writes files and prints.
"""

import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from .errors import UserError

START_TIMEOUT = timedelta(seconds=45)
"""How long a process tries to reach the others at the start."""
ANSWER_TIMEOUT = timedelta(hours=1)
"""How long a process waits for another one that is running; e.g. only rank 0 draws the report."""

Value = TypeVar("Value")
_group: dist.ProcessGroup | int | None = None


class SharedError(UserError):
    """A wrong input that every process knows, so that only rank 0 prints it."""


class LostError(UserError):
    """Another process has ended, or does not answer."""


@contextmanager
def process_group() -> Iterator[None]:
    """Connect with the other processes that torchrun started, until the block ends; without torchrun do nothing.

    A ``WORLD_SIZE`` alone, which other programs may leave in the environment, starts nothing.

    Raises:
        UserError: the other processes cannot be reached.
    """
    if _started() == 1:
        yield
        return
    global _group
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        dist.init_process_group(backend, timeout=START_TIMEOUT)
        _group = dist.new_group(timeout=ANSWER_TIMEOUT)
    except (RuntimeError, ValueError) as error:
        me, there = os.environ.get("RANK", "?"), ":".join(os.environ.get(f"MASTER_{x}", "?") for x in ("ADDR", "PORT"))
        raise UserError(
            f"rank {me} of {os.environ['WORLD_SIZE']} did not reach the others at {there} within "
            f"{START_TIMEOUT.total_seconds():.0f} s ({str(error).splitlines()[0]}); start all processes with torchrun"
        ) from error
    try:
        yield
    finally:
        _group = None
        dist.destroy_process_group()


def started_by_torchrun() -> bool:
    """Whether torchrun started several processes, this one among them."""
    return _started() > 1 and "TORCHELASTIC_RUN_ID" in os.environ


def _started() -> int:
    """Return how many processes were started to work together; 1 if the environment has no address to connect to."""
    wanted = os.environ.get("WORLD_SIZE", "")
    several = wanted.isdecimal() and all(name in os.environ for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"))
    return max(1, int(wanted)) if several else 1


def rank() -> int:
    """Return the number of this process, from 0; with one process it is 0."""
    return 0 if _group is None else dist.get_rank()


def ranks() -> int:
    """Return how many processes there are."""
    return 1 if _group is None else dist.get_world_size()


def local_rank() -> int:
    """Return the number of this process among the processes of this machine, from 0."""
    return 0 if _group is None else int(os.environ.get("LOCAL_RANK", "0"))


def rank_slice(count: int) -> range:
    """Return the numbers of the networks that this process computes, out of `count`."""
    return range(rank() * count // ranks(), (rank() + 1) * count // ranks())


def require_divisible(name: str, count: int) -> None:
    """Raise a `UserError` if the processes cannot share `count` networks evenly; `name` is the setting."""
    if count % ranks():
        raise UserError(
            f"{name} is {count}, which {ranks()} processes cannot share evenly; take a multiple of {ranks()}"
        )


def gathered(items: Sequence[Value]) -> list[Value]:
    """Return the items of all processes, in the order of their ranks.

    Raises:
        LostError: another process has ended.
    """
    if _group is None:
        return list(items)
    parts: list[list[Value]] = [[] for _ in range(ranks())]
    with _as_lost_error():
        dist.all_gather_object(parts, list(items), group=_group)
    return list(itertools.chain.from_iterable(parts))


def mean(each: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the mean of each tensor over its first dimension and over all processes.

    Args:
        each: tensors of (networks, *shape) by name; names and shapes are equal in every process.

    Returns:
        Tensors of (*shape) by name.

    Raises:
        LostError: another process has ended.
    """
    if _group is None:
        return {name: value.mean(0) for name, value in each.items()}
    sums = {name: value.sum(0) for name, value in each.items()}
    count = next(iter(sums.values())).new_tensor([len(next(iter(each.values())))])
    flat = torch.cat([count, *(value.flatten() for value in sums.values())])
    with _as_lost_error():
        dist.all_reduce(flat, group=_group)
    pieces = (flat[1:] / flat[0]).split([value.numel() for value in sums.values()])
    return {name: piece.view_as(sums[name]) for name, piece in zip(sums, pieces, strict=True)}


def on_every_rank(make: Callable[[], Value]) -> Value:
    """Call `make` in every process, wait until all have finished, and return the value of this process.

    Raises:
        SharedError: `make` raised a `UserError` in any process.
        LostError: another process has ended.
    """
    if _group is None:
        return make()
    try:
        made, errors_here = [make()], []
    except UserError as error:
        made, errors_here = [], [str(error)]
    errors = gathered(errors_here)
    if errors:
        raise SharedError(errors[0])
    return made[0]


def on_first_rank(make: Callable[[], Value]) -> Value:
    """Call `make` in rank 0 only, and return its value in every process; only rank 0 needs the files.

    Raises:
        SharedError: `make` raised a `UserError`.
        LostError: another process has ended.
    """
    return gathered(on_every_rank(lambda: [make()] if rank() == 0 else []))[0]


@contextmanager
def _as_lost_error() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise LostError(f"another process is gone or does not answer ({reason})") from error
