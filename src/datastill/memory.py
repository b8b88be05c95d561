"""Free memory: what the system has left, and what a container or a batch system leaves of it."""

from collections.abc import Iterator
from pathlib import Path

import psutil
import torch

GROUPS = Path("/sys/fs/cgroup")
"""Folder where Linux shows control groups, by which containers and batch systems limit memory."""
OWN_GROUPS = Path("/proc/self/cgroup")
"""File that names the groups of this process: ``0::/jobs/7`` (version 2), ``9:memory:/jobs/7`` (version 1)."""
FILES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
"""The files with the limit and the use of a group, and the name in ``memory.stat`` of the part of its use that is given
back when memory is short: version 2, version 1."""


def free_bytes(device: torch.device) -> int:
    """Return the bytes of memory that are free on a device: for a CPU, the system's or fewer if a group has a limit."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return min([psutil.virtual_memory().available, *_left_in_groups()])


def _left_in_groups() -> Iterator[int]:
    """Yield the bytes that each limited control group of this process leaves; nothing where there are none."""
    for folder in _own_groups():
        for limit, use, reclaimable in FILES:
            try:
                most, used = int((folder / limit).read_text()), int((folder / use).read_text())
                stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
                yield max(0, most - used + int(stat[reclaimable]))
            except (OSError, ValueError, KeyError):  # no such group, or no limit (``max``)
                continue


def _own_groups() -> Iterator[Path]:
    """Yield the folders of the memory groups of this process, each with the groups that it is in."""
    try:
        lines = OWN_GROUPS.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, kind, path = line.split(":", 2)
        if kind in ("", "memory"):
            root = GROUPS / kind
            group = root / path.lstrip("/")
            yield from (each for each in (group, *group.parents) if each.is_relative_to(root))
