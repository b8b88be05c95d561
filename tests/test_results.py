"""What is claimed is in the files, made by the recipe of that name, and told as it is."""

import json
import math
import os
import re
from pathlib import Path

import pytest

from datastill import DataSettings, DistilledSet, Protocol, load_data, migration, score, verify
from datastill.config import differences, from_dict
from datastill.data import RealData
from datastill.evaluation.teacher import with_teacher
from datastill.label_source import OfTeacher, Teacher
from datastill.recipes import recipe
from datastill.studies.reference_rows import BENCHMARKS, ROWS

ROOT = Path(__file__).parents[1]
RESULTS = sorted(path.parent for path in (ROOT / "results").glob("*/config.json"))
IMAGES_OF_WIDE_NETWORKS = 1500
LONG = 500  # gradient steps of a wide network that are too many for a test
DATA = Path(os.environ.get("DATASTILL_DATA", ROOT.parent / "shared" / "data"))


def test_every_headline_recipe_has_a_result() -> None:
    assert {folder.name for folder in RESULTS} >= {"digits", "mnist-random", "mnist-fixed"}


@pytest.fixture(params=RESULTS, ids=lambda folder: folder.name)
def folder(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_a_result_is_whole_and_small(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()} - {"random", "teacher.safetensors"}
    assert names == {"config.json", "metrics.jsonl", "distilled.safetensors", "score.json"}
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 2_000_000
    assert (folder / "metrics.jsonl").stat().st_size < 100_000, "python -m benchmarks.keep thins it"


def test_all_results_together_are_small() -> None:
    """Most sets have 8 bits for each number; those have 32 that lose accuracy by it, or that were not measured yet."""
    assert sum(path.stat().st_size for path in (ROOT / "results").rglob("*") if path.is_file()) < 19_500_000


def test_a_result_is_that_of_the_recipe_as_it_is_now(folder: Path) -> None:
    stored = json.loads((folder / "config.json").read_text())
    changed = differences(from_dict(stored["config"]), recipe(folder.name))
    as_before = (" != auto", "protocol.augmentation: none != ")  # a set's own program had no augmentation
    assert [line for line in changed if not line.endswith(as_before)] == []
    assert stored["command"].startswith(f"datastill distill {folder.name}")
    distilled = DistilledSet.load(folder / "distilled.safetensors")
    assert distilled.header.config == migration.config(stored["config"])
    score = json.loads((folder / "score.json").read_text())
    assert distilled.header.score == migration.score(score, distilled.header.start)


def test_the_readme_tells_the_scores_of_the_files() -> None:
    rows = [line for line in (ROOT / "README.md").read_text().splitlines() if re.match(r"\| `[a-z0-9-]+` \|", line)]
    names = [row.split("`")[1] for row in rows]
    assert len(set(names)) == len(names) >= 10
    for name, row in zip(names, rows, strict=True):
        folder = ROOT / "results" / name
        score = json.loads((folder / "score.json").read_text())
        told = f"{score['mean']:.1%}".replace("%", " %") if score["n"] == 1 else f"{score['mean']:.1%}"[:-1]
        told += "" if score["n"] == 1 else f" ± {score['sd'] * 100:.1f} %"
        assert f" {told} " in row
        seconds = DistilledSet.load(folder / "distilled.safetensors").header.provenance["seconds"]
        assert f" {seconds:.0f} |" in row


def test_the_table_of_methods_tells_the_scores_of_the_files() -> None:
    """Each row names a set, its labels and examples, its accuracy and that of random real images."""
    text = (ROOT / "docs" / "how-to-choose.md").read_text()
    lines = text.partition("**What each gives.**")[2].splitlines()
    rows = [line for line in lines if re.match(r"\| `[a-z0-9-]+` \|", line)]
    assert len(rows) >= 10
    for row in rows:
        _, name, _, labels, examples, accuracy, random, _ = (cell.strip(" `") for cell in row.split("|"))
        distilled = DistilledSet.load(ROOT / "results" / name / "distilled.safetensors")
        assert (labels, examples) == (_kind_of_labels(distilled), str(distilled.size))
        assert accuracy == _told(distilled.header.score)
        beside = ROOT / "results" / name / "random" / "0.safetensors"
        assert random == (_told(DistilledSet.load(beside).header.score) if beside.exists() else "")


def test_the_table_under_one_budget_tells_the_cells_of_the_study() -> None:
    """Accuracies are those by the own program of a set, the second score of its cell; a dash is a cell not run."""
    text = (ROOT / "docs" / "how-to-choose.md").read_text()
    head, _, *rows = re.findall(
        r"^\|.*$", text.partition("**Under one budget.**")[2].partition("\nSo, with")[0], re.MULTILINE
    )
    benchmarks = re.findall(r"`([a-z0-9-]+)`", head)
    named = [[cell.strip(" `") for cell in row.split("|")] for row in rows]
    assert benchmarks == [each.key for each in BENCHMARKS]
    assert {name for _, name, *_ in named} == {row.name for row in ROWS}
    for _, name, _, *accuracies, _ in named:
        for benchmark, accuracy in zip(benchmarks, accuracies, strict=True):
            part = ROOT / "results" / "reference" / "parts" / f"{benchmark}-{name}.json"
            told = _told(json.loads(part.read_text())["scores"][1]) if part.exists() else "–"
            assert accuracy == told, (benchmark, name)


def _kind_of_labels(distilled: DistilledSet) -> str:
    of_teacher = isinstance(distilled.header.labels, OfTeacher)
    return "hard" if distilled.hard else "teacher" if of_teacher else "learned"


def test_a_set_with_labels_of_a_teacher_at_use_has_it_beside_it() -> None:
    sets = {folder: DistilledSet.load(folder / "distilled.safetensors") for folder in RESULTS}
    taught = {folder: each for folder, each in sets.items() if isinstance(each.header.labels, Teacher)}
    assert taught
    for folder, distilled in taught.items():
        assert with_teacher(distilled, str(folder / "teacher.safetensors")).teacher is not None


def _told(score: dict) -> str:
    return f"{score['mean']:.1%}"[:-1] + (f" ± {score['sd'] * 100:.1f}" if score["n"] > 1 else "")


def _settings(folder: Path) -> DataSettings:
    return from_dict(json.loads((folder / "config.json").read_text())["config"]).data


@pytest.mark.parametrize("data", dict.fromkeys(map(_settings, RESULTS)), ids=lambda data: f"{data.name}-{data.resize}")
def test_the_results_on_a_data_set_hold_on_some_of_their_networks(
    data: DataSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One test for all sets of a data set, because reading it takes ten seconds."""
    if data.name != "digits" and not (DATA / data.name).is_dir():
        pytest.skip(f"{data.name} is not in {DATA} (set DATASTILL_DATA)")
    monkeypatch.setenv("DATASTILL_DATA", str(DATA))
    loaded = load_data(data)
    for folder in (each for each in RESULTS if _settings(each) == data):
        distilled = DistilledSet.load(folder / "distilled.safetensors")
        if distilled.program.length(distilled.size) > LONG:
            continue  # minutes for one network: `datastill verify`
        if distilled.header.network == "alexcifarnet":
            _must_hold_on_some_images(distilled, loaded)
        else:
            found = verify(distilled, loaded, networks=min(3, distilled.header.score["n"]))
            assert found["holds"], (folder.name, found)


def _must_hold_on_some_images(distilled: DistilledSet, data: RealData) -> None:
    """All images take this wide network half a minute: a part of them, and the deviation that drawing them gives."""
    claimed = distilled.header.score["accuracies"][0]
    found = score(distilled, data, Protocol(networks=1), images=IMAGES_OF_WIDE_NETWORKS)
    deviation = math.sqrt(claimed * (1 - claimed) / IMAGES_OF_WIDE_NETWORKS)
    assert abs(found.mean - claimed) < 3 * deviation


def test_the_targets_are_met() -> None:
    """The 2018 paper's numbers, and what is promised: see README."""
    scores = {folder.name: json.loads((folder / "score.json").read_text()) for folder in RESULTS}
    assert scores["digits"]["mean"] > scores["digits"]["baseline"]["best"]
    assert scores["digits"]["baseline"]["sets"] == 20
    assert scores["mnist-random"]["mean"] > 0.795
    assert scores["mnist-random"]["n"] == 200
    assert scores["mnist-random"]["images"] == scores["mnist-fixed"]["images"] == 10000
