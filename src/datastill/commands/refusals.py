"""What tyro says in a frame of wrong words on the command line, in one line like the other errors."""

import ast
import difflib
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import unknown
from ..recipes import RECIPES

READ_FIRST = ("--method",)
"""Options that are read before the others, so that tyro does not know them."""


WITHOUT_VALUES = "no value was given"
"""What the command line says to tyro of an option that takes a list, but was given no value."""


EMPTY = "the name is empty"
"""What the command line says of a path without a name."""


def one_line(frame: str, command: str) -> str:
    """Return tyro's framed error message as one line.

    Args:
        frame: the message.
        command: the words that start the command, e.g. ``datastill distill``.
    """
    plain = re.sub(r"\x1b\[[\d;]*m", "", frame)  # colours
    lines = [line.strip(" │╭╮╰╯") for line in plain.splitlines()[1:]]
    parts = [list(part) for rule, part in itertools.groupby(lines, lambda line: not line.strip("─-")) if not rule]
    said = " ".join(parts[0]).removesuffix(".")
    if found := _NEEDED.match(said):
        return f"{command} needs {_needed(said[found.end() :])}"
    if said.startswith(_LEFT_OVER):
        return _left_over(said.removeprefix(_LEFT_OVER).split(", "), _near(parts[1:]), command)
    for pattern, words in _PLAINER.items():
        said = pattern.sub(words, said)
    return _OWN_ERROR.sub("", _WRONG_CHOICE.sub(_unknown_choice, said))


def _needed(said: str) -> str:
    """Return what a command lacks: its first word, or options, each with its help."""
    each = (part.strip() for part in said.split("(required)"))
    return "; ".join(
        _NEEDED_HELP.sub(lambda found: f"{found[1] or 'a first word'}, {found[2].lower()}", part).rstrip(".")
        for part in each
        if part
    )


def _near(parts: Sequence[Sequence[str]]) -> dict[str, str]:
    """Return the options that tyro suggests, by the unknown option; this is empty if there is only one."""
    found = {}
    for title, *suggested in parts:
        if title == "Perhaps you meant:" or title.startswith("Arguments similar to "):
            option = title.partition(" similar to ")[2].removesuffix(":").partition("=")[0]
            found[option] = suggested[0].split()[0]
    return found


def _left_over(words: Sequence[str], near: Mapping[str, str], command: str) -> str:
    """Return the error for words that are no option, or that belong to none; words after an unknown option are its."""
    options = [word.partition("=")[0] for word in words if word.startswith("-")]
    if options:
        return f"unknown option {', '.join(option + _hint(option, near) for option in options)}"
    for word in words:
        if word in RECIPES and command in ("datastill distill", "datastill plan"):
            return f"{word!r} belongs to no option; a recipe is the first word: {command} {word}"
    belong, them = ("belongs", "it") if len(words) == 1 else ("belong", "them")
    return f"{', '.join(map(repr, words))} {belong} to no option; leave {them} out"


def _hint(option: str, near: Mapping[str, str]) -> str:
    first = difflib.get_close_matches(option, READ_FIRST, n=1, cutoff=0.8)
    meant = near.get(option, near.get("", "".join(first)))
    return f" (did you mean {meant}?)" if meant else ""


def _unknown_choice(found: re.Match[str]) -> str:
    value, argument, choices = found.groups()
    return str(unknown(argument, value, filter(None, ast.literal_eval(f"({choices},)"))))


_LEFT_OVER = "Unrecognized options: "
"""The words of tyro before the words that it could not use."""
_NEEDED = re.compile(r"Missing from datastill \w+: ")
"""The words of tyro before the help of what a command lacks."""
_NEEDED_HELP = re.compile(r"^(?:(--\S+ [A-Z]+)|[A-Z]+) (\w)")
"""The beginning of this help: an option with its kind of value, or the kind of value of a word without an option."""
_OWN_ERROR = re.compile(r"^Error parsing (?:[a-z][\w.]*|--(?:\S+\.)?(?:start|objective)): ")
"""The words that tyro puts before an error of our records; the error already names the setting."""
_KINDS = {"{None}": "None", "INT": "a whole number", "FLOAT": "a number"}
"""What tyro calls kinds of values, and what they become."""
_PLAINER: dict[re.Pattern[str], Any] = {
    re.compile(r"Error parsing (\S+): no type matching (.+) could be instantiated from \[(.*)\]"): lambda found: (
        f"{found[1]} takes {' or '.join(_KINDS.get(kind, kind) for kind in found[2].split('|'))}, not {found[3]}"
    ),
    re.compile(
        r"Error parsing (\S+): invalid literal for int\(\) with base 10: (.*)"
    ): r"\1 takes a whole number, not \2",
    re.compile(r"Error parsing (\S+): could not convert string to float: (.*)"): r"\1 takes a number, not \2",
    re.compile(r"Missing value for argument '(\S+)'\. Expected 1 values"): r"\1 has no value; write \1 VALUE",
    re.compile(r"Missing value for argument '(\S+)'\. Expected (\d+) values"): r"\1 takes \2 values; write all of them",
    re.compile(rf"Error parsing (--\S+): {EMPTY}"): rf"\1: {EMPTY}; name a file or a folder",
    re.compile(rf"Error parsing .*PATH.*: {EMPTY}"): f"{EMPTY}; name a file or a folder",
    re.compile(rf"Error parsing (\S+): {WITHOUT_VALUES}"): r"\1 has no value; write \1 VALUE, or leave it out",
}
"""Errors of tyro for values of a wrong type or without a value, and what they become."""
_WRONG_CHOICE = re.compile(r"invalid choice '(.*)' for argument '(.*)'\. Expected one of \(([^()]*)\)")
"""The error of tyro for a value that is not one of the names that an option takes."""
