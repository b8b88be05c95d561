"""Every test runs with the shapes and types in the package's signatures checked on each call."""

from collections.abc import Iterator

import jaxtyping
import pytest

jaxtyping.install_import_hook("datastill", "beartype.beartype")  # before the package is imported anywhere


@pytest.fixture
def as_a_user() -> Iterator[None]:
    """Without the checks of signatures, where the library's own message for a wrong argument is wanted."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
