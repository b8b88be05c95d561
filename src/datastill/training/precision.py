"""How fast a device computes in each precision, measured with a small matrix product in a few milliseconds."""

import functools
import math
import time

import torch

MATRIX_SIDE = 256
"""Rows and columns of the measured matrices: large enough for matrix units; 34 ms at a rate of 1 GFLOP/s."""
SLOW_BELOW = {"bfloat16": 1.0, "float64": 0.2}
"""A precision is slow below this share of the rate of float32. float64 is never chosen for its speed."""


@functools.cache
def rate(device: torch.device, precision: str) -> float:
    """Measure the floating-point operations per second of a matrix product; return the best of four."""
    factor = torch.ones(MATRIX_SIDE, MATRIX_SIDE, device=device, dtype=getattr(torch, precision))
    return 2 * MATRIX_SIDE**3 / min(_seconds(factor) for _ in range(4))


def _seconds(factor: torch.Tensor) -> float:
    began = time.perf_counter()
    float((factor @ factor)[0, 0])  # reading a number waits for the device
    return max(time.perf_counter() - began, 1e-9)


def slow(device: torch.device, precision: str) -> str:
    """Return a sentence that says how slow a precision is on this device; empty if it is fast enough."""
    single, other = rate(device, "float32"), rate(device, precision) if precision in SLOW_BELOW else math.inf
    if other >= SLOW_BELOW.get(precision, 0.0) * single:
        return ""
    return f"products in {precision} run at {_giga(other)} GFLOP/s on this machine, in float32 at {_giga(single)}"


def _giga(operations: float) -> str:
    return f"{operations / 1e9:.0f}" if operations >= 2e9 else f"{operations / 1e9:.1f}"
