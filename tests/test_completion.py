"""The script for a shell completes commands, options and their values."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from datastill.cli import SHELLS, main

ASK = (
    'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 )); _tyro_datastill; printf "%s\\n" "${COMPREPLY[@]}"'
)
"""What bash does when the tab key is pressed after these words."""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "datastill"
    with path.open("w", encoding="utf-8") as file, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", file)
        with pytest.raises(SystemExit) as stopped:
            main(["--tyro-print-completion", "bash"])
    assert not stopped.value.code
    return path


@pytest.mark.skipif(not shutil.which("bash"), reason="no bash")
@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("ev", {"evaluate"}),
        ("export --kind p", {"png", "parquet"}),
        ("evaluate --spl", {"--split"}),
        ("distill --method.engine.mo", {"--method.engine.mode"}),
    ],
)
def test_bash_completes_what_is_typed(typed: str, completed: set[str], script: Path) -> None:
    words = ["datastill", *typed.split(" ")]
    done = subprocess.run(["bash", "-c", ASK, "bash", script, *words], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == completed


@pytest.mark.parametrize("words", [[], ["fish"], ["bash", "zsh"]])
def test_another_shell_is_refused_in_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--tyro-print-completion", *words]) == 2
    assert capsys.readouterr().err == "datastill: error: name the shell after --tyro-print-completion: bash or zsh\n"


def test_every_shell_has_a_script(capsys: pytest.CaptureFixture[str]) -> None:
    for shell in SHELLS[1:]:
        with pytest.raises(SystemExit):
            main(["--tyro-print-completion", shell])
        assert "datastill" in capsys.readouterr().out
