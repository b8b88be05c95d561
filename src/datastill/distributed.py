"""Several processes that share the work, started by torchrun; in one process all of this does nothing.

    torchrun --nproc-per-node=2 -m datastill distill mnist-random --method.networks 4

Each process has a rank, 0 to ranks - 1, and takes its share of the networks; the first one writes and speaks.
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

MEET = timedelta(seconds=45)
"""How long the processes look for one another at the start."""
WAIT = timedelta(hours=1)
"""How long one waits for another that is still there: the first may be drawing a report."""

Value = TypeVar("Value")
_group: dist.ProcessGroup | int | None = None


class SharedError(UserError):
    """A wrong input that all processes know of, so that one of them can tell it."""


class LostError(UserError):
    """Another process is gone."""


@contextmanager
def process_group() -> Iterator[None]:
    """Work together with the other processes that torchrun started, where it did.

    A ``WORLD_SIZE`` alone, as it is left over from other work, starts nothing.

    Raises:
        UserError: the others cannot be reached.
    """
    if _wanted() == 1:
        yield
        return
    global _group
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        dist.init_process_group(backend, timeout=MEET)
        _group = dist.new_group(timeout=WAIT)
    except (RuntimeError, ValueError) as error:
        me, there = os.environ.get("RANK", "?"), ":".join(os.environ.get(f"MASTER_{x}", "?") for x in ("ADDR", "PORT"))
        raise UserError(
            f"rank {me} of {os.environ['WORLD_SIZE']} did not reach the others at {there} within "
            f"{MEET.total_seconds():.0f} s ({str(error).splitlines()[0]}); start all of them, with torchrun"
        ) from error
    try:
        yield
    finally:
        _group = None
        dist.destroy_process_group()


def started_by_torchrun() -> bool:
    """Whether torchrun started several processes, this one among them."""
    return _wanted() > 1 and "TORCHELASTIC_RUN_ID" in os.environ


def _wanted() -> int:
    """How many processes were started to work together; 1 where the environment does not say how they meet."""
    wanted = os.environ.get("WORLD_SIZE", "")
    several = wanted.isdecimal() and all(name in os.environ for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"))
    return max(1, int(wanted)) if several else 1


def rank() -> int:
    """Which process this is; 0 is the first, and the only one where there is one."""
    return 0 if _group is None else dist.get_rank()


def ranks() -> int:
    """How many processes there are."""
    return 1 if _group is None else dist.get_world_size()


def local_rank() -> int:
    """Which process of this machine this is."""
    return 0 if _group is None else int(os.environ.get("LOCAL_RANK", "0"))


def rank_slice(count: int) -> range:
    """Which of so many networks are this process's."""
    return range(rank() * count // ranks(), (rank() + 1) * count // ranks())


def require_divisible(name: str, count: int) -> None:
    """Raise a `UserError` where the processes cannot share `count` networks evenly."""
    if count % ranks():
        raise UserError(
            f"{name} is {count}, which {ranks()} processes cannot share evenly; take a multiple of {ranks()}"
        )


def gathered(items: Sequence[Value]) -> list[Value]:
    """What all processes have, in order of their ranks.

    Raises:
        LostError: one is gone.
    """
    if _group is None:
        return list(items)
    parts: list[list[Value]] = [[] for _ in range(ranks())]
    with _as_lost_error():
        dist.all_gather_object(parts, list(items), group=_group)
    return list(itertools.chain.from_iterable(parts))


def mean(each: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Over the first dimension and all processes, in one exchange.

    Args:
        each: (networks, *shape) by name; the same names and shapes in every process.

    Raises:
        LostError: one is gone.
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
    """What this process makes, when all have made theirs.

    Raises:
        SharedError: one of them raised a `UserError`.
        LostError: one is gone.
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
    """What the first process makes, for all; the others may not have its files.

    Raises:
        SharedError: it raised a `UserError`.
        LostError: one is gone.
    """
    return gathered(on_every_rank(lambda: [make()] if rank() == 0 else []))[0]


@contextmanager
def _as_lost_error() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise LostError(f"another process is gone or does not answer ({reason})") from error
