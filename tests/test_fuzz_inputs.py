"""A file that was changed at random is read as a value or refused in one line."""

import pytest

from .fuzz.inputs import KINDS, attempt


@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_file_is_read_or_refused_in_one_line(kind: str) -> None:
    counts = [attempt(kind, seed) for seed in range(40)]
    assert "refused" in counts
