"""Following a run from another process: what is said while it goes on, and when it ends."""

import contextlib
import json
from pathlib import Path

import pytest

from datastill.cli import main
from datastill.errors import UserError
from datastill.locks import alone, is_in_use
from datastill.runlog import Tail
from datastill.watching import LINE_SECONDS, Seen, follow

from .toys import toy_data, toy_set

SCORE = {
    "split": "test",
    "images": 10,
    "mean": 0.5,
    "sd": 0.0,
    "n": 1,
    "accuracies": [0.5],
    "protocol": {"networks": 1, "network": "mlp", "start": None},
}


def begun(folder: Path, iterations: int = 4) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"config": {"loop": {"iterations": iterations}}}))
    return folder


def iterated(folder: Path, iteration: int) -> None:
    record = {"iteration": iteration, "objective": 2.0 / iteration, "seconds": 0.5 * iteration, "skipped": 0}
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(record) + "\n")


def validated(folder: Path, iteration: int, mean: float) -> None:
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"iteration": iteration, "validation": {"mean": mean, "sd": 0.01, "n": 4}}) + "\n")


def test_a_run_is_followed_until_it_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, held = begun(tmp_path / "run"), contextlib.ExitStack()
    now = iter(range(0, 1000, round(LINE_SECONDS)))
    monkeypatch.setattr("datastill.watching.monotonic", lambda: next(now))
    held.enter_context(alone(folder))
    then = iter(
        [
            lambda: iterated(folder, 1),
            lambda: (iterated(folder, 2), validated(folder, 2, 0.7)),
            lambda: (iterated(folder, 3), validated(folder, 3, 0.6)),
            lambda: toy_set(toy_data()).with_score(SCORE).save(folder / "distilled.safetensors"),
            held.close,
        ]
    )
    monkeypatch.setattr("datastill.watching.sleep", lambda _: next(then)())
    assert follow(folder) == f"the run in {folder} has ended: 50.0 %"
    assert capsys.readouterr().err.splitlines() == [
        "no iteration has ended yet",
        "iteration 1 of 4, objective 2",
        "iteration 2 of 4, objective 1, validation 70.0 ± 1.0 % (best 70.0 %), 2 iterations/s, 1 s left",
        "iteration 3 of 4, objective 0.6667, validation 60.0 ± 1.0 % (best 70.0 %), 2 iterations/s, 0.5 s left",
        "the set is made; its score is being measured",
    ]


def test_a_run_that_ended_is_said_in_one_line_and_leaves_no_trace(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = begun(tmp_path / "run")
    toy_set(toy_data()).with_score(SCORE).save(folder / "distilled.safetensors")
    before = sorted(folder.iterdir())
    assert main(["watch", str(folder)]) == 0
    assert capsys.readouterr() == (f"the run in {folder} has ended: 50.0 %\n", "")
    assert sorted(folder.iterdir()) == before


def test_a_stopped_run_and_one_that_does_not_exist_are_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = begun(tmp_path / "stopped")
    iterated(folder, 1)
    (folder / ".datastill-lock").touch()  # as a killed process leaves it
    for where, said in (
        (folder, f"was stopped after 1 of 4 iterations; go on with: datastill distill --resume --out {folder}"),
        (tmp_path / "none", "there is no run in"),
        (tmp_path, "there is no run in"),
        (folder / "config.json", "is a file, not the folder of a run; give the folder"),
    ):
        assert main(["watch", str(where)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line


def test_watching_does_not_keep_a_run_from_beginning(tmp_path: Path) -> None:
    with alone(tmp_path / "run"):
        assert is_in_use(tmp_path / "run")
        assert is_in_use(tmp_path / "run")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".datastill-lock").touch()
    assert not is_in_use(tmp_path / "run")
    with alone(tmp_path / "run"):
        pass


def test_only_whole_new_lines_are_read_and_a_file_written_anew_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    tail = Tail(file)
    assert tail.new() == []
    file.write_text('{"iteration": 1}\n{"iter')
    assert tail.new() == [{"iteration": 1}]
    file.write_text('{"iteration": 1}\n{"iteration": 2}\nno JSON\n')
    assert tail.new() == [{"iteration": 2}]
    assert tail.new() == []
    file.write_text('{"iteration": 3}\n')
    assert tail.new() == [{"iteration": 3}]
    file.write_text('{"iteration": 3}\n{"iteration": "x"}\n')
    with pytest.raises(UserError, match="iteration is 'x'"):
        tail.new()


def test_an_objective_that_is_not_finite_and_a_clock_that_went_back_are_left_out() -> None:
    seen = Seen()
    for iteration, seconds in ((1, 5.0), (2, 1.0)):
        seen.add({"iteration": iteration, "objective": None, "seconds": seconds})
    assert seen.text(None) == "iteration 2"


def test_ctrl_c_says_that_the_run_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("datastill.watching.sleep", interrupted)
    folder = begun(tmp_path / "run")
    with alone(folder):
        assert main(["watch", str(folder)]) == 130
        assert is_in_use(folder)
    assert capsys.readouterr().err.endswith("datastill: stopped; the run goes on\n")
