"""Every test runs with the shapes and types in the package's signatures checked on each call."""

import gc
import os
from collections.abc import Iterator

import hypothesis
import jaxtyping
import pytest

from .checking import check_signatures

check_signatures("datastill")  # before the package is imported anywhere

# New examples are looked for where somebody can look at them; a merge is judged by the same ones every time.
# Machines differ, and so does what else they do: no example has a time limit.
hypothesis.settings.register_profile("here", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "here")


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over what importing made: looking at it takes a tenth of a second each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def as_a_user() -> Iterator[None]:
    """Without the checks of signatures, where the library's own message for a wrong argument is wanted."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(autouse=True)
def page_without_charts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run writes a page, and its charts take longer than a small run: only the tests of reports draw them."""
    if "report" not in request.path.parts:
        monkeypatch.setattr("datastill.report.page._charts", lambda run: iter(()))
