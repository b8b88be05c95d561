"""What a run says."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import datastill.storage.files
from datastill.errors import UserError
from datastill.runlog import JsonLines, ProgressLine, console, read_lines, say, silent, warn

RECORDS = [{"iteration": i, "objective": i / 2} for i in range(1, 6)] + [{"iteration": 5, "validation": {"mean": 0.5}}]


def written(path: Path, records: list[dict], resume: bool = False) -> None:
    log = JsonLines(path, resume=resume)
    for record in records:
        log.write(**record)
    log.close()


def test_a_resumed_log_keeps_every_record_and_has_none_twice(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    written(path, RECORDS)
    before = path.stat()
    written(path, [*RECORDS[3:], {"iteration": 6}], resume=True)
    assert read_lines(path) == [*RECORDS, {"iteration": 6}]
    assert path.stat().st_ino == before.st_ino, "appended to, not written again"


@pytest.mark.parametrize(
    "rubbish", [b'{"iteration": 6, "objec', b"\0\0\0\n", b"\xff\n", b"3\n", b"[" * 100_000 + b"\n"]
)
def test_a_resumed_log_loses_nothing_but_what_is_no_record(tmp_path: Path, rubbish: bytes) -> None:
    path = tmp_path / "metrics.jsonl"
    written(path, RECORDS)
    with path.open("ab") as file:
        file.write(rubbish)
    written(path, [{"iteration": 6, "objective": 3.0}], resume=True)
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        *RECORDS,
        {"iteration": 6, "objective": 3.0},
    ]


def test_records_that_a_resumed_log_has_lost_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "metrics.jsonl"
    written(path, RECORDS)
    for lines, said in (
        (slice(None), ""),
        (slice(2, None), "lacks the records of 2 of 3 iterations"),
        (slice(0), "3 of 3"),
    ):
        path.write_text("".join(path.read_text().splitlines(keepends=True)[lines]))
        JsonLines(path, resume=True, iterations=3).close()
        err = " ".join(capsys.readouterr().err.split())
        assert said in err if said else not err


@pytest.mark.parametrize("step", ["fsync", "open"])
def test_a_kill_while_a_log_is_opened_again_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "metrics.jsonl"
    written(path, RECORDS)
    with path.open("a") as file:
        file.write('{"iteration": 6, "objec')
    monkeypatch.setattr(datastill.storage.files.os, step, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        JsonLines(path, resume=True)
    assert read_lines(path) == RECORDS


def test_a_full_disk_is_told_in_one_line_and_the_log_can_be_closed(tmp_path: Path) -> None:
    log = JsonLines(Path("/dev/full")) if Path("/dev/full").exists() else pytest.skip("no /dev/full here")
    with pytest.raises(UserError, match="cannot write /dev/full: No space left on device; resume when there is room"):
        log.write(iteration=1)
    log.close()


def test_a_new_log_starts_empty(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"iteration": 1}\n')
    JsonLines(path).close()
    assert read_lines(path) == []
    assert read_lines(tmp_path / "none") == []


def test_progress_says_rate_and_time_left(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ProgressLine, "INTERVAL", 0.0)
    with ProgressLine("distil", total=10, done=4) as line:
        line.update(5, "objective 0.5")
        line.update(10)
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("distil: iteration 5/10")
    assert "objective 0.5" in said[0]
    assert said[0].endswith("s left")
    assert ", 0 s left" in said[1]


def test_quiet_progress_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressLine("evaluate", total=1, quiet=True) as line:
        line.update(1)
    assert capsys.readouterr().err == ""


def test_a_follower_gets_each_record_once_after_it_is_written(tmp_path: Path) -> None:
    path, seen = tmp_path / "metrics.jsonl", []
    for records in (RECORDS[:3], RECORDS):
        log = JsonLines(path, resume=bool(seen), follower=lambda record: seen.append((record, len(read_lines(path)))))
        for record in records:
            log.write(**record)
        log.close()
    assert [record for record, _ in seen] == RECORDS
    assert [lines for _, lines in seen] == list(range(1, len(RECORDS) + 1))


def test_nothing_is_printed_in_silence(capsys: pytest.CaptureFixture) -> None:
    with silent(), ProgressLine("work", total=2) as line:
        line.update(2)
        say("a message")
    assert capsys.readouterr() == ("", "")
    with ProgressLine("work", total=2) as line:
        line.update(2)
    assert capsys.readouterr().err.startswith("work: iteration 2/2")


def test_progress_is_one_line_in_a_notebook(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "is_jupyter", True)
    monkeypatch.setattr(ProgressLine, "IN_NOTEBOOK", 0.0)
    with ProgressLine("work", total=3) as line:
        for done in (1, 2, 3):
            line.update(done, f"note {done}")
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert out.endswith("\n")
    shown = out.strip().split("\r")
    assert [each.partition("/")[0] for each in shown if each] == [f"work: iteration {done}" for done in (1, 2, 3)]


def test_a_warning_names_the_line_of_the_caller(recwarn: pytest.WarningsRecorder) -> None:
    """Not one of this package, whose decorators are functions of contextlib."""
    called = {"__name__": "datastill.somewhere", "warn": warn, "decorated": contextmanager(_nothing)()}
    exec("@decorated\ndef call(): warn('look')\n", called)
    called["call"]()
    assert recwarn.pop(UserWarning).filename == __file__


def _nothing() -> Iterator[None]:
    yield


def test_a_part_of_one_counts_and_what_is_done_stays_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ProgressLine, "INTERVAL", 0.0)
    with ProgressLine("evaluate", total=4, unit="network") as line:
        for done in (1.5, 3.9, 2, 4):
            line.update(done)
    shown = [text.partition(",")[0] for text in capsys.readouterr().err.splitlines()]
    assert shown == [f"evaluate: network {done}/4" for done in (1, 3, 3, 4)]


def test_work_inside_other_work_is_a_note_of_the_outer_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also if it is quiet, which shows no line of its own: minutes without a sign of life look like a fault."""
    monkeypatch.setattr(ProgressLine, "INTERVAL", 0.0)
    with ProgressLine("distil", total=5) as outer:
        outer.update(2, "objective 1.0")
        with ProgressLine("evaluate", total=3, unit="network", quiet=True) as inner:
            inner.update(1, "gradient step 4/9")
            inner.update(3)
        outer.update(5)
    with ProgressLine("evaluate", total=3, unit="network", quiet=True) as alone:
        alone.update(1)
    shown = capsys.readouterr().err.splitlines()
    assert shown[1:3] == [
        "distil: iteration 2/5, evaluate: network 1/3, gradient step 4/9",
        "distil: iteration 2/5, evaluate: network 3/3",
    ]
    assert [line.partition(",")[0] for line in shown] == [f"distil: iteration {done}/5" for done in (2, 2, 2, 5)]


def test_work_inside_quiet_work_is_quiet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(ProgressLine, "INTERVAL", 0.0)
    with ProgressLine("distil", total=5, quiet=True), ProgressLine("evaluate", total=3) as inner:
        inner.update(3)
    assert capsys.readouterr().err == ""
