"""Printing results on standard output, for people or as JSON."""

from pathlib import Path
from typing import Any

from ..terminal import Terminal, json_text

out = Terminal()


def first_line(thing: Any) -> str:
    """Return the first line of the docstring of an object."""
    return (thing.__doc__ or "").strip().splitlines()[0]


def say_written(path: Path, *, json: bool) -> int:
    """Say which file or folder a command wrote; returns the exit code."""
    if json:
        return print_json({"file": str(path)})
    out.print(f"wrote {path}")
    return 0


def print_json(value: Any) -> int:
    """Print a value as JSON; returns the exit code."""
    print(json_text(value))
    return 0
