"""Sets on the Hugging Face hub, which a local folder stands for: nothing here uses the network."""

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
import yaml
from datasets import load_dataset
from huggingface_hub import DatasetCard

import datastill
from datastill import DistilledSet, UserError, build_network
from datastill.artifact import NAME
from datastill.hub import card
from datastill.space import SPACES

from .test_export import make
from .toys import toy_data, toy_set

BAD = "x](http://evil) <script>alert(1)</script> --- license: mit # | `a` $a$ :a: &lt;"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of repositories, which the client of the hub uploads to and downloads from."""
    folder = tmp_path / "hub"

    class Api:
        def create_repo(self, name: str, **options: Any) -> None:
            assert options == {"repo_type": "dataset", "private": False, "exist_ok": True}
            (folder / name).mkdir(parents=True, exist_ok=True)

        def upload_folder(self, *, repo_id: str, folder_path: str, **options: Any) -> None:
            assert options["repo_type"] == "dataset"
            shutil.copytree(folder_path, folder / repo_id, dirs_exist_ok=True)

    def download(name: str, file: str, *, repo_type: str, revision: str | None) -> str:
        assert (repo_type, revision) == ("dataset", None)
        if not (folder / name / file).exists():
            raise huggingface_hub.errors.EntryNotFoundError("404 Client Error\nEntry Not Found")
        return str(folder / name / file)

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    return folder


def test_a_set_comes_back_bit_for_bit_with_its_score_and_without_trust(hub: Path) -> None:
    distilled = datastill.load("mnist-10")
    assert distilled.push_to_hub("someone/toys") == "https://huggingface.co/datasets/someone/toys"
    back = DistilledSet.from_hub("someone/toys")
    assert torch.equal(back.inputs, distilled.inputs)
    assert torch.equal(back.targets, distilled.targets)
    assert back.header.score == distilled.header.score
    assert not back.trusted
    assert DistilledSet.from_hub("someone/toys", trust=True).trusted


def test_the_repository_is_a_data_set_of_the_hub(hub: Path, tmp_path: Path) -> None:
    distilled = make()
    distilled.push_to_hub("someone/toys")
    files = sorted(path.name for path in (hub / "someone/toys").rglob("*") if path.is_file())
    assert files == ["README.md", NAME, "examples.png", "train-00000-of-00001.parquet"]
    table = load_dataset(str(hub / "someone/toys"), cache_dir=str(tmp_path / "cache"))["train"]
    assert torch.equal(table.with_format("torch")["example"][:], distilled.inputs)


def test_the_card_says_what_it_is_how_it_was_made_and_what_it_is_worth(hub: Path) -> None:
    distilled = make()
    made = {"datastill": "0.2.0", "hardware": "a machine", "seconds": 12.3}
    distilled = replace(distilled, header=replace(distilled.header, provenance=made, method="k-means"))
    distilled.push_to_hub("someone/toys", licence="cc-by-4.0")
    text = (hub / "someone/toys/README.md").read_text()
    shown = re.sub(r"&#(\d+);", lambda found: chr(int(found[1])), text)
    for fact in (
        "50.0 ± 10.0 %",
        "| method | k-means |",
        "| network | lenet |",
        "| made in | 12 s |",
        "3 steps × 2 epochs",
    ):
        assert fact in shown
    known = DatasetCard(text).data
    assert (known.license, known.tags) == ("cc-by-4.0", ["dataset-distillation", "datastill"])
    assert DatasetCard(card(distilled, name="someone/toys")).data.license == "unknown"


def test_every_space_has_a_task() -> None:
    from datastill.hub import TASKS

    assert TASKS.keys() == SPACES.keys()


def test_names_are_neither_markup_nor_metadata() -> None:
    distilled = make(names=(BAD, "b", "c", "d"))
    distilled = replace(distilled, header=replace(distilled.header, data=BAD, method=BAD, network=BAD))
    text = card(distilled, name="someone/toys", licence=f"{BAD}\n---\nb: c")
    _, metadata, body = text.split("---\n", 2)
    assert yaml.safe_load(metadata)["license"] == f"{BAD}\n---\nb: c"
    assert len(re.findall("^#+ ", body, re.MULTILINE)) == 4  # the title and three headings
    assert not re.search(r"<script|\]\(http", body)


def test_a_set_from_the_hub_imports_no_module(hub: Path) -> None:
    data = toy_data()
    toy_set(data, network="tests.no_such_module:network").push_to_hub("someone/toys")
    back = DistilledSet.from_hub("someone/toys")
    with pytest.raises(UserError, match="trust=True"):
        build_network(back.header.network, shape=back.shape, classes=back.classes, trust=back.trusted)


def test_what_the_hub_refuses_is_said_in_one_line(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="cannot download a set from 'someone/none'") as found:
        DistilledSet.from_hub("someone/none")
    assert "\n" not in str(found.value)
    (hub / "someone/changed").mkdir(parents=True)
    (hub / "someone/changed" / NAME).write_bytes(b"import os")
    with pytest.raises(UserError, match="is not a whole safetensors file"):
        DistilledSet.from_hub("someone/changed")

    class Closed:
        def create_repo(self, *_: Any, **__: Any) -> None:
            raise ConnectionError("no network\nat all")

    monkeypatch.setattr(huggingface_hub, "HfApi", Closed)
    with pytest.raises(UserError, match="hf auth login") as found:
        make().push_to_hub("someone/toys")
    assert "\n" not in str(found.value)
