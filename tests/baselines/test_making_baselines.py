"""The command that makes baselines: what is asked for is used, or refused by name."""

from pathlib import Path

import pytest
import torch

from datastill.artifact import DistilledSet
from datastill.cli import main
from datastill.commands import selection
from datastill.errors import UserError
from datastill.methods.selection import RandomReal
from datastill.networks.pool import Pool
from datastill.program import PROGRAMS, Ordered, Program, as_plain

FEW = ["--networks", "2"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    assert main(["baseline", "random", "digits", "--network", "mlp(width=4)", *FEW, "--out", str(folder)]) == 0
    return folder


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["digits", "--networks", "3"], "setting protocol.networks was 2 and is 3"),
        (["digits", *FEW, "--start", "random(kaiming)"], "setting start.initialiser was xavier and is kaiming"),
        (["digits", *FEW, "--ipc", "3"], "setting method.ipc was 10 and is 3"),
        (["usps", *FEW], "setting data.name was digits and is usps"),
    ],
)
def test_a_finished_set_of_other_settings_is_not_taken_for_the_one_that_is_asked_for(
    made: Path, words: list[str], named: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from datastill.commands import making_baselines

    digits = making_baselines.load_data("digits")
    monkeypatch.setattr(making_baselines, "load_data", lambda _: digits)
    before = DistilledSet.load(made / "0.safetensors").header
    assert main(["baseline", "random", *words, "--network", "mlp(width=4)", "--out", str(made)]) == 2
    assert (
        f"because something changed since it began: {named}; give another folder with --out" in capsys.readouterr().err
    )
    assert DistilledSet.load(made / "0.safetensors").header == before


def test_a_finished_set_is_not_made_again(made: Path) -> None:
    before = (made / "0.safetensors").stat().st_mtime_ns
    assert main(["baseline", "random", "digits", "--network", "mlp(width=4)", *FEW, "--out", str(made)]) == 0
    assert (made / "0.safetensors").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "words",
    [
        ["pack", "mnist-10", "--to", "."],
        ["pretrain", "digits", "--network", "mlp(width=4)", "--out", "."],
        ["pretrain", "digits", "--network", "mlp(width=4)", "--out", "/"],
        ["baseline", "random", "digits", "--out", __file__],
    ],
)
def test_a_place_that_cannot_be_written_is_refused_before_anything_is_computed(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def must_not_load(*_: object) -> None:
        raise AssertionError("the data is loaded before the place is checked")

    for module in ("evaluating", "pretraining"):
        monkeypatch.setattr(f"datastill.commands.{module}.load_data", must_not_load)
    assert main(words) == 2
    assert "error: cannot write" in capsys.readouterr().err


@pytest.mark.parametrize("place", [".", "/", "..", "nowhere"])
def test_a_pool_that_is_no_file_is_refused_in_one_line(place: str) -> None:
    with pytest.raises(UserError, match="there is no pool at"):
        Pool.load(place)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["average", "digits", "--ipc", "3"], "unknown option --ipc"),
        (["random", "digits", "--nearest"], "unknown option --nearest"),
        (["k-maens", "digits"], "unknown baseline 'k-maens': did you mean 'k-means'?"),
        (
            ["distribution-matching", "digits"],
            "distribution-matching is no selection of images; take",
        ),
        ([], "no method was given; name one of "),
        (["random"], "no data was given; name the data"),
        (["random", "--like", "nosuch.safetensors"], "nosuch.safetensors"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["baseline", *words]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert len(said.splitlines()) == 1


def test_help_has_the_settings_of_the_method_and_the_size_of_the_set(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    like = ["--like", str(made / "0.safetensors")]
    for words, ipc in ((["k-means"], 10), (["k-means", *like], 10), (["k-means", "--like", "mnist-10"], 1)):
        with pytest.raises(SystemExit):
            main(["baseline", *words, "--help"])
        said = " ".join(capsys.readouterr().out.split())
        assert "--nearest" in said
        assert f"(default: {ipc})" in said


def test_the_best_candidate_beside_a_set_has_its_size_and_says_how_it_was_made(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--like", str(made / "0.safetensors"), "--ipc", "1", "--candidates", "2", *FEW, "--out", str(tmp_path)]
    assert main(["baseline", "random", *words]) == 0
    found = DistilledSet.load(tmp_path / "0.safetensors")
    assert found.size == 10
    assert found.header.config["candidates"] == 2
    assert main(["verify", str(tmp_path / "0.safetensors")]) == 0


def test_a_named_program_is_taken_beside_a_set_of_ordered_steps(made: Path, tmp_path: Path) -> None:
    like = tmp_path / "like.safetensors"
    steps = DistilledSet.load(made / "0.safetensors")
    steps.with_program(Program(order=Ordered(step_sizes=torch.full((1, 10), 0.1)))).save(like)
    words = ["--like", str(like), "--program=shuffled-300-adam", "--network", "mlp(width=4)", "--networks", "1"]
    assert main(["baseline", "average", *words, "--out", str(tmp_path)]) == 0
    found = DistilledSet.load(tmp_path / "0.safetensors")
    assert (found.size, as_plain(found.program)) == (10, as_plain(PROGRAMS["shuffled-300-adam"]))
    method, _ = selection(["random", *words])
    assert method.method == RandomReal(ipc=10, steps=1, program="open")
    assert selection(["random", "--like", str(like)])[0].method == RandomReal(ipc=10, steps=10)
