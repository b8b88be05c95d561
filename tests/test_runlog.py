"""What a run says."""

import json
from pathlib import Path

import pytest

from datastill.runlog import JsonLines, ProgressLine, read_lines


def test_a_resumed_log_forgets_what_will_be_written_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = JsonLines(path)
    for iteration in range(1, 6):
        log.write(iteration=iteration, objective=iteration / 2)
    log.close()
    with path.open("a") as file:
        file.write('{"iteration": 6, "objec')  # killed while writing
    log = JsonLines(path, keep=3)
    log.write(iteration=4, objective=2.0)
    log.close()
    assert [record["iteration"] for record in read_lines(path)] == [1, 2, 3, 4]
    assert all(json.loads(line) for line in path.read_text().splitlines())


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
