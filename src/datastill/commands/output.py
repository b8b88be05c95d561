"""What commands print: results on standard output, for people or as JSON."""

import json
from typing import Any

from rich.console import Console

out = Console()


def first_line(thing: Any) -> str:
    """The first line of a docstring."""
    return (thing.__doc__ or "").strip().splitlines()[0]


def print_json(value: Any) -> int:
    """Print a value as JSON; returns the exit code."""
    print(json.dumps(value, indent=2, ensure_ascii=False))
    return 0
