"""The checks of types and shapes that the tests run with."""

from collections.abc import Callable
from typing import Any

from beartype import beartype


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that checks the types of its arguments and results on each call.

    A function inside another is left as it is: it is made anew on every call, and to add its checks every time took a
    third of the time of all tests.
    """
    return function if "<locals>" in function.__qualname__ else beartype(function)
