"""What ``--json`` prints is what ``docs/json.md`` says; and every command computes on the device that it is given."""

import json
import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datastill.cli import main
from datastill.commands import COMMANDS
from datastill.commands.computing import Computing
from datastill.commands.output import say_written
from datastill.device import automatic, pick_device
from datastill.errors import UserError
from datastill.planner import Plan

from .docs.pages import text_of
from .toys import PLAIN_ENGINE

RUN = [
    "distill", "digits", *PLAIN_ENGINE, "--method.networks=1", "--method.epochs=1", "--method.real-batch=32",
    "--loop.iterations=1", "--protocol.networks=2", "--random-sets=0",
]  # fmt: skip
COMPUTING = [name for name, kind in COMMANDS.items() if issubclass(kind, Computing)]
SETTINGS_OF_A_RUN = ("distill", "plan")
"""The commands whose device is one of the settings of a run."""
WITHOUT_DEVICE = ("show", "export", "import", "list", "watch")
"""The commands that compute nothing."""
LIVE = ("watch",)
"""The commands that show what goes on, and print no result."""


def documented(heading: str) -> tuple[set[str], set[str]]:
    """Return the keys in the table under a heading: those that are always there, and those that may be left out."""
    section = re.split(r"^## ", text_of("json.md"), flags=re.MULTILINE)
    (text,) = [each for each in section if each.startswith(heading + "\n")]
    cells = re.findall(r"^\| (.*?) \|", text, re.MULTILINE)
    always = {key for cell in cells if not cell.startswith("*") for key in re.findall(r"`(\w+)`", cell)}
    return always, {key for cell in cells if cell.startswith("*") for key in re.findall(r"`(\w+)`", cell)}


def must_be(found: Mapping[str, Any], *headings: str) -> None:
    always, perhaps = (set().union(*parts) for parts in zip(*map(documented, headings), strict=True))
    assert always <= found.keys() <= always | perhaps


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("json") / "digits"
    assert main([*RUN, "--out", str(folder)]) == 0
    return folder


def printed(words: list[str], capsys: pytest.CaptureFixture[str]) -> Any:
    capsys.readouterr()
    assert main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Words that name the CPU on a machine that seems to have CUDA: whoever does not follow them fails."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    return ["--device", "cpu"]


def test_a_run_and_a_plan(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = printed(["distill", "--resume", "--out", str(run)], capsys)
    must_be(found, "`distill`")
    must_be(found["score"], "A score")
    assert documented("`plan`") == ({each.name for each in fields(Plan)}, set())


def test_an_evaluation(run: Path, capsys: pytest.CaptureFixture[str], on_the_cpu: list[str]) -> None:
    must_be(printed(["evaluate", str(run), "--networks", "1", *on_the_cpu], capsys), "A score")
    rows = printed(["evaluate", str(run), str(run / "distilled.safetensors"), "--networks", "2", *on_the_cpu], capsys)
    for row in rows:
        must_be(row, "`evaluate`, several sets")
        must_be(row["scores"][0], "A score")
    assert rows[0]["difference"] is None
    assert {"mean", "low", "high"} <= rows[1]["difference"].keys()


def test_a_verification(run: Path, capsys: pytest.CaptureFixture[str], on_the_cpu: list[str]) -> None:
    found = printed(["verify", str(run), *on_the_cpu], capsys)
    must_be(found, "`verify`")
    assert {"name", "verdict", "text"} == found["claims"][0].keys()


def test_a_baseline(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], on_the_cpu: list[str]) -> None:
    words = ["baseline", "average", "--like", str(run), "--networks", "1", "--out", str(tmp_path / "average")]
    found = printed([*words, *on_the_cpu], capsys)
    must_be(found, "`baseline`")
    must_be(found["scores"][0], "A score")


def test_a_pool(tmp_path: Path, capsys: pytest.CaptureFixture[str], on_the_cpu: list[str]) -> None:
    small = ["--network", "mlp", "--count", "1", "--held-out", "0", "--epochs", "1", "--out", str(tmp_path / "pool")]
    found = printed(["pretrain", "digits", *small, *on_the_cpu], capsys)
    must_be(found, "`pretrain`")
    assert len(found["accuracies"]["training"]) == 1
    assert found["along"] == []


def test_a_smaller_set(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], on_the_cpu: list[str]) -> None:
    found = printed(["pack", str(run), "--to", str(tmp_path / "small.safetensors"), *on_the_cpu], capsys)
    must_be(found, "`pack`")
    assert found["bytes"]["after"] < found["bytes"]["before"]
    must_be(found["scores"]["after"], "A score")


def test_what_is_shown_and_written(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    must_be(printed(["show", str(run)], capsys), "`show`")
    for kind in ("npz", "png"):
        found = printed(["export", str(run), "--kind", kind, "--to", str(tmp_path / kind)], capsys)
        must_be(found, "`export`")
        assert Path(found["file"]).exists()
        assert (found["loss"] is None) == (kind == "npz")
    found = printed(["report", str(run), "--to", str(tmp_path / "page.html")], capsys)
    must_be(found, "`report`, `study`")
    assert Path(found["file"]).read_text(encoding="utf-8").startswith("<!")
    assert set(printed(["list", "sets"], capsys)) == {"sets"}


def test_a_set_of_another_project(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = np.random.default_rng(0).normal(size=(10, 1, 8, 8)).astype("float32")
    np.savez(tmp_path / "theirs.npz", images=images, labels=np.arange(10))
    words = ["import", str(tmp_path / "theirs.npz"), "--data", "digits", "--network", "mlp"]
    found = printed([*words, "--to", str(tmp_path / "theirs.safetensors")], capsys)
    must_be(found, "`import`")
    assert (found["examples"], found["classes"], found["labels"]) == (10, 10, "hard")


def test_a_file_that_was_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert say_written(Path("page"), json=True) == 0
    must_be(json.loads(capsys.readouterr().out), "`report`, `study`")


# --- the device


def test_every_command_that_computes_takes_a_device_and_every_command_prints_json() -> None:
    assert {*COMPUTING, *SETTINGS_OF_A_RUN, *WITHOUT_DEVICE} == set(COMMANDS)
    with_json = {name for name, kind in COMMANDS.items() if "json" in {each.name for each in fields(kind)}}
    assert with_json == COMMANDS.keys() - LIVE


@pytest.mark.parametrize("command", COMPUTING)
def test_a_device_that_is_not_there_is_refused_before_anything_is_done(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = {"baseline": ["random", "digits"], "pack": ["nothing", "--to", "nothing"], "study": ["steps"]}
    assert main([command, *words.get(command, ["nothing"]), "--device", "cuda:99"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("datastill: error: this machine has no device 'cuda:99' (")
    assert said.endswith("; take auto or cpu\n")


def test_auto_stands_for_the_named_device_within_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with automatic("cpu"):
        assert pick_device("auto") == torch.device("cpu")
    with pytest.raises(UserError, match="no device"), automatic("nothing"):
        pass
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == torch.device("cpu")
