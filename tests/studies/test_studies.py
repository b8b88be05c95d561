"""Studies: nothing is measured twice, what is stopped goes on, and the sections say what was measured."""

import json
import shutil
import statistics
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from datastill import DistilledSet, distill
from datastill.bundled import load
from datastill.cli import main
from datastill.config import Config
from datastill.data import DataSettings
from datastill.errors import UserError
from datastill.evaluation import Grid, Protocol
from datastill.loop import LoopSettings, Stopped
from datastill.methods.dataset_distillation import DatasetDistillation
from datastill.networks.pool import Pool
from datastill.networks.start import Fixed, Pretrained, Random
from datastill.objectives import Misread
from datastill.pretraining import PoolSettings
from datastill.recipes import recipe
from datastill.studies import STUDIES, OnSets, Study, collect, draw, run
from datastill.studies.adaptation import Adaptation
from datastill.studies.base import Part, Records
from datastill.studies.crops import Crops
from datastill.studies.curves import Point, Sweep
from datastill.studies.existing_sets import Along, Mismatch
from datastill.studies.imagenet import Features
from datastill.studies.poisoning import Poisoning
from datastill.studies.table import Table
from datastill.studies.transfer import Transfer
from datastill.training import Unroll

pytestmark = pytest.mark.usefixtures("operations_not_counted")

RESULTS = Path(__file__).resolve().parents[2] / "results"


@dataclass(frozen=True, kw_only=True)
class Counted(Study):
    """Three parts, of which one may fail; keeps what was measured."""

    name: str = "counted"
    title: str = "Counted"
    fails_at: int = 99
    measured: list[int] = field(default_factory=list)

    def settings(self) -> dict[str, Any]:
        return {}

    def parts(self) -> list[Part]:
        return [Part(name=f"part-{i}", seconds=1.0, measure=lambda _, i=i: self.measure(i)) for i in range(3)]

    def measure(self, i: int) -> dict[str, Any]:
        if i == self.fails_at:
            raise KeyboardInterrupt
        self.measured.append(i)
        return {"value": i}

    def text(self, records: Records) -> str:
        return f"## {self.title}\n\n![it](figure.svg)\n\n{[record['value'] for record in records.values()]}\n"


def test_an_interrupted_study_goes_on_and_measures_nothing_twice(tmp_path: Path, capsys) -> None:
    folder, first, second = tmp_path / "study", Counted(fails_at=1), Counted()
    with pytest.raises(KeyboardInterrupt):
        run(first, folder)
    assert "3 of 3 parts to measure, about 3 s on two CPU cores" in capsys.readouterr().err
    assert run(second, folder).read_text().endswith("[0, 1, 2]\n")
    assert "2 of 3 parts to measure (1 are done), about 2 s" in capsys.readouterr().err
    assert (first.measured, second.measured) == ([0], [1, 2])
    third = Counted()
    run(third, folder)
    assert third.measured == []


def test_a_folder_belongs_to_one_study_of_one_setting(tmp_path: Path) -> None:
    run(Counted(), tmp_path / "study")
    with pytest.raises(UserError, match="holds a study of other settings; give another folder"):
        run(Counted(name="other"), tmp_path / "study")
    with pytest.raises(UserError, match="already holds other files"):
        run(Counted(), tmp_path)


def test_a_part_that_is_missing_is_named(tmp_path: Path) -> None:
    run(Counted(), tmp_path / "study")
    (tmp_path / "study/parts/part-1.json").unlink()
    with pytest.raises(UserError, match=r"part-1\.json"):
        draw(Counted(), tmp_path / "study")


SWEEP = Sweep(
    name="steps-of-digits",
    title="Steps",
    axis="steps",
    recipe="digits",
    iterations=2,
    networks=2,
    points=[
        Point(line=line, at=ipc, ipc=ipc, steps=ipc, epochs=1, start=start)
        for line, start in (("fixed", Fixed()), ("random", Random()))
        for ipc in (1, 2)
    ],
)


def test_a_sweep_distils_each_point_and_draws_all(tmp_path: Path) -> None:
    text = run(SWEEP, tmp_path / "study").read_text()
    record = json.loads((tmp_path / "study/parts/random-2.json").read_text())
    assert record["config"]["method"]["steps"] == 2
    assert record["config"]["start"] == {"kind": "random", "initialiser": "xavier"}
    assert record["score"]["n"] == 2
    assert f"{100 * record['score']['mean']:.1f} ± {100 * record['score']['sd']:.1f}" in text
    assert "![Steps](figure.svg)" in text
    svg = (tmp_path / "study/figure.svg").read_text()
    assert svg.startswith("<?xml")
    assert "random" in svg


def test_a_sweep_goes_on_inside_a_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A point that was begun is resumed, not begun anew, in a folder that is occupied."""
    folder, short = tmp_path / "study", replace(SWEEP, points=SWEEP.points[:1])
    monkeypatch.setattr("datastill.run.optimise", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(Stopped):
        run(short, folder)
    monkeypatch.undo()
    assert (folder / "work/fixed-1/config.json").exists()
    text = run(short, folder).read_text()
    assert text.partition("Made by")[0] == run(short, tmp_path / "whole").read_text().partition("Made by")[0]


def test_a_table_has_every_baseline_beside_ours(tmp_path: Path) -> None:
    table = Table(
        name="table-digits", title="Digits", data="digits", random="digits", fixed="digits", sets=2, networks=3,
        choose=Grid(step_sizes=(0.1,), epochs=(1,), networks=2, images=50), features="mlp", results=RESULTS,
    )  # fmt: skip
    text = run(table, tmp_path / "study").read_text()
    for title in table.titles.values():
        assert f"| {title} |" in text
    row = next(line for line in text.splitlines() if line.startswith("| random real images"))
    assert "| 3 x 2 |" in row
    assert "[+" in row, "ours is better, and the interval excludes zero"
    records = {path.stem for path in (tmp_path / "study/parts").iterdir()}
    assert records == set(table.titles)
    assert len(records) == 10
    chosen = json.loads((tmp_path / "study/parts/random.json").read_text())["chosen"]
    assert chosen["step_size"] == pytest.approx(0.1)


def test_a_set_is_studied_on_other_networks_beside_real_images(tmp_path: Path) -> None:
    grid = Grid(step_sizes=(0.1,), epochs=(1,), networks=1, images=50)
    study = Transfer(recipe="digits", on=("mlp", "mlp(depth=1,width=16)"), sets=2, choose=grid, results=RESULTS)
    text = run(study, tmp_path / "study").read_text()
    assert "| **mlp** (made for it) |" in text
    record = json.loads((tmp_path / "study/parts/mlp(depth=1,width=16).json").read_text())
    ours, random, _ = record["rows"]
    assert (ours["sets"], random["sets"], random["n"]) == (1, 2, 10)
    assert f"{100 * random['difference']['mean']:+.1f} [" in text


@pytest.mark.usefixtures("one_program_to_choose")
def test_networks_that_come_with_weights_are_adapted_by_sets_and_by_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small network that comes with weights, on digits."""
    network = "tests.pretrained:tiny(adapt=classifier)"
    config = replace(
        recipe("digits"), network=network, start=Pretrained(), random_sets=0,
        loop=LoopSettings(iterations=20, validate_every=10),
    )  # fmt: skip
    monkeypatch.setattr("datastill.studies.imagenet.recipe", lambda _: config)
    monkeypatch.setattr("datastill.studies.needed.named_recipe", lambda _: config)  # the recipe names the module
    distill(config, tmp_path / "results/imagenette-alexnet")
    study = Features(
        kinds=("random", "average"),
        sets=2,
        all_data={"classifier": {"epochs": 10, "rate": 0.03}},
        results=tmp_path / "results",
    )
    text = run(study, tmp_path / "study").read_text()
    assert "| **distilled** | 1 x 1 |" in text
    assert "| random real images | 1 x 2 |" in text
    accuracies = {
        path.stem: json.loads(path.read_text())["scores"][0]["mean"] for path in (tmp_path / "study/parts").iterdir()
    }
    assert accuracies["all-data-classifier"] > accuracies["average"] + 0.1


def test_crops_stand_beside_random_real_images_under_the_labels_of_one_teacher(tmp_path: Path) -> None:
    network = "tests.pretrained:tiny(adapt=classifier)"
    teacher = PoolSettings(
        data=DataSettings(name="digits"), network=network, start=Pretrained(), count=1, held_out=0, epochs=10, rate=0.03
    )
    study = Crops(teacher=teacher, network=network, epochs={1: 60, 2: 60}, sets={1: 1, 2: 2})
    text = run(study, tmp_path / "study").read_text()
    parts = {path.stem: json.loads(path.read_text()) for path in (tmp_path / "study/parts").iterdir()}
    crops, random = ([each["mean"] for each in parts[f"{kind}-2"]["scores"]] for kind in ("crops", "random"))
    assert f"{100 * (statistics.fmean(crops) - statistics.fmean(random)):+.1f} [" in text
    assert f"{100 * parts['teacher']['accuracy']:.1f} % of the validation images" in text
    assert crops[0] != crops[1], "sets are made from different seeds"


def test_sets_that_are_there_are_studied(tmp_path: Path) -> None:
    text = run(Mismatch(recipe="digits", networks=2, results=RESULTS), tmp_path / "one").read_text()
    assert "**xavier** (made for it)" in text
    assert "| kaiming |" in text
    text = run(Along(recipes=("digits",), results=RESULTS), tmp_path / "two").read_text()
    assert "`results/digits`: 10 networks" in text


def test_only_a_set_with_the_network_of_its_recipe_is_trusted(tmp_path: Path) -> None:
    """A set in the folder of results may come from a stranger: its network is not imported unless the user says so."""
    study = Along(recipes=("imagenette-alexnet",), results=RESULTS)
    assert study.find_set("imagenette-alexnet").trusted  # the recipe names the weights file
    found = load(RESULTS / "digits")
    (tmp_path / "digits").mkdir()
    replace(found, header=replace(found.header, network="tests.pretrained:tiny")).save(
        tmp_path / "digits/distilled.safetensors"
    )
    stranger = Mismatch(recipe="digits", networks=2, results=tmp_path)
    assert not stranger.find_set("digits").trusted
    with pytest.raises(UserError, match=r"runs code of the module 'tests.pretrained'.*--trust"):
        run(stranger, tmp_path / "one")
    assert replace(stranger, trust=True).find_set("digits").trusted
    assert replace(stranger, trust=True).settings() == stranger.settings()


def test_all_is_collected_on_one_page(tmp_path: Path) -> None:
    results = tmp_path / "results"
    run(Counted(), results / "counted")
    (results / "digits").mkdir()
    (results / "digits/distilled.safetensors").write_bytes((RESULTS / "digits/distilled.safetensors").read_bytes())
    text = collect(results, tmp_path / "docs/page.md").read_text()
    assert (
        "| `digits` | 91.66 ± 2.2 | 200 | 10 | hard | 359 test images of digits | mlp, random initial weights" in text
    )
    assert "![it](../results/counted/figure.svg)" in text
    assert main(["report", str(results), "--to", str(tmp_path / "again.md")]) == 0
    assert "(results/counted/figure.svg)" in (tmp_path / "again.md").read_text()


def test_random_sets_in_the_folder_of_a_set_are_compared_with_it(tmp_path: Path) -> None:
    """The set itself in their place is better by nothing, whatever network."""
    ours = RESULTS / "digits/distilled.safetensors"
    (tmp_path / "results/digits/random").mkdir(parents=True)
    for place in ("distilled.safetensors", "random/0.safetensors"):
        (tmp_path / "results/digits" / place).write_bytes(ours.read_bytes())
    text = collect(tmp_path / "results", tmp_path / "page.md").read_text()
    assert "| `digits` | hard | 91.7 ± 2.2 | 91.7 ± 2.2 | 200 x 1 | +0.0 [+0.0, +0.0] |" in text


@pytest.mark.usefixtures("one_program_to_choose")
def test_networks_of_one_data_set_are_adapted_to_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All rows are the networks held out, and the pool is trained again if it is lost."""
    monkeypatch.setattr("datastill.pretraining.faster", lambda *_: 1)  # which is faster decides how weights are rounded
    source = PoolSettings(
        data=DataSettings(name="digits", seed=1), network="mlp", count=3, held_out=2, epochs=1, rate=1e-4, snapshots=2
    )
    method = DatasetDistillation(ipc=1, steps=1, epochs=2, real_batch=64, step_size=0.1, unroll=Unroll(networks=2))
    target = Config(network="mlp", method=method, loop=LoopSettings(iterations=4, validate_every=2))
    study = Adaptation(
        name="adaptation", title="Digits to digits", source=source, target=target, sets=2, fine_tuning=3,
        paper=("1", "2", "3"), onward=1,
    )  # fmt: skip
    text = run(study, tmp_path / "study").read_text()
    assert "| no adaptation | 2 x 1 |" in text
    assert "| **distilled, one known pretrained network** | 1 x 1 |" in text
    assert "| random real images | 2 x 2 |" in text
    records = {path.stem: json.loads(path.read_text()) for path in (tmp_path / "study/parts").iterdir()}
    before, tuned = (records[name]["scores"][0]["mean"] for name in ("before", "fine-tuning"))
    assert tuned > before, "trained on all of the target"
    held_out = Pool.load(tmp_path / "study/work/pool.safetensors").held_out
    assert len(held_out) == 2
    kept = DistilledSet.load(tmp_path / "study/random-pretrained.safetensors")
    assert kept.header.score == records["random-pretrained"]["scores"][0]
    assert str(kept.header.start).endswith("@1+")
    assert "at snapshots 1 to 2\nof its training" in text
    (tmp_path / "study/parts/average.json").unlink()
    (tmp_path / "study/work/pool.safetensors").unlink()
    run(study, tmp_path / "study")
    assert torch.equal(Pool.load(tmp_path / "study/work/pool.safetensors").held_out, held_out)


def test_an_attack_is_measured_beside_relabelled_images_and_against_defences(tmp_path: Path) -> None:
    study = Poisoning(
        name="attack", title="Attack: digits",
        source=PoolSettings(
            data=DataSettings(name="digits"), network="mlp", count=3, held_out=2, epochs=20, rate=0.003
        ),
        target=Config(
            network="mlp", objective=Misread(3, 8),
            method=DatasetDistillation(ipc=1, steps=1, epochs=1, unroll=Unroll(networks=3), real_batch=128,
                                       step_size=0.5, examples_rate=0.05, step_sizes_rate=0.05),
            loop=LoopSettings(iterations=80, validate_every=40),
        ),
        sets=2, smaller=(0.01,), clips=(1e-3,), clean=(20,),
    )  # fmt: skip
    text = run(study, tmp_path / "study").read_text()
    assert "| random real images, relabelled | 2 x 2 |" in text
    assert "| **distilled, one known pretrained network** | 1 x 1 |" in text
    records = {path.stem: json.loads(path.read_text()) for path in (tmp_path / "study/parts").iterdir()}
    learned = records["random-pretrained"]["attacks"][0]
    misread = statistics.fmean(learned["after"]["misread"])
    assert misread > statistics.fmean(learned["before"]["misread"]) + 0.3
    for name, one in records["defences"]["defences"].items():
        assert statistics.fmean(one["after"]["misread"]) < misread, name
    nearly_none = records["defences"]["defences"]["gradients clipped to a norm of 0.001"]
    assert nearly_none["after"]["overall"] == pytest.approx(nearly_none["before"]["overall"], abs=0.01)


def test_an_empty_folder_has_no_results(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no result in"):
        collect(tmp_path, tmp_path / "page.md")


def test_studies_have_names_of_their_own_and_say_their_cost() -> None:
    for name, study in STUDIES.items():
        assert study.name == name
        parts = study.parts()
        assert len({part.name for part in parts}) == len(parts)
        assert all(part.seconds > 0 for part in parts)
        json.dumps(study.settings())


def test_another_number_of_iterations_is_another_study() -> None:
    assert replace(SWEEP, iterations=3).settings() != SWEEP.settings()


def test_an_unknown_study_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "stepps"]) == 2
    assert "unknown study 'stepps': did you mean 'steps'?" in capsys.readouterr().err


def test_sets_that_a_study_makes_first_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["list", "studies", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["studies"]
    for name, study in STUDIES.items():
        missing = study.missing() if isinstance(study, OnSets) else []
        assert listed[name] == study.title + (f" (first distils {', '.join(missing)})" if missing else "")
    assert STUDIES["table-mnist-long"].missing() == [], "mnist-100 comes with the package"
    assert STUDIES["table-mnist"].missing() == ["mnist-random", "mnist-fixed"]


def test_a_study_distils_the_sets_that_are_missing_where_it_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In an empty folder, without a checkout; what was stopped goes on."""
    monkeypatch.chdir(tmp_path)
    short = replace(
        recipe("digits"), random_sets=0, loop=LoopSettings(iterations=1), protocol=Protocol(networks=2)
    )  # fmt: skip
    monkeypatch.setattr("datastill.studies.needed.named_recipe", lambda _: short)
    study = Along(recipes=("digits",))
    assert study.missing() == ["digits"]
    text = run(study, Path("results/along")).read_text()
    assert "`results/digits`: 2 networks" in text
    made = Path("results/digits/distilled.safetensors").read_bytes()
    run(study, Path("results/along"))
    assert Path("results/digits/distilled.safetensors").read_bytes() == made


def test_a_section_about_sets_that_are_missing_says_how_they_are_made(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no set of the recipe mnist-fixed in .*: datastill study along-the-program"):
        replace(STUDIES["along-the-program"], results=tmp_path).find_set("mnist-fixed")


def test_sets_in_the_folder_of_results_come_before_those_of_the_package(tmp_path: Path) -> None:
    another = RESULTS / "mnist-random" / "distilled.safetensors"
    (tmp_path / "mnist-random-long").mkdir()
    shutil.copy(another, tmp_path / "mnist-random-long")
    study = Mismatch(recipe="mnist-random-long", results=tmp_path)
    assert study.find_set("mnist-random-long").header.config["recipe"] == "mnist-random"
    of_the_package = replace(study, results=Path("none")).find_set("mnist-random-long")
    assert of_the_package.header.config["recipe"] == "mnist-random-long"


@pytest.mark.parametrize("changed", ["null", "[]", "{}", '{"score": {"mean": "x"}}'])
def test_a_part_that_was_changed_is_refused_in_one_line(tmp_path: Path, changed: str) -> None:
    study = STUDIES["initialisers"]
    for part in study.parts():
        path = tmp_path / "parts" / f"{part.name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(changed)
    with pytest.raises(UserError, match=r"; delete .* measure .* again"):
        draw(study, tmp_path)
