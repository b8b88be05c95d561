"""The command that makes baselines: what is asked for is used, or refused by name."""

from pathlib import Path

import pytest

from datastill.artifact import DistilledSet
from datastill.cli import main
from datastill.errors import UserError
from datastill.networks.pool import Pool

FEW = ["--networks", "2"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    assert main(["baseline", "random", "digits", "--network", "mlp(width=4)", *FEW, "--out", str(folder)]) == 0
    return folder


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["digits", "--networks", "3"], "networks 2, not 3"),
        (["digits", *FEW, "--start", "random(kaiming)"], "start random(xavier), not random(kaiming)"),
        (["digits", *FEW, "--ipc", "3"], "baseline.ipc 10, not 3"),
        (["usps", *FEW], "data.name digits, not usps"),
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
    assert f"holds another set ({named})" in capsys.readouterr().err
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
        (["average", "digits", "--ipc", "3"], "--ipc has no effect: there is one average image of each class"),
    ],
)
def test_an_option_without_effect_is_refused(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["baseline", *words]) == 2
    assert message in capsys.readouterr().err
