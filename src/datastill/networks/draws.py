"""The global random generators, from which modules draw their weights: set them for a while, then restore them."""

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
    """Seed the global generators of PyTorch (on the CPU), NumPy and Python with `seed`; restore them afterwards.

    One thread at a time can be inside, because all threads share these generators.
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
    """Return the states of the global generators of PyTorch, NumPy and Python."""
    return torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002


def drawn_from(before: tuple[torch.Tensor, Any, Any]) -> bool:
    """Return whether PyTorch's or NumPy's generator was used since the states were `before`.

    Python's generator is ignored, because type checkers draw from it at each call of a function.
    """
    now = states()
    return (
        not torch.equal(now[0], before[0]) or now[1][2] != before[1][2] or not np.array_equal(now[1][1], before[1][1])
    )
