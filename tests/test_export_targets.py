"""What is at the place of an export stays as it is, and one line says so."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from datastill.errors import UserError
from datastill.exporting import export

from .toys import toy_data, toy_set

SET = toy_set(toy_data())
KINDS = ("npz", "parquet", "png")


def full_folder(path: Path) -> None:
    path.mkdir()
    (path / "mine.txt").write_text("mine")


def link_to_an_empty_folder(path: Path) -> None:
    (path.parent / "elsewhere").mkdir()
    path.symlink_to(path.parent / "elsewhere")


THERE: dict[str, Callable[[Path], object]] = {
    "a folder with a file": full_folder,
    "a file": lambda path: path.write_text("mine"),
    "a pipe": os.mkfifo,
    "a link to an empty folder": link_to_an_empty_folder,
    "a link to nothing": lambda path: path.symlink_to(path.parent / "nothing"),
    "a link to a file": lambda path: path.symlink_to(__file__),
    "a link to a device": lambda path: path.symlink_to("/dev/null"),
}


def state(folder: Path) -> list[tuple[str, int, int]]:
    return sorted((str(path), path.lstat().st_mode, path.lstat().st_ino) for path in folder.rglob("*"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", list(THERE))
def test_nothing_is_written_over_what_is_there(tmp_path: Path, name: str, kind: str) -> None:
    path = tmp_path / "set.npz"
    THERE[name](path)
    before = state(tmp_path)
    with pytest.raises(UserError, match="export does not overwrite anything") as error:
        export(SET, path, kind)
    assert "\n" not in str(error.value)
    assert state(tmp_path) == before


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["", ".", "..", "/", "x\0y", "x" * 300, f"{__file__}/inside"])
def test_a_path_that_cannot_be_written_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as error:
        export(SET, name, kind)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", KINDS)
def test_an_export_honours_the_umask_and_leaves_nothing_beside_it(tmp_path: Path, kind: str) -> None:
    before = os.umask(0o027)
    try:
        path = export(SET, tmp_path / "new" / "set", kind)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == (0o640 if kind == "npz" else 0o750)
    assert list(path.parent.iterdir()) == [path]
