r"""Printing on the terminal: every line that a person reads is written by this module.

Names in a line come from files and from strangers. So no text is read as markup, and characters that control a
terminal (escape sequences, other control characters, marks that reverse the direction of writing) are escaped, e.g.
as ``\x1b``. Characters that the terminal's encoding lacks are written in ASCII.
"""

import codecs
import contextlib
import io
import json
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook
from rich.segment import Segment
from rich.text import Text

_COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""All control characters except the tab and the end of a line, and all that change the direction of writing."""
_ASCII = {"±": "+-", "×": "x", "…": "...", "–": "-", "—": "-", "‘": "'", "’": "'", "“": '"', "”": '"', "·": "-"}
WIDEST = 100_000
"""The largest width of a table in a pipe or file, in characters."""
CLOSED = 141
"""The exit code if the program that reads the output has ended, as in ``datastill list | head -1``."""


def printable(text: object) -> str:
    """Return the text with every control character escaped, except line ends and tabs."""
    return _COMMANDS.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), str(text))


def one_line(text: object) -> str:
    """Return the text as one printable line: line ends become spaces."""
    return printable(" ".join(str(text).splitlines()))


def json_text(value: Any) -> str:
    """Return the value as JSON for standard output, with control characters escaped as JSON escapes them."""
    readable = json.dumps(value, indent=2, ensure_ascii=not _is_unicode(sys.stdout))
    return _COMMANDS.sub(lambda found: f"\\u{ord(found[0]):04x}", readable)


def _is_unicode(stream: Any) -> bool:
    return (getattr(stream, "encoding", None) or "utf-8").lower().startswith("utf")


def complain(message: object) -> None:
    """Write one line about what is wrong to standard error."""
    print(f"datastill: {one_line(message)}", file=sys.stderr, flush=True)


class Terminal(Console):
    """A rich console that prints texts as they are, without markup, and escapes control characters."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False)
        self.push_render_hook(_Escape())

    def print(self, *objects: Any, soft_wrap: bool | None = None, **options: Any) -> None:
        """Print as rich does, except that texts are never broken into lines, nor tables if there is no terminal.

        So a path, or the row of a table, is one line in a pipe.
        """
        if all(isinstance(each, str | Text) for each in objects):
            super().print(*objects, soft_wrap=True if soft_wrap is None else soft_wrap, **options)
        elif self.is_terminal:
            super().print(*objects, soft_wrap=soft_wrap, **options)
        else:
            super().print(*(_Whole(each) for each in objects), crop=False, soft_wrap=soft_wrap, **options)

    def on_broken_pipe(self) -> None:
        """Raise `BrokenPipeError`, which `in_program` handles in one way for every command."""
        raise BrokenPipeError


class _Whole:
    """A renderable, such as a table, that is as wide as it needs to be."""

    def __init__(self, inner: ConsoleRenderable) -> None:
        self.inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        yield from console.render(self.inner, options.update(width=WIDEST))


class _Escape(RenderHook):
    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_Escaped(each) for each in renderables]


class _Escaped:
    """A renderable whose text is escaped; rich's own commands (colours, moves of the cursor) are kept."""

    def __init__(self, inner: ConsoleRenderable) -> None:
        self.inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for segment in console.render(self.inner, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    """Return ASCII for the characters that the terminal's encoding lacks, and the position after them."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    wanted = error.object[error.start : error.end]
    return "".join(_in_ascii_alone(each) for each in wanted), error.end


def _in_ascii_alone(character: str) -> str:
    if character in _ASCII:
        return _ASCII[character]
    return " " if character.isspace() else character.encode("ascii", "backslashreplace").decode()


codecs.register_error("datastill.ascii", _in_ascii)


def in_program(run: Callable[[], int]) -> int:
    """Run a command as a program: its output fits the terminal, and an error of the system is printed as one line.

    Standard streams and warnings are restored before it returns.

    Returns:
        The exit code of `run`; `CLOSED` if the program that reads the output has ended; 2 if a file cannot be read or
        written.
    """
    with _every_encoding(), _short_warnings():
        try:
            try:
                return run()
            finally:
                sys.stdout.flush()
        except BrokenPipeError:
            _drop_output()
            return CLOSED
        except OSError as error:
            _drop_output()
            complain(f"error: {error.filename or 'the output cannot be written'}: {error.strerror or error}")
            return 2


@contextlib.contextmanager
def _every_encoding() -> Iterator[None]:
    """Let standard streams write ASCII for what their encoding lacks; open them if the shell closed them."""
    with contextlib.ExitStack() as later:
        for name in ("stdout", "stderr"):
            stream: Any = getattr(sys, name)
            if stream is None:
                stream = later.enter_context(open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123
                setattr(sys, name, stream)
                later.callback(setattr, sys, name, None)
            elif isinstance(stream, io.TextIOWrapper):
                later.callback(stream.reconfigure, errors=stream.errors)
                stream.reconfigure(errors="datastill.ascii")
        yield


@contextlib.contextmanager
def _short_warnings() -> Iterator[None]:
    """Print each warning as one line, without the source code that raised it."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        complain(f"warning: {message}")

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def _drop_output() -> None:
    """Discard output that cannot be written, so that Python does not fail on it when it ends."""
    try:
        sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
