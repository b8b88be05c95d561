"""Checking the stored settings of a run before it is resumed: a stranger may have sent the file."""

from collections.abc import Sequence
from pathlib import Path

from ..bundled import names
from ..config import Config, differences
from ..errors import UserError, untrusted
from ..evaluation import Protocol
from ..methods import name_of
from ..resuming import first_words, is_sealed_run, stored_config
from ..trust import check_data, check_network, check_start


def resumed(folder: Path, asked: Config, *, trust: bool, words: Sequence[str] = ()) -> Config:
    """Return the settings that are stored in the folder of a run.

    Args:
        folder: the folder of the run.
        asked: the settings on the command line: the recipe, with the changes that the user gave.
        trust: let the stored settings name modules and other files that the command line does not name. Settings
            that this user sealed on this machine (`seal.sealed`) may do so without it.
        words: the words of the command line. What they name must be as it is stored, or as in the command that began
            the run, whose settings may have been fitted to the data.

    Raises:
        UserError: there is no run, the command line asks for other settings, or the stored settings need trust.
    """
    trust = trust or is_sealed_run(folder)
    stored = stored_config(folder, trust=trust, named=name_of(asked.method))
    then, now = _named(first_words(folder)), _named(words)
    named = {name for name, value in now.items() if then.get(name) != value}
    conflicts = [line for line in differences(stored, asked) if line.partition(":")[0] in named]
    if conflicts:
        raise UserError(f"the run in {folder} has other settings ({'; '.join(conflicts)}); resume without them")
    if not trust:
        _must_be_named(stored, asked)
    return stored


def _named(words: Sequence[str]) -> dict[str, list[str]]:
    """Return the settings that the words of a command line name, each with the words of its value."""
    found: dict[str, list[str]] = {}
    name = "recipe"
    for word in words[2:]:
        option, equals, value = word.partition("=")
        if option.startswith("--"):
            name = "method.name" if option == "--method" else option[2:].replace("-", "_")
            found[name] = [value] if equals else []
        else:
            found.setdefault(name, []).append(word)
    return found


def _must_be_named(stored: Config, asked: Config) -> None:
    """Raise a `UserError` if stored settings name something outside the folder that the command line does not name."""
    for theirs, ours in zip(_measured_by(stored), _measured_by(asked), strict=True):
        if theirs.network != ours.network:
            check_network(theirs.network)
        if theirs.start != ours.start:
            check_start(theirs.start)
    if stored.warm_start != asked.warm_start:
        _check_warm_start(stored.warm_start)
    if stored.data.name != asked.data.name and not stored.data.in_memory:
        check_data(stored.data.name, "the run")


def _measured_by(config: Config) -> tuple[Config | Protocol, ...]:
    """Return everything in a configuration that names a network and initial weights."""
    return config, config.validation, config.protocol


def _check_warm_start(name: str) -> None:
    """Raise a `UserError` if the set to go on from is a file."""
    if name and name not in names():
        raise untrusted(f"the distilled set in the file {name!r}", "--warm-start FILE")
