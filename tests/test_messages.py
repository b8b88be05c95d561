"""What the command line says of files and values that it cannot use: one line that names them and the fix."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datastill.bundled import FOLDER
from datastill.cli import main
from datastill.commands.showing import _INITIALISERS
from datastill.networks import INITIALISERS


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of files that are no sets, and of tables that cannot be read."""
    folder = tmp_path_factory.mktemp("place")
    Image.new("L", (8, 8)).save(folder / "a.png")
    (folder / "semi.csv").write_text("a;b;label\n1;2;0\n3;4;1\n")
    (folder / "latin.csv").write_bytes(b"a,label\n1,caf\xe9\n2,no\n")
    rows, labels = np.random.default_rng(0).random((30, 3)), np.arange(30) % 2
    np.savez(folder / "split.npz", x_train=rows, y_train=labels, x_tst=rows, y_tst=labels)
    return folder


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["show", "a.png"], "; it looks like a picture: datastill import makes a set of a folder of pictures"),
        (["show", "split.npz"], "; it looks like arrays: datastill import makes a set of images in them"),
        (["distill", "--start", f"pool:{FOLDER / 'mnist-10.safetensors'}"], "is a distilled set, not a pool of net"),
        (["distill", "--data.name", "semi.csv"], "its only column is called 'a;b;label'; separate columns by commas"),
        (["distill", "--data.name", "latin.csv"], "'latin.csv': it is not in UTF-8; save it in this encoding"),
        (["distill", "--data.name", "split.npz"], "unknown split 'tst' of 'split.npz': did you mean 'test'?"),
        (["distill", "--data.name", "split.npz", "--data.train-split", "t"], "unknown split 't' of 'split.npz'"),
        (["distill", "--out", "a.png"], "a.png is a file, not a folder; give another folder with --out"),
        (["distill", "--method.ipc", "999"], "but class '8' has 125 train images; take 125 or fewer"),
        (["distill", "--method.ipc", "50", "--method.factor", "2", "--method.steps", "1"], "; take ipc 31 or fewer"),
        (["distill", "--method", "random", "--method.teacher", "t@x"], "no teacher at t@x; for a snapshot write its n"),
        (["distill", "--warm-start", "mnist-10"], "this run has 1x8x8; take a set that was made from such data"),
        (["distill", "--seed", str(10**20)], f"seed is {10**20}, but must be a whole number below 2^63"),
        (["evaluate", "mnist-10", ""], "error: the name is empty; name a file or a folder; see datastill evaluate"),
        (["show", ""], "error: the name is empty; name a file or a folder; see"),
        (["distill", "--out", ""], "error: --out: the name is empty; name a file or a folder; see"),
        (["export", "mnist-10", "--to", ""], "error: --to: the name is empty; name a file or a folder; see"),
    ],
)
def test_what_cannot_be_used_is_said_with_what_to_do(
    words: list[str], message: str, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    assert main(words) == 2
    said = capsys.readouterr().err
    assert message in said.splitlines()[-1]
    assert said.count("datastill: error: ") == 1


def test_every_initialiser_is_described() -> None:
    assert list(_INITIALISERS) == list(INITIALISERS)
