"""Files of distilled sets: where they are found, what is no such file, and what a header may hold."""

import errno
import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import datastill
import datastill.artifact.scores
import datastill.storage.files
from datastill.artifact import FORMAT, DistilledSet
from datastill.errors import UserError

from .test_artifact import HEADER, SCORE, make


def test_a_set_is_found_in_the_folder_of_a_run(tmp_path: Path) -> None:
    make().save(tmp_path / "run" / "distilled.safetensors")
    assert torch.equal(DistilledSet.load(tmp_path / "run").inputs, make().inputs)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"there is no distilled set at .*empty"):
        DistilledSet.load(tmp_path / "empty")


def test_what_is_no_file_or_closed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (Path("/dev/zero"), tmp_path / "pipe"):
        with pytest.raises(UserError, match="it is a device or a pipe, not a file"):
            DistilledSet.load(path)
    with pytest.raises(UserError, match=r"File name too long|no distilled set"):
        DistilledSet.load(tmp_path / ("x" * 3000))
    make().save(tmp_path / "closed")
    opened = Path.open

    def closed(path: Path, *arguments: Any, **more: Any) -> Any:
        if path.name == "closed":
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(path, *arguments, **more)

    monkeypatch.setattr(Path, "open", closed)
    with pytest.raises(UserError, match=r"cannot read .*closed: Permission denied"):
        DistilledSet.load(tmp_path / "closed")


def test_a_header_larger_than_what_is_read_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with path.open("wb") as file:
        file.write((100 * 2**20).to_bytes(8, "little"))
        file.truncate(200 * 2**20)  # holes: no disk is used
    with pytest.raises(UserError, match="a header of 104857600 bytes, but at most 8388608 are read"):
        DistilledSet.load(path)
    with path.open("wb") as file:
        file.truncate(5 * 2**30)
    with pytest.raises(UserError, match="it has 5368709120 bytes"):
        DistilledSet.load(path)


def rewritten(path: Path, **changes: Any) -> Path:
    """A file with other fields in its header, and a valid digest."""
    distilled = make().with_score(SCORE)
    header = json.dumps({**distilled.plain(), **changes})
    metadata = {
        "format": FORMAT,
        "header": header,
        "sha256": datastill.storage.files.digest(header, distilled.tensors()),
    }
    safetensors.torch.save_file(distilled.tensors(), path, metadata)
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"more": 1, "provenance": {"datastill": "9.9"}}, r"unknown name 'more' in header: .*by datastill 9\.9"),
        ({"score": {**SCORE, "protocol": {**SCORE["protocol"], "heat": 1}}}, "name 'heat' in header.score.protocol"),
        ({"score": {**SCORE, "mean": 0.9}}, "score.mean is 0.9, but header.score.accuracies give 0.3"),
        ({"score": {**SCORE, "n": 10**9}}, "score.n is 1000000000, but must be a whole number from 1 to 100000"),
        ({"score": {**SCORE, "split": "train"}}, "score.split is 'train', but must be 'test' or 'validation'"),
        ({"class_names": "012"}, "class_names is '012', but must be a list"),
        ({"network": "\x1b[31m"}, "network is .* but must be a text of .* without control characters"),
        ({"config": {"a": float("nan")}}, "NaN is not a number in JSON"),
        ({"config": {"data": {"name": 7}}}, "config.data.name is 7"),
        ({"provenance": {"seconds": "long"}}, "provenance.seconds is 'long'"),
    ],
)  # fmt: skip
def test_a_header_is_checked_on_loading(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        DistilledSet.load(rewritten(tmp_path / "a.safetensors", **changes))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "changes",
    [
        {"network": "their_module:make(note='x')"},
        {"config": {"network": "their_module:make"}},
        {"score": {**SCORE, "mean": 0.9, "protocol": {**SCORE["protocol"], "network": "their_module:make"}}},
    ],
)
def test_a_broken_header_that_asks_for_a_module_is_refused_with_the_name_of_the_module(
    tmp_path: Path, changes: dict
) -> None:
    """A reader sees first what the file would run, whatever else is wrong with it."""
    with pytest.raises(
        UserError, match=r"asks for the network .their_module.*, which runs code of the module 'their_module'.*mean"
    ):
        DistilledSet.load(rewritten(tmp_path / "a.safetensors", **({"score": {**SCORE, "mean": 0.9}} | changes)))


def test_the_rule_of_scores_knows_the_fields_of_the_protocol() -> None:
    header = replace(HEADER, score={**SCORE, "protocol": asdict(datastill.Protocol(networks=3))})
    datastill.artifact.scores.SCORE(header.score, "score")
