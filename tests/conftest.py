"""Every test runs with the shapes and types in the package's signatures checked on each call."""

import gc
import os
from collections.abc import Iterator

import hypothesis
import jaxtyping
import pytest

from .checking import begin_test, check_signatures

check_signatures("datastill")  # before the package is imported anywhere

# New examples are looked for where somebody can look at them; a merge is judged by the same ones every time.
# Machines differ, and so does what else they do: no example has a time limit.
hypothesis.settings.register_profile("here", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "here")


@pytest.fixture(autouse=True)
def same_numbers_for_a_merge() -> None:
    """Random tensors are other ones in each run of a test here, and the same ones where a merge is judged."""
    if os.environ.get("CI"):
        import torch

        torch.manual_seed(0)


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over what importing made: looking at it takes a tenth of a second each time."""
    gc.collect()
    gc.freeze()


def pytest_runtest_logstart() -> None:
    begin_test()


@pytest.fixture
def as_a_user() -> Iterator[None]:
    """Without the checks of signatures, where the library's own message for a wrong argument is wanted."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(autouse=True, scope="session")
def without_waiting_for_the_disk() -> Iterator[None]:
    """No test takes the power away, and there are some ten thousand small files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(autouse=True, scope="module")  # before the runs that a module shares
def page_without_charts(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every run writes a page, and its charts take longer than a small run: only the tests of reports draw them."""
    with pytest.MonkeyPatch.context() as patch:  # of its own: a test may undo its own
        if "report" not in request.path.parts:
            patch.setattr("datastill.report.page._charts", lambda run: iter(()))
        yield


@pytest.fixture(scope="module")
def operations_not_counted() -> Iterator[None]:
    """A run is not computed five times to count what it costs: whatever it costs, it fits."""
    from datastill.costs import MODES, Cost

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datastill.planner.costs", lambda _: dict.fromkeys(MODES, Cost(memory=1, operations=1)))
        yield


@pytest.fixture(scope="module")
def one_program_to_choose() -> Iterator[None]:
    """Step size and epochs of baselines are not chosen from the usual grid of eighteen or more programs."""
    from datastill.evaluation import Grid  # conftest is imported by the process that only gives out the tests, too

    few = Grid(step_sizes=(0.1,), epochs=(2,), networks=2)
    with pytest.MonkeyPatch.context() as patch:
        for module in ("baselines", "studies.pools"):
            patch.setattr(f"datastill.{module}.Grid", lambda: few)
        yield
