"""How fast a device computes in each precision, found by a small matrix product in a few milliseconds."""

import functools
import math
import time

import torch

SIDE = 256
"""Rows and columns of the product: large enough for matrix units, and 34 ms where there are none (1 GFLOP/s)."""
SLOW = {"bfloat16": 1.0, "float64": 0.2}
"""Share of the rate of float32 below which a precision is called slow. float64 is never chosen for its speed."""


@functools.cache
def rate(device: torch.device, precision: str) -> float:
    """Floating-point operations per second of a matrix product; the best of three."""
    factor = torch.ones(SIDE, SIDE, device=device, dtype=getattr(torch, precision))
    return 2 * SIDE**3 / min(_seconds(factor) for _ in range(4))


def _seconds(factor: torch.Tensor) -> float:
    began = time.perf_counter()
    float((factor @ factor)[0, 0])  # reading a number waits for the device
    return max(time.perf_counter() - began, 1e-9)


def slow(device: torch.device, precision: str) -> str:
    """What is wrong with a precision on this device, in one sentence; empty where it is fast enough."""
    single, other = rate(device, "float32"), rate(device, precision) if precision in SLOW else math.inf
    if other >= SLOW.get(precision, 0.0) * single:
        return ""
    return f"products in {precision} run at {_giga(other)} GFLOP/s on this machine, in float32 at {_giga(single)}"


def _giga(operations: float) -> str:
    return f"{operations / 1e9:.0f}" if operations >= 2e9 else f"{operations / 1e9:.1f}"
