"""Files are written whole or not at all."""

import errno
import io
import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

import datastill.storage.files
import datastill.storage.flock
from datastill.errors import UserError
from datastill.storage.files import is_free, must_be_writable, read_json, write_folder, write_json, write_whole
from datastill.storage.flock import lock

STEPS = ("open", "fsync", "replace", "write")
"""The calls of the system that write a file; each of them may fail, or be the last that a process does."""


def failing(monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException) -> None:
    """From now on this call of the system raises the error: `write` after half of the bytes, others at once."""

    def fail(*_: object, **__: object) -> None:
        raise error

    class Half(io.FileIO):
        def write(self, content: bytes) -> int:
            super().write(content[: len(content) // 2])
            raise error

    if step == "write":
        monkeypatch.setattr(datastill.storage.files.os, "fdopen", lambda handle, _: Half(handle, "wb"))
    elif step == "replace":
        monkeypatch.setattr(Path, "replace", fail)
    else:
        monkeypatch.setattr(datastill.storage.files.os, step, fail)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("old", [b"old", None])
def test_a_full_disk_leaves_the_old_file_whole_and_no_rubbish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, old: bytes | None
) -> None:
    target = tmp_path / "set.bin"
    if old:
        target.write_bytes(old)
    with monkeypatch.context() as patch:
        failing(patch, step, OSError(errno.ENOSPC, "No space left on device"))
        with pytest.raises(UserError, match="No space left on device; what was there before is unchanged"):
            write_whole(target, b"new")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == ({"set.bin": old} if old else {})


@pytest.mark.parametrize("step", STEPS)
def test_a_write_that_is_interrupted_leaves_the_old_file_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    target = tmp_path / "set.bin"
    target.write_bytes(b"old")
    with monkeypatch.context() as patch:
        failing(patch, step, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            write_whole(target, b"new")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"set.bin": b"old"}


def test_what_a_kill_left_is_removed_by_the_next_write_and_what_is_being_written_is_not(tmp_path: Path) -> None:
    killed, running = tmp_path / f".datastill-{'0' * 16}.partial", tmp_path / f".datastill-{'1' * 16}.partial"
    folder, users = tmp_path / f".datastill-{'2' * 16}.partial", tmp_path / ".datastill-mine.partial"
    for path in (killed, running, users, folder / "inside"):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    with running.open() as file:
        assert lock(file.fileno(), wait=False)
        write_whole(tmp_path / "a", b"")
    assert {path.name for path in tmp_path.iterdir()} == {running.name, users.name, "a"}
    write_whole(tmp_path / "a", b"")
    assert {path.name for path in tmp_path.iterdir()} == {users.name, "a"}


def test_a_folder_with_leftovers_alone_is_free(tmp_path: Path) -> None:
    assert is_free(tmp_path)
    assert is_free(tmp_path / "none")
    (tmp_path / f".datastill-{'0' * 16}.partial").write_bytes(b"half")
    (tmp_path / ".datastill-lock").write_bytes(b"")
    assert is_free(tmp_path)
    (tmp_path / ".mine").write_bytes(b"")
    assert not is_free(tmp_path)
    assert not is_free(tmp_path / ".mine")


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "set.bin", tmp_path / "link"
    link.symlink_to(target)
    for content in (b"first", b"second"):
        write_whole(link, content)
        assert link.is_symlink()
        assert target.read_bytes() == content
    assert list((tmp_path / "there").iterdir()) == [target]


def test_what_is_no_file_stays_as_it_is(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "ring").symlink_to(tmp_path / "ring")
    for path, message in [
        (tmp_path / "pipe", "it is a device or a pipe"),
        (Path(os.devnull), "it is a device or a pipe"),
        (tmp_path / "folder", "it is a folder"),
        (tmp_path / "ring", "Too many levels"),
    ]:
        with pytest.raises(UserError, match=rf"cannot write {path}: {message}"):
            write_whole(path, b"new")
    assert (tmp_path / "pipe").is_fifo()
    assert Path(os.devnull).is_char_device()


def test_a_new_file_has_the_permissions_of_the_umask_and_a_replaced_one_keeps_its_own(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "new", b"")
        write_folder(tmp_path / "folder", lambda folder: (folder / "a").write_bytes(b""))
    finally:
        os.umask(before)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o750
    (tmp_path / "new").chmod(0o600)
    write_whole(tmp_path / "new", b"again")
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600


def test_without_locks_files_are_written_and_leftovers_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(datastill.storage.flock.fcntl, "flock", none)
    killed = tmp_path / f".datastill-{'0' * 16}.partial"
    killed.write_bytes(b"half")
    write_whole(tmp_path / "a", b"whole")
    assert {path.name for path in tmp_path.iterdir()} == {killed.name, "a"}


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*file/set\.bin"):
        write_whole(tmp_path / "file" / "set.bin", b"")


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_folder_is_made_with_all_of_its_files_or_not_at_all(tmp_path: Path, error: BaseException) -> None:
    def fill(folder: Path) -> None:
        (folder / "a").write_bytes(b"whole")
        raise error

    with pytest.raises((UserError, KeyboardInterrupt)):
        write_folder(tmp_path / "folder", fill)
    assert list(tmp_path.iterdir()) == []


def test_json_round_trip_and_broken_json(tmp_path: Path) -> None:
    value = {"a": [1, 2.5, None], "name": "Schrödinger"}
    write_json(tmp_path / "x.json", value)
    assert read_json(tmp_path / "x.json") == value == json.loads((tmp_path / "x.json").read_text())
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(UserError, match=r"x\.json is not whole JSON .*; it is cut short or of another kind"):
        read_json(tmp_path / "x.json")


def test_a_place_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path, message in [
        (tmp_path, "it is a folder, and only a file can be replaced as a whole; give another file"),
        (tmp_path / "file/set.safetensors", "Not a directory"),
        (tmp_path / ("x" * 300), "File name too long"),
        (tmp_path / "a\0b", "embedded null"),
    ]:
        with pytest.raises(UserError, match=f"cannot write .*{message}"):
            must_be_writable(path)
    must_be_writable(tmp_path / "file")
    must_be_writable(tmp_path / "new/folder/set.safetensors")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("flag", "message"), [(os.ST_RDONLY, "the file system of .* is read-only"), (0, "the permissions of the folder")]
)
def test_a_place_that_is_closed_says_what_closes_it(
    flag: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_flag=flag))
    with pytest.raises(UserError, match=message):
        must_be_writable(tmp_path / "set.safetensors")
