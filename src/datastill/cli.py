"""The command line. Results go to standard output, everything else to standard error.

Exit codes: 0 done; 1 a claim does not hold (``verify``); 2 wrong input, or another process is gone; 130 or 143 stopped
by a signal and resumable.
"""

import contextlib
import inspect
import io
import itertools
import shlex
import sys
from collections.abc import Sequence
from typing import Any

import tyro

from . import __version__, distributed
from .commands import COMMANDS, Distill, Plan, first_line, out
from .errors import UserError, unknown
from .loop import Stopped
from .recipes import recipe


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    sys.path.insert(0, "")  # so that module:callable finds a module in the current folder, as python -m does
    try:
        with distributed.joined():
            return _run(words)
    except UserError as error:  # the other processes cannot be reached
        return _told(error)


SHARED = ("distill", "evaluate", "pretrain")
"""The commands that several processes can share."""


def _run(words: list[str]) -> int:
    first = distributed.rank() == 0
    try:
        with contextlib.nullcontext() if first else contextlib.redirect_stdout(io.StringIO()):
            return distributed.agreed(lambda: _parse(words)).run()
    except distributed.SharedError as error:
        return _told(error) if first else 2
    except UserError as error:
        return _told(error)
    except KeyboardInterrupt:
        kept = (
            "the same command goes on where it was" if _goes_on(words) else "a run that had begun goes on with --resume"
        )
        print(f"\ndatastill: stopped; {kept}", file=sys.stderr)
        return 130
    except Stopped as stopped:
        again = words if _goes_on(words) else ["distill", "--resume", "--out", str(stopped.folder)]
        if first:
            print(f"\ndatastill: {stopped}; go on with: {shlex.join(['datastill', *again])}", file=sys.stderr)
        return 128 + stopped.signum


def _told(error: UserError) -> int:
    alone = distributed.ranks() == 1 or isinstance(error, distributed.SharedError)
    rank = "" if alone else f"rank {distributed.rank()}: "
    print(f"datastill: error: {rank}{error}", file=sys.stderr)
    return 2


def _goes_on(words: list[str]) -> bool:
    """Whether the command keeps its parts and knows by itself where it was."""
    return words[:1] in (["study"], ["pretrain"], ["baseline"])


def _parse(words: list[str]) -> Any:
    if not words or words[0] in ("-h", "--help"):
        raise SystemExit(_overview())
    if words[0] == "--version":
        raise SystemExit(_version())
    name, rest = words[0], words[1:]
    if name not in COMMANDS:
        raise unknown("command", name, COMMANDS)
    if distributed.ranks() > 1 and name not in SHARED:
        raise UserError(
            f"{name} works in one process; start it without torchrun ({', '.join(SHARED)} share their work)"
        )
    if name not in ("distill", "plan"):
        return _options(COMMANDS[name], rest, f"datastill {name}")
    chosen = "digits"
    if rest and not rest[0].startswith("-"):
        chosen, rest = rest[0], rest[1:]
    command = shlex.join(["datastill", *words])
    default = Distill(config=recipe(chosen), command=command) if name == "distill" else Plan(config=recipe(chosen))
    return _options(COMMANDS[name], rest, f"datastill {name} [RECIPE={chosen}]", default=default)


def _options(command: type[Any], words: list[str], prog: str, **default: Any) -> Any:
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            # The description is given whole, since tyro alone drops the examples.
            pairs = (tyro.conf.FlagCreatePairsOff,)
            return tyro.cli(
                command, args=words, prog=prog, description=inspect.getdoc(command), config=pairs, **default
            )
    except SystemExit as stop:
        if stop.code != 2:
            raise
        raise UserError(f"{_one_line(said.getvalue())}; see datastill {_name(command)} --help") from None


def _one_line(frame: str) -> str:
    """The first part of a framed message below its title, and the nearest option where it suggests one."""
    lines = [line.strip(" │╭╮╰╯") for line in frame.splitlines()[1:]]
    parts = [list(part) for rule, part in itertools.groupby(lines, lambda line: not line.strip("─-")) if not rule]
    near = [f"(did you mean {part[1].split()[0]}?)" for part in parts if part[0] == "Perhaps you meant:"]
    return " ".join(parts[0] + near).removesuffix(".")


def _name(command: type[Any]) -> str:
    return next(name for name, known in COMMANDS.items() if known is command)


def _overview() -> int:
    out.print(
        "[bold]datastill[/bold]: learn a handful of synthetic examples that train a network nearly as well as all\n"
    )
    for name, command in COMMANDS.items():
        out.print(f"  {name:<10}{first_line(command)}", highlight=False, soft_wrap=True)
    out.print("\nStart with [bold]datastill distill[/bold]; each command teaches with --help.")
    return 0


def _version() -> int:
    out.print(f"datastill {__version__}", highlight=False)
    return 0
