"""Files that are no files, or that claim more than they hold, are refused in one line, and quickly."""

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from datastill.errors import UserError
from datastill.networks.weights import read
from datastill.storage.files import read_json, read_tensors
from datastill.storage.pickled import read_pickled

READERS = {"json": read_json, "tensors": read_tensors, "pickled": read_pickled, "weights": read}


def test_a_changed_value_of_a_tensor_is_found(tmp_path: Path) -> None:
    file = tmp_path / "value.pt"
    torch.save({"learned": torch.arange(1000.0)}, file)
    content = bytearray(file.read_bytes())
    content[content.index(torch.tensor([500.0]).numpy().tobytes()) + 1] ^= 0x40
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"was changed after it was written: the checksum of .*data/0"):
        read_pickled(file)


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_devices_pipes_folders_and_missing_files_are_refused(reader: Callable[[Path], object], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, message in [
        (Path("/dev/zero"), "a device or a pipe"),
        (tmp_path / "pipe", "a device or a pipe"),
        (tmp_path, "a folder"),
        (tmp_path / "missing", "No such file"),
        (tmp_path / "a\0b", "null"),
        (tmp_path / ("a" * 300), "too long"),
    ]:
        with pytest.raises(UserError, match=message):
            reader(path)


@pytest.mark.parametrize("text", ["[" * 100_000, "NaN", '{"a": Infinity}', "1e999", "", "\ud800"])
def test_what_is_no_json_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(
        UserError, match=r"^cannot read .*x\.json|x\.json is not whole JSON .*; it is cut short or of another kind$"
    ):
        read_json(tmp_path / "x.json")


def test_weights_that_claim_more_than_the_file_holds_are_refused(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(1).expand(1_800_000_000)}, tmp_path / "expanded")
    torch.save({"w": torch.zeros(4)}, tmp_path / "plain")
    _rewrite(tmp_path / "plain", tmp_path / "compressed", zipfile.ZIP_DEFLATED)
    for name in ("expanded", "compressed"):
        with pytest.raises(UserError, match=name):
            read(tmp_path / name)


def test_a_pickle_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    class Large:
        def __reduce__(self) -> tuple:
            return bytearray, (10**11,)

    torch.save({"w": Large()}, tmp_path / "large")
    (tmp_path / "old").write_bytes(pickle.dumps(Large(), protocol=2))
    for name in ("large", "old"):
        with pytest.raises(UserError, match=r"is refused: it is a pickle that holds more than tensors \(.*bytearray\)"):
            read(tmp_path / name)


@pytest.mark.parametrize("archive", [True, False])
def test_tensors_parameters_and_plain_values_come_back_as_they_were(archive: bool, tmp_path: Path) -> None:
    module = torch.nn.Linear(2, 3).half()
    value = {"state": dict(module.state_dict()), "parameter": module.weight, "plain": [1, 2.5, None, "x", (True,)]}
    torch.save(value, tmp_path / "x", _use_new_zipfile_serialization=archive)
    found = read_pickled(tmp_path / "x")
    assert torch.equal(found["state"]["weight"], module.weight)
    assert torch.equal(found["parameter"], module.weight)
    assert found["plain"] == value["plain"]


def _rewrite(source: Path, target: Path, compression: int) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(content, "w", compression) as new:
        for member in old.infolist():
            new.writestr(member.filename, old.read(member))
    target.write_bytes(content.getvalue())
