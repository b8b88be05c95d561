"""Benchmarks start, and measure what computes the right thing."""

import itertools
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from benchmarks import keep, peers, speed
from benchmarks.__main__ import PART, main

from datastill import DistilledSet
from datastill.artifact.decode import EightBits

CPU = torch.device("cpu")


def test_help_names_every_part(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert all(part in text for part in PART)


def test_an_unknown_part_is_refused_before_anything_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["lenet", "lenett"])
    assert ended.value.code == 2
    assert "there is no part 'lenett'; take some of: lenet, " in capsys.readouterr().err


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"STEPS": 1, "EPOCHS": 1, "REAL": 8, "ROUNDS": 1}.items():
        monkeypatch.setattr(speed, name, value)
    monkeypatch.setattr(speed, "WAYS", {way: speed.WAYS[way] for way in ("stored", "recomputed")})


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("network", speed.SHAPES)
def test_every_way_gives_what_the_plain_reference_gives(network: str) -> None:
    rows, _ = speed.speed(network, CPU, 1e9)
    assert max(row["error"] for row in rows) < 1e-3


def test_a_peer_that_is_not_installed_is_named_with_how_to_install_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "higher", None)
    with pytest.raises(SystemExit) as ended:
        main(["peers"])
    assert ended.value.code == 2
    assert "install it with: pip install higher" in capsys.readouterr().err


def test_the_library_computes_the_unroll_that_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PLAIN": 1, "WINDOW": 2, "REAL": 4, "EXAMPLES": 3}.items():
        monkeypatch.setattr(peers, name, value)
    (objective, stored), (_, recomputed) = (
        peers.ours(peers.WAYS[f"eager, {mode}"], CPU)() for mode in ("stored", "recomputed")
    )
    assert objective > 0
    torch.testing.assert_close(stored, recomputed, rtol=1e-3, atol=1e-3 * float(stored.abs().max()))


@pytest.mark.parametrize("count", [0, 1, 2, 401, 402, 1000, 16000])
def test_a_thinned_log_has_all_validations_and_iterations_at_equal_distances(count: int) -> None:
    lines = [{"iteration": i, "objective": 1.0} for i in range(1, count + 1)]
    lines[count // 2 : count // 2] = validations = [{"iteration": count // 2, "validation": {"mean": 0.5}}]
    found = keep.thinned(lines)
    assert [line for line in found if "validation" in line] == validations
    at = [line["iteration"] for line in found if "validation" not in line]
    assert at[:1] == [1][:count]
    assert at[-1:] == [count][:count]
    assert len({b - a for a, b in itertools.pairwise(at[:-1])}) <= 1
    assert min(count, keep.MOST_ITERATIONS // 2) <= len(at) <= keep.MOST_ITERATIONS + 1
    assert keep.thinned(found) == found


def test_where_no_log_is_none_is_written(tmp_path: Path) -> None:
    keep.thin(tmp_path / "run" / "metrics.jsonl")
    assert not list(tmp_path.iterdir())


def test_a_folder_without_a_set_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        keep.main([str(tmp_path / "nothing")])
    assert end.value.code == 2
    assert "error: there is no distilled set at" in capsys.readouterr().err


def test_a_kept_result_is_packed_and_claims_what_was_measured_then(tmp_path: Path) -> None:
    folder = tmp_path / "digits"
    shutil.copytree(Path(__file__).parents[1] / "results" / "digits", folder)
    before = DistilledSet.load(folder / "distilled.safetensors")
    keep.main([str(folder)])
    after, score = DistilledSet.load(folder / "distilled.safetensors"), json.loads((folder / "score.json").read_text())
    assert isinstance(after.header.decode, EightBits)
    assert after.nbytes < before.nbytes / 2
    assert after.header.score == score
    assert score["baseline"] == before.header.score["baseline"]
    assert score["n"] == len(score["accuracies"]) == before.header.score["n"]
    assert len(score["curve"]["mean"]) == len(score["curve"]["steps"]) == 11
    assert keep.holds(before.header.score, score)


@pytest.mark.parametrize(
    ("n", "sd", "lost", "right"),
    [(1, 0.0, 0.004, True), (1, 0.0, 0.006, False), (5, 0.002, 0.0009, True), (5, 0.002, 0.0011, False),
     (20, 0.02, 0.006, False), (5, 0.0, -0.1, True)],
)  # fmt: skip
def test_a_score_holds_if_it_loses_less_than_half_a_standard_deviation(
    n: int, sd: float, lost: float, right: bool
) -> None:
    assert keep.holds({"n": n, "mean": 0.9, "sd": sd}, {"n": n, "mean": 0.9 - lost}) is right
