"""What reaches a terminal: whole lines for people, whatever the terminal is and whatever names hold."""

import io
import json
import os
import pty
import re
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

import datastill
from datastill import cli
from datastill.cli import main
from datastill.commands.evaluating import _as_table
from datastill.commands.output import out
from datastill.errors import UserError
from datastill.evaluation import Difference, Row, Score
from datastill.report import summary
from datastill.terminal import json_text, one_line, printable

HOSTILE = "\x1b]0;title\x07\x1b[31mred\r\x9b2J\u202egnp\u2028.safetensors"
MARKUP = "run[/x][bold]:smile:"


def test_everything_that_commands_a_terminal_is_escaped_and_nothing_else_is() -> None:
    assert printable("a\x1b[31mb\x9bc\x7f\u202ed\ud800") == r"a\x1b[31mb\x9bc\x7f\u202ed\ud800"
    assert printable("lines\nand\ttabs, ± × é 数字 \U0001f600") == "lines\nand\ttabs, ± × é 数字 \U0001f600"
    assert one_line("two\nlines\r\nand more") == "two lines and more"


def test_text_is_taken_as_it_is_and_never_broken(capsys: pytest.CaptureFixture[str]) -> None:
    text = f"wrote {MARKUP} " + "x" * 200
    out.print(text)
    assert capsys.readouterr().out == text + "\n"


NAME = "a-set-with-a-long-name-" * 4
CELLS = (
    NAME,
    "65.0 ± 12.9",
    "+37.5 [+5.7, +69.3]",
    "123 kB",
    "hard labels, %",
    "sd between sets",
    "first better by",
)


def comparison() -> Table:
    """The table of two sets that `evaluate` prints."""
    scores = [
        Score(
            split="test", images=10, mean=0.65, sd=0.1, n=2, accuracies=accuracies, seconds=0.0, hardware="",
            protocol={"network": "mlp", "start": {"kind": "random", "initialiser": "xavier"}, "seed": 0},
        )
        for accuracies in ([0.5, 0.6], [0.7, 0.8])
    ]  # fmt: skip
    behind = Difference(mean=0.375, low=0.057, high=0.693, n=2, paired=True, confidence=0.95)
    about = {
        "method": "",
        "pixels": "plain",
        "examples": 10,
        "bytes": 123_456,
        "network": "mlp",
        "sets": 2,
        "scores": scores,
    }
    about["pixels"] = "plain"
    first = Row(name=NAME, labels="hard", difference=None, **about)
    return _as_table("mlp", [first, Row(name="b", labels="soft", difference=behind, **about)])


def test_a_table_is_whole_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    out.print(comparison())
    printed = capsys.readouterr().out
    assert "…" not in printed
    for cell in CELLS:
        assert cell in printed
    assert len([line for line in printed.splitlines() if "123 kB" in line]) == 2  # a row is one line


@pytest.mark.parametrize("width", [40, 60, 80, 100])
def test_a_table_is_wrapped_and_never_cut_on_a_narrow_terminal(width: int) -> None:
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=True, color_system=None)
    console.print(comparison())
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    shown = Counter(file.getvalue())
    for cell in CELLS:
        assert not Counter("".join(cell.split())) - shown, cell
    assert shown["…"] == 0


def test_the_summary_of_a_set_is_whole_in_a_pipe_and_wrapped_on_a_narrow_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = datastill.load("mnist-10")
    found = replace(found, header=replace(found.header, provenance={"data_sha256": {"test": "ab" * 32}}))
    found.save(tmp_path / "set.safetensors")
    assert main(["show", str(tmp_path / "set.safetensors")]) == 0
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert f"test data        SHA-256 {'ab' * 32}" in lines
    file = io.StringIO()
    Console(file=file, width=40, force_terminal=True, color_system=None).print(summary(found))
    assert file.getvalue().count("ab") >= 30
    assert "…" not in file.getvalue()


def test_cells_of_tables_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("name", title=HOSTILE)
    table.add_row(HOSTILE)
    out.print(table)
    assert not set(capsys.readouterr().out) & set("\x1b\x07\x9b\r\u202e\u2028")


def test_json_stays_json_and_commands_nothing() -> None:
    text = json_text({"name": HOSTILE + "\ud800\x7f"})
    assert json.loads(text) == {"name": HOSTILE + "\ud800\x7f"}
    assert printable(text) == text


@pytest.fixture
def hostile_set(tmp_path: Path) -> Path:
    """A set as a stranger could write it, were it not for the checks on loading."""
    distilled = datastill.load("mnist-10")
    file = tmp_path / f"{MARKUP}.safetensors"
    replace(distilled, header=replace(distilled.header, data=MARKUP, method=MARKUP)).save(file)
    return file


def test_names_are_no_markup(hostile_set: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(hostile_set), "--to", str(hostile_set.parent / "[/red].png")]) == 0
    said = capsys.readouterr().out
    assert MARKUP in said
    assert "[/red].png" in said


def test_a_name_with_escape_sequences_is_told_in_one_printable_line(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["show", HOSTILE], ["report", HOSTILE], ["distill", HOSTILE], [HOSTILE], ["distill", "--" + HOSTILE]):
        assert main(words) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1, words
        assert printable(said) == said


def test_a_warning_is_one_line_without_source_code(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = warnings.showwarning
    monkeypatch.setattr(cli, "_run", lambda _: warnings.warn("look\nout", UserWarning, stacklevel=1) or 0)
    assert main(["list"]) == 0
    assert capsys.readouterr().err == "datastill: warning: look out\n"
    assert warnings.showwarning is before


def test_what_the_system_refuses_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: Sequence[str]) -> int:
        raise PermissionError(13, "Permission denied", "closed/folder")

    monkeypatch.setattr(cli, "_run", refused)
    assert main(["list"]) == 2
    assert capsys.readouterr().err == "datastill: error: closed/folder: Permission denied\n"


def test_a_left_over_world_size_starts_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for left in ({"WORLD_SIZE": "4"}, {"WORLD_SIZE": "4", "RANK": "1", "MASTER_ADDR": "there", "MASTER_PORT": "1"}):
        for name, value in left.items():
            monkeypatch.setenv(name, value)
        assert main(["list", "baselines"]) == 0
    monkeypatch.delenv("RANK")
    assert main(["distill", "nosuch"]) == 2
    assert "unknown recipe" in capsys.readouterr().err


ON_A_TERMINAL = """
import sys
from datastill.cli import main

for words in (
    ["distill", "--data.resize", "abc"],
    ["distill", "--netwrok", "lenet"],
    ["plan", "--method.engine.mode", "a-mode-that-is-longer-than-the-terminal-is-wide-" + 40 * "x"],
    ["export", "set.safetensors"],
    ["list", "baselines"],
):
    print("exit code", main(words), file=sys.stderr)
"""
LONG = "a-mode-that-is-longer-than-the-terminal-is-wide-" + 40 * "x"
READ = "from datastill.cli import main; import sys; sys.exit(main(sys.argv[1:]))"


def test_errors_on_a_terminal_are_single_clear_lines() -> None:
    said = _on_a_terminal(ON_A_TERMINAL)
    errors = [line for line in said if line.startswith("datastill: ")]
    for line, wanted in zip(
        errors,
        (
            "--data.resize takes None or a whole number, not 'abc'; see datastill distill --help",
            "unknown option --netwrok (did you mean --network?); see datastill distill --help",
            f"unknown --method.engine.mode '{LONG}': known: auto, recomputed, stored; ",
            "datastill export needs --to PATH",
        ),
        strict=True,
    ):
        assert line.startswith(f"datastill: error: {wanted}")
        assert re.search("; see datastill [a-z]+ --help$", line)
    assert [line for line in said if line.startswith("exit code")] == ["exit code 2"] * 4 + ["exit code 0"]
    assert any("herding" in line for line in said)
    assert not any(sign in line for line in said for sign in "│╭╮╰╯")


def _on_a_terminal(script: str) -> list[str]:
    """What a Python script writes to a pseudo-terminal of 80 columns, as lines."""
    master, slave = pty.openpty()
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "80"}
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=slave, stdout=slave, stderr=slave, env=environment, close_fds=True
    )
    os.close(slave)
    said = b""
    while part := _read(master):
        said += part
    process.wait()
    os.close(master)
    return said.decode().replace("\r\n", "\n").splitlines()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # the other end is closed
        return b""


def test_a_reader_that_leaves_and_a_terminal_of_ascii() -> None:
    """One process whose reader leaves at once, and one whose terminal knows ASCII alone."""
    reading, writing = os.pipe()
    os.close(reading)
    left = subprocess.run([sys.executable, "-c", READ, "--help"], stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (left.returncode, left.stderr) == (141, "")
    ascii_only = os.environ | {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    plain = subprocess.run([sys.executable, "-c", READ, "show", "mnist-10"], capture_output=True, env=ascii_only)
    assert plain.stderr == b""
    assert "+- 2.2 % (200 networks, 10 000 test images)" in plain.stdout.decode("ascii")


def test_output_that_cannot_be_written_is_one_line() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    with Path("/dev/full").open("w") as full:
        process = subprocess.run([sys.executable, "-c", READ], stdout=full, stderr=subprocess.PIPE, text=True)
    assert process.returncode == 2
    assert process.stderr == "datastill: error: the output cannot be written: No space left on device\n"


def test_user_errors_of_any_length_are_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: Sequence[str]) -> int:
        raise UserError("first\nsecond")

    monkeypatch.setattr(cli, "_parse", refused)
    assert main(["list"]) == 2
    assert capsys.readouterr().err == "datastill: error: first second\n"
