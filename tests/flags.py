"""The options of every command, as ``flags.txt`` lists them: ``python -m tests.flags`` writes the file again.

Whoever changes an option changes this file, and the difference is seen. The section of a method lists its settings,
which replace those of the default method in the section of distill.
"""

import contextlib
import re
import warnings
from argparse import SUPPRESS, ArgumentParser
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import tyro

from datastill.baselines import BASELINES
from datastill.cli import SPELLED, main
from datastill.commands import COMMANDS
from datastill.methods import METHODS

FILE = Path(__file__).with_name("flags.txt")


def sections() -> list[str]:
    """Return the beginnings of all command lines that have options of their own."""
    commands = [f"datastill {name}" for name in COMMANDS]
    learning = [f"datastill distill --method {name}" for name in METHODS]
    return [*commands, *learning, *(f"datastill baseline {name}" for name in BASELINES)]


@cache
def flags(section: str) -> list[str]:
    """Return the arguments that a command takes, with their kinds of values; with a method, the settings of this."""
    actions = _parser(section.split()[1:])._actions
    found = [_words(action) for action in actions if action.dest != "help" and action.help != SUPPRESS]
    return [words for words in found if words.startswith("--method.")] if "--method" in section else found


class _AskedError(Exception):
    """Ends a command as soon as it asks for its options to be read."""


def _parser(words: list[str]) -> ArgumentParser:
    """Return the parser that a command reads its options with."""
    asked: dict[str, Any] = {}

    def ask(kind: type[Any], *, args: object, **settings: Any) -> None:
        asked.update(settings, f=kind)
        raise _AskedError

    with patch("tyro.cli", ask), contextlib.suppress(_AskedError):
        main([*words, "--help"])
    with SPELLED, warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        return tyro.extras.get_parser(**asked)


def _words(action: Any) -> str:
    kind = str(action.metavar or "") if action.nargs != 0 else ""
    kind = re.sub(r"^\[(\[.*\])\]$", r"\1", kind)  # versions of tyro write several words in one or two brackets
    return " ".join([*action.option_strings, *([kind] if kind else [])])


def read() -> Mapping[str, list[str]]:
    """Return the lists in the file, by section."""
    parts = FILE.read_text(encoding="utf-8").strip().split("\n\n")
    return {head: rest for head, *rest in (part.splitlines() for part in parts)}


def written() -> str:
    """Return the text of the file for the options that there are now."""
    return "\n\n".join("\n".join([section, *flags(section)]) for section in sections()) + "\n"


if __name__ == "__main__":
    FILE.write_text(written(), encoding="utf-8")
