"""Memory that is freed and taken again stays with the process."""

import subprocess
import sys

import pytest

from datastill import heap
from datastill.heap import keep_freed_memory

PAGES_TAKEN = """
import resource, sys, numpy
from datastill.heap import keep_freed_memory
kept = keep_freed_memory()
numpy.ones(2**20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    numpy.ones(2**20), numpy.ones(2**20)  # 8 MiB each
print(int(kept), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_memory_that_was_freed_is_not_asked_for_again() -> None:
    """20 times 16 MiB in pages of 4 KiB are 81920; those of one time are taken once."""
    done = subprocess.run([sys.executable, "-c", PAGES_TAKEN], capture_output=True, text=True, timeout=60, check=True)
    kept, pages = map(int, done.stdout.split())
    if not kept:
        pytest.skip("the C library here has no mallopt, or a user has set it")
    assert pages < 2 * 4096


def test_a_user_who_has_chosen_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")
    monkeypatch.setattr(heap.ctypes, "CDLL", lambda _: pytest.fail("asked the C library"))
    assert not keep_freed_memory()


@pytest.mark.parametrize("library", [object, lambda: (_ for _ in ()).throw(OSError)])
def test_another_c_library_changes_nothing(monkeypatch: pytest.MonkeyPatch, library: object) -> None:
    for name in [name for name in heap.os.environ if name.startswith("MALLOC_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(heap.ctypes, "CDLL", lambda _: next(library()) if library is not object else object())
    assert not keep_freed_memory()
