"""Options change only where ``tests/flags.txt`` changes, and the commands on the pages have options that exist."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

import datastill
from datastill.cli import main
from datastill.commands import COMMANDS

from .docs.pages import PAGES, ROOT, ROOT_PAGES, text_of
from .flags import flags, read, sections

LISTED = read()
TEXTS = {page: text_of(page) for page in PAGES} | {
    name: (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", *ROOT_PAGES.values())
}


@pytest.mark.parametrize("section", sections())
def test_the_options_are_those_of_the_list(section: str) -> None:
    assert flags(section) == LISTED[section], "after a change of options: python -m tests.flags"


def test_the_list_has_no_other_command() -> None:
    assert list(LISTED) == sections()


def test_every_command_is_on_the_page_of_the_command_line() -> None:
    rows = re.findall(r"^\| `([a-z]+)` \|", TEXTS["command-line.md"], re.MULTILINE)
    assert set(COMMANDS) == set(rows)


def commands(text: str) -> Iterator[list[str]]:
    """Return the words of each command of datastill on a page, on a line of code or between backquotes."""
    text = text.replace("\\\n", " ")
    for line in re.findall(r"^ *(?:torchrun.* -m )?(datastill \w+.*)$|`(datastill \w+[^`]*)`", text, re.MULTILINE):
        words = shlex.split("".join(line).replace("'", ""), comments=True)[1:]
        if words[0] in COMMANDS and not any(word.startswith("my_methods:") for word in words):
            yield words


def options_of(words: list[str]) -> set[str]:
    """Return the options that a command takes with the method that it names; of any method if it names none."""
    command = f"datastill {words[0]}"
    known = [key for key in LISTED if key == command or key.startswith(f"{command} ")]
    if words[0] == "plan":
        known += [key for key in LISTED if key.startswith("datastill distill --method")]
    if "--method" in words and f"{command} --method {words[words.index('--method') + 1]}" in LISTED:
        known = [command, f"{command} --method {words[words.index('--method') + 1]}"]
    listed = {flag.split()[0] for key in known for flag in LISTED[key]}
    return {"--help", "--method", *listed, *map(positive, listed)}


def positive(name: str) -> str:
    """The option without the word that turns it off."""
    return name.replace("--no-", "--").replace(".no-", ".")


@pytest.mark.parametrize("page", [page for page, text in TEXTS.items() if any(commands(text))])
def test_every_option_in_a_command_on_a_page_exists(page: str) -> None:
    for words in commands(TEXTS[page]):
        given = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert given <= options_of(words), shlex.join(words)


@pytest.mark.parametrize("command", ["import", "baseline random", "distill --method kernel-ridge"])
def test_the_help_of_an_option_that_turns_something_off_says_what_is_the_default(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([*command.split(), "--help"])
    said = capsys.readouterr().out
    assert "mirror)" in said
    assert "True)" not in said


def test_messages_of_the_library_name_settings_of_data_as_python_does() -> None:
    """Such a message is read in Python, too; whole commands are for the command line alone."""
    for path in Path(datastill.__file__).parent.rglob("*.py"):
        text = re.sub(r"datastill pretrain .*", "", path.read_text(encoding="utf-8"))
        assert path.parent.name == "commands" or not re.findall(r"--data\.(?!name|seed)\S+", text), path


OF_OTHERS = {"--method", "--help", "--version", "--tyro-print-completion", "--nproc-per-node", "--upgrade", "--logdir",
             "--protocol", "--chart", "--card"}  # fmt: skip
"""What begins with -- in the code and is in no list: options of every command or of other programs, groups, colours."""


def test_every_option_that_a_message_names_exists() -> None:
    known = {positive(flag.split()[0]) for listed in LISTED.values() for flag in listed} | OF_OTHERS
    for path in Path(datastill.__file__).parent.rglob("*.py"):
        named = re.findall(r"(?<![\w-])--[a-z][a-z0-9.-]*[a-z0-9]", path.read_text(encoding="utf-8"))
        assert set(map(positive, named)) <= known, path
