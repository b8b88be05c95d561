"""Benchmarks start, and measure what computes the right thing."""

import sys
from pathlib import Path

import pytest
import torch
from benchmarks import peers, speed
from benchmarks.__main__ import PART, main

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
