"""Files that strangers changed end in a set or in one line; `python -m tests.fuzz_sets 10000` tries many."""

import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import fuzz_sets


@pytest.mark.filterwarnings("ignore")
@given(seed=st.integers(0, 2**32))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_changed_file_is_a_set_or_one_line(as_a_user: None, seed: int) -> None:
    assert fuzz_sets.attempt(seed) in ("set", "one line")
    assert fuzz_sets.CANARY not in sys.modules
