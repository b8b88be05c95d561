"""The command line. Results go to standard output, everything else to standard error.

Exit codes: 0 done; 1 a claim does not hold (``verify``); 2 wrong input, a file that cannot be read or written, or
another process has ended; 130 or 143 stopped by a signal, and can be resumed; 141 the reader of the output has ended.
"""

import contextlib
import inspect
import io
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import tyro
from rich.text import Text
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from . import __version__, distributed
from .commands import COMMANDS, Distill, Plan, all_commands, configuration, first_line, out, selection
from .commands.refusals import EMPTY, WITHOUT_VALUES, one_line
from .errors import UserError, unknown
from .heap import keep_freed_memory
from .loop import Stopped
from .networks.start import Start, parse_start
from .objectives import Objective, parse_objective
from .signals import signal_of, terminable
from .terminal import complain, in_program

PARALLEL_COMMANDS = ("distill", "evaluate", "pretrain")
"""The commands whose work several processes can share."""
COMPLETION = "--tyro-print-completion"
"""The option that prints a script for one of `SHELLS`."""
SHELLS = ("bash", "zsh")
PAIRS_OFF = tyro.conf.FlagCreatePairsOff
"""An option that is on or off has one name."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        arguments: the words after ``datastill``; None for the words of this process's command line.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if arguments is None:  # the process is ours
        keep_freed_memory()
    return in_program(lambda: _begin(words))


def _begin(words: list[str]) -> int:
    try:
        _check_alone(words)
        # When one process has ended, torchrun sends SIGTERM to the others; `stop_signals` lets them save their state
        with contextlib.nullcontext() if distributed.started_by_torchrun() else terminable(), _joined(words):
            return _run(words)
    except UserError as error:  # the other processes cannot be reached
        return _complain(error)
    except KeyboardInterrupt as stop:
        return _interrupted(words, stop)


def _joined(words: list[str]) -> contextlib.AbstractContextManager[None]:
    return distributed.process_group() if words[:1] and words[0] in PARALLEL_COMMANDS else contextlib.nullcontext()


def _check_alone(words: list[str]) -> None:
    """Raise a `UserError` if torchrun started several processes for a command that works in only one."""
    if distributed.started_by_torchrun() and words[:1] and words[0] in COMMANDS.keys() - set(PARALLEL_COMMANDS):
        parallel = ", ".join(PARALLEL_COMMANDS)
        raise UserError(
            f"{words[0]} works in one process; start it without torchrun (only {parallel} can use several processes)"
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
    except Stopped as stopped:
        again = words if _goes_on(words) else _resuming(words)
        if first:
            print(file=sys.stderr)
            complain(f"{stopped}; go on with: {shlex.join(['datastill', *again])}")
        return 128 + stopped.signum


def _interrupted(words: list[str], stop: KeyboardInterrupt) -> int:
    kept = "; run the same command again to continue" if _goes_on(words) else ""
    if words[:1] == ["distill"]:
        kept = "; a run that had begun can be resumed with --resume"
    if words[:1] == ["watch"]:
        kept = "; the run goes on"
    print(file=sys.stderr)  # below ^C and below a progress bar
    complain(f"stopped{kept}")
    return 128 + signal_of(stop)


def _complain(error: UserError) -> int:
    alone = distributed.ranks() == 1 or isinstance(error, distributed.SharedError)
    rank = "" if alone else f"rank {distributed.rank()}: "
    complain(f"error: {rank}{error}")
    return 2


def _goes_on(words: list[str]) -> bool:
    """Whether the command keeps finished parts and continues with the others when it is run again."""
    return words[:1] in (["study"], ["pretrain"], ["baseline"])


def _resuming(words: list[str]) -> list[str]:
    """Return the words of the command that resumes a run: they also name every file and module that the run reads."""
    return words if "--resume" in words else [*words, "--resume"]


def _parse(words: list[str]) -> Any:
    if not words or words[0] in ("-h", "--help"):
        raise SystemExit(_overview())
    if words[0] == "--version":
        raise SystemExit(_version())
    if words[0] == COMPLETION:
        raise SystemExit(_completion(words[1:]))
    name, rest = words[0], words[1:]
    if name not in COMMANDS:
        raise unknown("command", name, COMMANDS)
    if name == "baseline":
        default, rest = selection(rest)
        return _options(COMMANDS[name], rest, f"datastill baseline {default.method.name}", default=default)
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
        with contextlib.redirect_stderr(refused), contextlib.nullcontext() if wanted else _unframed(), SPELLED:
            # The description is given as a whole, since tyro alone would drop the examples.
            about = inspect.getdoc(command)
            return tyro.cli(command, args=words, prog=prog, description=about, config=(PAIRS_OFF,), **default)
    except SystemExit as stop:
        if stop.code != 2:
            raise
        refused.seek(0)
        started = prog.partition(" [")[0]
        raise UserError(f"{one_line(refused.read(), started)}; see {started} --help") from None


def _completion(words: list[str]) -> int:
    """Print the script by which a shell completes commands and options: tyro's, for all commands as one."""
    if len(words) != 1 or words[0] not in SHELLS:
        raise UserError(f"name the shell after {COMPLETION}: {' or '.join(SHELLS)}")
    with SPELLED:
        return tyro.cli(all_commands(), args=[COMPLETION, *words], prog="datastill", config=(PAIRS_OFF,))


SPELLED = ConstructorRegistry()
"""How an option takes a start or an objective: by its spelling; a path: not by an empty name; a list: at least one
value, if it is given."""


@SPELLED.primitive_rule
def _spelled_option(option: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    if option.type in (Start, Start | None):
        return _option_of(Start, parse_start, needed=option.type is Start)
    return _option_of(Objective, parse_objective, needed=True) if option.type is Objective else None


def _option_of(kind: type, parse: Callable[[str], Any], *, needed: bool) -> PrimitiveConstructorSpec[Any]:
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=kind.__name__.upper(),
        instance_from_str=lambda words: parse(words[0]) if words[0] or needed else None,
        is_instance=lambda value: isinstance(value, kind) or (value is None and not needed),
        str_from_instance=lambda value: [str(value or "")],
    )


@SPELLED.primitive_rule
def _path_option(option: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    if option.type == tuple[Path, ...]:
        return PrimitiveConstructorSpec(
            nargs="*",
            metavar="[PATH [PATH ...]]",
            instance_from_str=lambda words: tuple(map(_path, words)),
            is_instance=lambda value: isinstance(value, tuple),
            str_from_instance=lambda value: list(map(str, value)),
        )
    if option.type not in (Path, Path | None):
        return None
    needed = option.type is Path
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="PATH" if needed else "{None}|PATH",
        instance_from_str=lambda words: _path(words[0]) if needed or words[0] != "None" else None,
        is_instance=lambda value: isinstance(value, Path) or (value is None and not needed),
        str_from_instance=lambda value: [str(value)],
    )


def _path(word: str) -> Path:
    """Return the path with a name; an empty one would mean the current folder."""
    if not word:
        raise ValueError(EMPTY)
    return Path(word)


@SPELLED.primitive_rule
def _list_option(option: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    kind, *others = get_args(option.type) if get_origin(option.type) is tuple else (None,)
    names = get_args(kind) if get_origin(kind) is Literal else ()
    made = str if names else kind
    if made not in (str, int, float):
        return None
    word = f"{{{','.join(names)}}}" if names else made.__name__.upper()
    fixed = None if others == [...] else 1 + len(others)
    return PrimitiveConstructorSpec(
        nargs=fixed or "*",
        metavar=" ".join([word] * fixed) if fixed else f"[{word} [{'' if names else f'{word} '}...]]",
        instance_from_str=lambda words: _some(words, made),
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda values: list(map(str, values)),
        choices=names or None,
    )


def _some(words: list[str], kind: Callable[[str], Any]) -> tuple[Any, ...]:
    """Return the values of an option; none at all are a slip of who typed the command."""
    if not words:
        raise ValueError(WITHOUT_VALUES)
    return tuple(map(kind, words))


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


def _overview() -> int:
    about = ": learn a few synthetic examples that train a network nearly as well as a whole dataset\n"
    out.print(Text.assemble(("datastill", "bold"), about))
    for name, command in COMMANDS.items():
        out.print(f"  {name:<10}{first_line(command)}")
    out.print(
        Text.assemble(
            "\nStart with ", ("datastill distill", "bold"), "; each command has examples and options: COMMAND --help."
        )
    )
    return 0


def _version() -> int:
    out.print(f"datastill {__version__}")
    return 0
