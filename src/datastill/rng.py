"""Randomness is passed, never global: each use derives a generator of its own from what it is for.

Nothing has to be stored to resume a run, since the generator of iteration 400 does not depend on
iterations 0..399, and nothing changes when the work is shared out differently.
"""

import hashlib

import torch


def derive(seed: int, purpose: str, *index: int) -> int:
    """A 63-bit seed that depends on every argument."""
    text = repr((seed, purpose, *index))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, purpose: str, *index: int) -> torch.Generator:
    """A CPU generator for one purpose, e.g. ``generator(0, "initial weights", iteration, network)``.

    Draws are made on the CPU and then moved, so that a run means the same on every device.
    """
    return torch.Generator().manual_seed(derive(seed, purpose, *index))
