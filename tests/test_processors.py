"""What must be equal to digits is so on other processors, too, as far as this one can imitate them.

PyTorch, oneDNN and MKL choose their kernels by what the processor can do; environment variables make them choose those
of an older one, which add and multiply in another order.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

IMITATED = {
    "without vector units": {
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_CBWR": "COMPATIBLE",
    },
    "AVX2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_CBWR": "AVX2"},
}
TESTS = ["tests/test_golden.py", "tests/training/test_hypergradient.py"]
SOME = "digits or usps-random-10 or mnist-fixed or one_graph or it_is_the_closed_form"
"""Curves of each kind of network and start, and hypergradients of every network."""


@pytest.mark.parametrize("processor", IMITATED)
def test_golden_curves_and_hypergradients_hold_on_another_processor(processor: str) -> None:
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", *TESTS]
    done = subprocess.run(
        [*command, "-k", SOME],
        env=os.environ | IMITATED[processor],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert " passed" in done.stdout
