"""What a plan says, and what it says of precisions."""

from dataclasses import replace

import pytest
import torch

import datastill.planner
import datastill.timing
import datastill.training.engine
import datastill.training.precision
from datastill.planner import (
    Plan,
    duration,
    size,
)
from datastill.timing import Timing
from datastill.training.precision import rate, slow

from .planning import GIB, PLAINEST


def test_a_rate_is_that_of_products_and_float32_is_never_slow() -> None:
    device = torch.device("cpu")
    assert 1e6 < rate(device, "bfloat16") < 1e16
    assert slow(device, "float32") == slow(device, "auto") == ""


@pytest.mark.parametrize(
    ("precision", "found", "expected"),
    [
        ("bfloat16", 1e9, "products in bfloat16 run at 1.0 GFLOP/s on this machine, in float32 at 67"),
        ("bfloat16", 67e9, ""),
        ("float64", 30e9, ""),
        ("float64", 1.1e9, "products in float64 run at 1.1 GFLOP/s on this machine, in float32 at 67"),
    ],
)
def test_a_precision_is_slow_by_its_rate(
    precision: str, found: float, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = {"float32": 67e9, precision: found}
    monkeypatch.setattr(datastill.training.precision, "rate", lambda _, which: rates[which])
    assert slow(torch.device("cpu"), precision) == expected


# --- for people


def test_the_lines_of_a_plan_tell_all_of_it() -> None:
    slow, fast = (replace(PLAINEST, together=count) for count in (3, 1))
    found = Plan(
        parameters=1234567,
        operations=25 * 10**9,
        memory={"stored": 3 * GIB, "recomputed": 200 * 2**20},
        available=8 * GIB,
        timings=[Timing(engine=fast, first=1.5, seconds=0.5), Timing(engine=slow, first=2.5, seconds=0.75)],
    )
    assert list(found.lines(1000)) == [
        "parameters                1,234,567",
        "operations per iteration  25.00 GFLOP",
        "memory, stored            3.0 GiB of 8.0 GiB free",
        "memory, recomputed        200 MiB of 8.0 GiB free",
        "  0.500 s per iteration, 1.5 s the first: eager steps, stored, one network at a time, float32",
        "  0.750 s per iteration, 2.5 s the first: eager steps, stored, all networks together, float32",
        "best                      eager steps, stored, one network at a time, float32: 50 GFLOP/s",
        "time                      8 min for 1000 iterations",  # 501.5 s
        "                          besides validation and the final evaluation",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (119.0, "119 s"), (120.0, "2 min"), (7140.0, "119 min"), (7200.0, "2.0 h"), (86400.0, "24.0 h")],
)
def test_durations_are_told_in_the_unit_that_is_read_most_easily(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 MiB"), (2**20, "1 MiB"), (2**30 - 2**20, "1023 MiB"), (2**30, "1.0 GiB"), (5 * 2**29, "2.5 GiB")],
)
def test_sizes_are_told_in_the_unit_that_is_read_most_easily(count: int, text: str) -> None:
    assert size(count) == text
