"""The global random generators, which the makers of modules draw from: set for a while, and put back."""

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

_ONE_AT_A_TIME = threading.RLock()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """The global generators of PyTorch (on the CPU), NumPy and Python begin at `seed`; afterwards they are as before.

    One thread at a time, as these generators are shared by all.
    """
    with _ONE_AT_A_TIME:
        before = states()
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed every accelerator as well
        np.random.seed(seed % 2**32)  # noqa: NPY002 (the one that modules draw from)
        random.seed(seed)
        try:
            yield
        finally:
            torch.set_rng_state(before[0])
            np.random.set_state(before[1])  # noqa: NPY002
            random.setstate(before[2])


def states() -> tuple[torch.Tensor, Any, Any]:
    """The states of the three generators."""
    return torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002


def drawn_from(before: tuple[torch.Tensor, Any, Any]) -> bool:
    """Whether anything was drawn from PyTorch's or NumPy's generator since the states were `before`.

    Python's own does not count: checkers of types draw from it whenever a function is called.
    """
    now = states()
    return (
        not torch.equal(now[0], before[0]) or now[1][2] != before[1][2] or not np.array_equal(now[1][1], before[1][1])
    )
