"""A file that was changed at random is read as a value or refused in one line; see tests/fuzz for long campaigns."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .fuzz.campaign import KINDS, attempt, hostile_code_ran

TRIES = {"set": 60, "report": 5, "study": 20}
"""Files of a kind; 40 of every other."""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_file_is_read_or_refused_in_one_line(kind: str) -> None:
    @given(seed=st.integers(0, 2**32))
    @settings(max_examples=TRIES.get(kind, 40), deadline=None, derandomize=True, database=None)
    def any_seed(seed: int) -> None:
        assert attempt(kind, seed) in ("read", "one line")

    any_seed()
    assert not hostile_code_ran()
