r"""The terminal: every line that a person reads leaves the package here, whatever the names in it hold.

Names come from files and from strangers. So nothing in a text is read as markup, and characters that command a
terminal (escape sequences, other control characters, marks that reverse the direction of writing) are written as
``\x1b``. Terminals differ: characters that one cannot show are written in ASCII.
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
"""All control characters except the tab and the end of a line, and what changes the direction of writing."""
_ASCII = {"±": "+-", "×": "x", "…": "...", "–": "-", "—": "-", "‘": "'", "’": "'", "“": '"', "”": '"', "·": "-"}
CLOSED = 141
"""The exit code when nobody reads the output any more, as in ``datastill list | head -1``."""


def printable(text: object) -> str:
    """The text with everything escaped that commands a terminal; line ends and tabs stay."""
    return _COMMANDS.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), str(text))


def one_line(text: object) -> str:
    """The text as one printable line: line ends become spaces."""
    return printable(" ".join(str(text).splitlines()))


def json_text(value: Any) -> str:
    """The value as JSON for standard output; what commands a terminal is escaped as JSON does it."""
    readable = json.dumps(value, indent=2, ensure_ascii=not _is_unicode(sys.stdout))
    return _COMMANDS.sub(lambda found: f"\\u{ord(found[0]):04x}", readable)


def _is_unicode(stream: Any) -> bool:
    return (getattr(stream, "encoding", None) or "utf-8").lower().startswith("utf")


def complain(message: object) -> None:
    """Write one line about what is wrong to standard error."""
    print(f"datastill: {one_line(message)}", file=sys.stderr, flush=True)


class Terminal(Console):
    """A rich console that takes texts as they are, without markup, and escapes what commands a terminal."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False)
        self.push_render_hook(_Escape())

    def print(self, *objects: Any, soft_wrap: bool | None = None, **options: Any) -> None:
        """Print as rich does, except that texts are never broken into lines: a path stays whole in a pipe."""
        texts = all(isinstance(each, str | Text) for each in objects)
        super().print(*objects, soft_wrap=texts if soft_wrap is None else soft_wrap, **options)

    def on_broken_pipe(self) -> None:
        """Leave it to `in_program`, which ends every command alike."""
        raise BrokenPipeError


class _Escape(RenderHook):
    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_Escaped(each) for each in renderables]


class _Escaped:
    """What a renderable gives, escaped; rich's own commands (colours, moves of the cursor) are no text and stay."""

    def __init__(self, inner: ConsoleRenderable) -> None:
        self.inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for segment in console.render(self.inner, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    """What stands for characters that the terminal's encoding lacks."""
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
    """Run a command as a program: its output fits the terminal, and what the system refuses ends in one line.

    Standard streams and warnings are as before when it returns.

    Returns:
        The exit code of `run`; `CLOSED` when nobody reads the output any more; 2 when the system refuses a file.
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
    """Streams that write what their encoding lacks in ASCII, and that exist even where the shell closed them."""
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
    """Each warning as one line, without the source code that raised it."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        complain(f"warning: {message}")

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def _drop_output() -> None:
    """Give output that cannot be written to nobody, so that Python does not fail on it when it ends."""
    try:
        sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
