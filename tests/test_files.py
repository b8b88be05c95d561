"""Files are written whole or not at all."""

import errno
import json
from pathlib import Path

import pytest

from datastill.errors import UserError
from datastill.files import read_json, write_json, write_whole


def full_disk(path: Path) -> None:
    path.write_bytes(b"half of")
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_leaves_the_old_file_whole_and_no_rubbish(tmp_path: Path) -> None:
    target = tmp_path / "set.bin"
    target.write_bytes(b"old")
    with pytest.raises(UserError, match="No space left on device; what was there before is unchanged"):
        write_whole(target, full_disk)
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_an_error_of_the_writer_leaves_the_old_file_whole(tmp_path: Path) -> None:
    target = tmp_path / "set.bin"
    target.write_bytes(b"old")

    def broken(path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(target, broken)
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_writer_that_replaces_its_file_is_fine(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "set.bin"
    write_whole(target, lambda path: (path.unlink(), path.write_bytes(b"new"))[0])
    assert target.read_bytes() == b"new"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*file/set\.bin"):
        write_whole(tmp_path / "file" / "set.bin", lambda path: path.write_bytes(b""))


def test_json_round_trip_and_broken_json(tmp_path: Path) -> None:
    value = {"a": [1, 2.5, None], "name": "Schrödinger"}
    write_json(tmp_path / "x.json", value)
    assert read_json(tmp_path / "x.json") == value == json.loads((tmp_path / "x.json").read_text())
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(UserError, match=r"cannot read .*x\.json"):
        read_json(tmp_path / "x.json")
