"""Random generators, passed as arguments, never global: each is made from a seed and the purpose of its numbers.

No generator has to be stored to resume a run, because the generator of iteration 400 does not depend on iterations
0 to 399. Results do not depend on how work is divided among processes either.
"""

import hashlib

import torch


def derive(seed: int, purpose: str, *index: int) -> int:
    """Return a 63-bit seed that depends on every argument."""
    text = repr((seed, purpose, *index))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, purpose: str, *index: int) -> torch.Generator:
    """Return a CPU generator for one purpose, e.g. ``generator(0, "initial weights", iteration, network)``.

    Numbers are drawn on the CPU and then moved, so that every device computes with equal numbers.
    """
    return torch.Generator().manual_seed(derive(seed, purpose, *index))
