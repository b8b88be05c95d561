"""The command line. Results go to standard output, everything else to standard error.

Exit codes: 0 done; 1 a claim does not hold (``verify``); 2 wrong input, a file that the system refuses, or another
process is gone; 130 or 143 stopped by a signal and resumable; 141 nobody reads the output any more.
"""

import contextlib
import inspect
import io
import itertools
import os
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import tyro
from rich.text import Text

from . import __version__, distributed
from .commands import COMMANDS, Distill, Plan, configuration, first_line, out
from .errors import UserError, unknown
from .loop import Stopped
from .signals import signal_of, terminable
from .terminal import complain, in_program

SHARED = ("distill", "evaluate", "pretrain")
"""The commands that several processes can share."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    return in_program(lambda: _start(words))


def _start(words: list[str]) -> int:
    try:
        _check_alone(words)
        # torchrun sends SIGTERM to the processes that are left when one is gone: they end as they know best
        with contextlib.nullcontext() if distributed.started_by_torchrun() else terminable(), _joined(words):
            return _run(words)
    except UserError as error:  # the other processes cannot be reached
        return _complain(error)


def _joined(words: list[str]) -> contextlib.AbstractContextManager[None]:
    return distributed.process_group() if words[:1] and words[0] in SHARED else contextlib.nullcontext()


def _check_alone(words: list[str]) -> None:
    """Raise a `UserError` where torchrun started several processes for a command that works in one."""
    if distributed.started_by_torchrun() and words[:1] and words[0] in COMMANDS.keys() - set(SHARED):
        raise UserError(
            f"{words[0]} works in one process; start it without torchrun ({', '.join(SHARED)} share their work)"
        )


def _run(words: list[str]) -> int:
    first = distributed.rank() == 0
    try:
        with contextlib.nullcontext() if first else contextlib.redirect_stdout(io.StringIO()):
            return distributed.on_every_rank(lambda: _parse(words)).run()
    except distributed.SharedError as error:
        return _complain(error) if first else 2
    except UserError as error:
        return _complain(error)
    except KeyboardInterrupt as stop:
        kept = (
            "the same command goes on where it was" if _goes_on(words) else "a run that had begun goes on with --resume"
        )
        print(file=sys.stderr)  # below ^C and below a progress bar
        complain(f"stopped; {kept}")
        return 128 + signal_of(stop)
    except Stopped as stopped:
        again = words if _goes_on(words) else _resuming(words)
        if first:
            print(file=sys.stderr)
            complain(f"{stopped}; go on with: {shlex.join(['datastill', *again])}")
        return 128 + stopped.signum


def _complain(error: UserError) -> int:
    alone = distributed.ranks() == 1 or isinstance(error, distributed.SharedError)
    rank = "" if alone else f"rank {distributed.rank()}: "
    complain(f"error: {rank}{error}")
    return 2


def _goes_on(words: list[str]) -> bool:
    """Whether the command keeps its parts and knows by itself where it was."""
    return words[:1] in (["study"], ["pretrain"], ["baseline"])


def _resuming(words: list[str]) -> list[str]:
    """The command that goes on with a run: the one that began it, so that it names what the run reads."""
    return words if "--resume" in words else [*words, "--resume"]


def _parse(words: list[str]) -> Any:
    if not words or words[0] in ("-h", "--help"):
        raise SystemExit(_overview())
    if words[0] == "--version":
        raise SystemExit(_version())
    name, rest = words[0], words[1:]
    if name not in COMMANDS:
        raise unknown("command", name, COMMANDS)
    if name not in ("distill", "plan"):
        return _options(COMMANDS[name], rest, f"datastill {name}")
    config, rest = configuration(rest)
    command = shlex.join(["datastill", *words])
    default = Distill(config=config, command=command) if name == "distill" else Plan(config=config)
    return _options(COMMANDS[name], rest, f"datastill {name} [RECIPE={config.recipe}]", default=default)


def _options(command: type[Any], words: list[str], prog: str, **default: Any) -> Any:
    refused = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    wanted = any(word in ("-h", "--help") for word in words)
    try:
        with contextlib.redirect_stderr(refused), contextlib.nullcontext() if wanted else _unframed():
            # The description is given whole, since tyro alone drops the examples.
            pairs = (tyro.conf.FlagCreatePairsOff,)
            return tyro.cli(
                command, args=words, prog=prog, description=inspect.getdoc(command), config=pairs, **default
            )
    except SystemExit as stop:
        if stop.code != 2:
            raise
        refused.seek(0)
        raise UserError(f"{_one_line(refused.read())}; see datastill {_name(command)} --help") from None


@contextlib.contextmanager
def _unframed() -> Iterator[None]:
    """Let tyro write its errors without colours and without breaking lines, as if there were no terminal."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "10000"
    try:
        with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO(), encoding="utf-8")):
            yield
    finally:
        del os.environ["COLUMNS"]
        if before is not None:
            os.environ["COLUMNS"] = before


def _one_line(frame: str) -> str:
    """The first part of a framed message below its title, and the nearest option where it suggests one."""
    plain = re.sub(r"\x1b\[[\d;]*m", "", frame)  # colours
    lines = [line.strip(" │╭╮╰╯") for line in plain.splitlines()[1:]]
    parts = [list(part) for rule, part in itertools.groupby(lines, lambda line: not line.strip("─-")) if not rule]
    near = [f"(did you mean {part[1].split()[0]}?)" for part in parts if part[0] == "Perhaps you meant:"]
    said = " ".join(parts[0] + near).removesuffix(".")
    return _OWN_ERROR.sub("", _WRONG_TYPE.sub(r"\1 takes \2, not \3", said))


_OWN_ERROR = re.compile(r"^Error parsing [a-z][\w.]*: ")
"""How tyro introduces an error of our records, which names the setting itself."""
_WRONG_TYPE = re.compile(r"Error parsing (\S+): no type matching (.+) could be instantiated from \[(.*)\]")
"""How tyro refuses a value of an option that takes one of several types."""


def _name(command: type[Any]) -> str:
    return next(name for name, known in COMMANDS.items() if known is command)


def _overview() -> int:
    about = ": learn a handful of synthetic examples that train a network nearly as well as all\n"
    out.print(Text.assemble(("datastill", "bold"), about))
    for name, command in COMMANDS.items():
        out.print(f"  {name:<10}{first_line(command)}")
    out.print(Text.assemble("\nStart with ", ("datastill distill", "bold"), "; each command teaches with --help."))
    return 0


def _version() -> int:
    out.print(f"datastill {__version__}")
    return 0
