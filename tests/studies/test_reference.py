"""The reference table: every method has its cells, what was stopped goes on, and what is missing is said."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from datastill.cli import main
from datastill.data import DataSettings, load_data
from datastill.errors import UserError
from datastill.loop import Stopped
from datastill.making import prepare
from datastill.methods import METHODS
from datastill.pretraining import PoolSettings
from datastill.program import PROGRAMS
from datastill.storage.files import write_json
from datastill.studies import STUDIES, draw, run
from datastill.studies.curves import EXAMPLES
from datastill.studies.published import HIGHEST
from datastill.studies.published import ROWS as PUBLISHED
from datastill.studies.reference import SPEED, Reference
from datastill.studies.reference_cells import make_set
from datastill.studies.reference_rows import BENCHMARKS, POOL_SECONDS, POOLS, ROWS, Benchmark

from ..toys import toy_config, toy_data

NOT_IN_THE_TABLE: dict[str, str] = {}
"""Methods without a row, each with the reason."""
RESULTS = Path(__file__).resolve().parents[2] / "results"
DIGITS = Benchmark(name="digits", title="Digits", data=DataSettings(name="digits"), ipc=1, mirror=False)
SMALL = "convnet(width=4,depth=1,norm=batch)"
ONE, TAUGHT, SURE = (
    replace(next(row for row in ROWS if row.name == name), network=SMALL, **changes)
    for name, changes in (
        ("distribution-matching", {"iterations": {1: 2}}),
        ("taught-random", {}),
        ("teacher-crops", {}),
    )
)
TEACHER: dict[str, Any] = {"network": SMALL, "epochs": 2, "snapshots": 2}
STUDY = Reference(
    benchmarks=(DIGITS,), rows=(ONE, TAUGHT, SURE), networks=2, network="mlp", unseen="mlp(width=16)",
    pools={"teacher": replace(POOLS["teacher"], **TEACHER)},
)  # fmt: skip


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs of three epochs instead of 300."""
    for name, program in PROGRAMS.items():
        monkeypatch.setitem(PROGRAMS, name, replace(program, order=program.order.with_epochs(3)))  # type: ignore[arg-type]


def lines(text: str, title: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(f"| {title}")]


def test_every_method_has_a_row_or_a_reason() -> None:
    assert {row.method.name for row in ROWS} | NOT_IN_THE_TABLE.keys() == METHODS.keys()
    taught = {row.method.name for row in ROWS if row.pool == "teacher"}
    assert taught == {name for name, kind in METHODS.items() if "teacher_labels" in kind.__dataclass_fields__}


def test_every_cell_has_settings_and_every_published_number_a_row() -> None:
    study = STUDIES["reference"]
    assert isinstance(study, Reference)
    keys, names = {each.key for each in BENCHMARKS}, {row.name for row in ROWS}
    assert keys == {"mnist-1", "mnist-10", "fashion-10", "cifar10-1", "cifar10-10"}
    assert PUBLISHED.keys() | HIGHEST.keys() <= keys
    assert {name for each in PUBLISHED.values() for name in each} <= names
    for row in ROWS:
        assert bool(row.method.rates()) == (row.iterations.keys() == row.each.keys() == {1, 10}), row.name
    assert "cifar10-10-average" not in study.cells, "there is one average of a class"
    json.dumps([study._about(part.name) for part in study.parts()])


def test_a_row_has_settings_that_its_method_takes(tmp_path: Path) -> None:
    """Nothing is distilled here: settings, networks and pools are checked as a run checks them before it begins."""
    pools = {kind: replace(each, epochs=2, count=1, snapshots=3, batch=512) for kind, each in POOLS.items()}
    study = Reference(benchmarks=(DIGITS, replace(DIGITS, ipc=10)), pools=pools)
    run(study, tmp_path, ["digits-teacher", "digits-experts"])
    data = load_data(DIGITS.data)
    for name, (benchmark, row) in study.cells.items():
        file = str(tmp_path / f"work/digits-{row.pool}.safetensors") if row.pool else ""
        method = prepare(study._config(benchmark, row, file), data).method
        assert method.name in name
        assert row.processor_seconds(benchmark.ipc) + POOL_SECONDS.get(row.pool, 0) < 1200 * SPEED


def test_a_stopped_study_goes_on_and_says_what_was_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, first = tmp_path / "study", ["digits-1-distribution-matching"]
    monkeypatch.setattr("datastill.run.final_score", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(Stopped):
        run(STUDY, folder, first)
    monkeypatch.undo()
    work = folder / "work/digits-1-distribution-matching"
    assert (work / "run/checkpoint.pt").exists()
    text = run(STUDY, folder, first).read_text()
    assert "1 of 1 parts to measure" in capsys.readouterr().err
    record = json.loads((folder / "parts/digits-1-distribution-matching.json").read_text())
    assert [each["protocol"]["network"] for each in record["scores"]] == [*[STUDY.network] * 2, STUDY.unseen]
    assert [each["protocol"]["program"] for each in record["scores"]] == ["shuffled-300", "own", "shuffled-300"]
    assert record["labels"] == "hard"
    assert record["peak_bytes"] > 10_000_000
    assert record["image_bytes"] == 10 * 64 * 4
    (row,) = lines(text, "distribution matching")
    mean, sd = (100 * record["scores"][0][name] for name in ("mean", "sd"))
    assert f"| {mean:.1f} ± {sd:.1f} |" in row
    (missing,) = lines(text, "random real images")
    assert missing == "| random real images | not run | – | – | – | – | – | – | – | – |"
    assert "1 of 5 parts were measured" in text
    (folder / "parts/digits-1-distribution-matching.json").unlink()
    monkeypatch.setattr("datastill.studies.reference_cells.score", None)  # nothing is measured again
    assert lines(run(STUDY, folder, first).read_text(), "distribution matching") == [row]
    for name, content in (("made", "[]"), ("made", "{}"), ("own", "3"), ("own", "{}")):
        whole = (work / f"{name}.json").read_text()
        (work / f"{name}.json").write_text(content)
        (folder / "parts/digits-1-distribution-matching.json").unlink(missing_ok=True)
        with pytest.raises(UserError, match=f"{name}.json: .*; delete this file, and measure it again"):
            run(STUDY, folder, first)
        (work / f"{name}.json").write_text(whole)


def test_parts_of_stored_images_have_a_group_of_their_own_and_cost_more() -> None:
    study = STUDIES["reference"]
    assert isinstance(study, Reference)
    seconds = {part.name: part.seconds for part in study.parts()}
    assert seconds["cifar10-10-decoded-distribution-matching"] > 2 * seconds["cifar10-10-distribution-matching"]
    measured = json.loads((RESULTS / "reference/parts/cifar10-10-taught-random.json").read_text())
    text = study.text({"cifar10-10-taught-random": measured})
    assert "Not run: no cell of this table. `datastill study reference --only mnist-1` measures it." in text
    plain, decoded = text.index("| *learned labels*"), text.index("| *hard labels, decoded: 4 parts in each")
    assert plain < decoded < text.index("| *learned labels, decoded")
    names = [row.name for row in ROWS if row.factor > 1]
    methods = [study._config(DIGITS, row).method for row in ROWS if row.name in names]
    assert {method.name: method.factor for method in methods} == {"distribution-matching": 2, "kernel-ridge": 2}  # type: ignore[attr-defined]


def test_a_teacher_is_trained_once_and_its_labels_have_groups_of_their_own(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    text = run(STUDY, folder, ["digits-1-taught", "digits-1-teacher-crops"]).read_text()
    records = {path.stem: json.loads(path.read_text()) for path in (folder / "parts").iterdir()}
    once, crops = records["digits-1-taught-random"], records["digits-1-teacher-crops"]
    assert (once["labels"], crops["labels"]) == ("teacher once", "teacher")
    assert once["pool_seconds"] == crops["pool_seconds"] > 0
    assert once["label_bytes"] == 10 * 10 * 4
    assert crops["label_bytes"] > 10 * 8 + 640 * 4, "the weights of the teacher count"
    shown = [line for line in text.splitlines() if line.startswith(("| *", "| random", "| whole images"))]
    groups = [line.split("|")[1].strip() for line in shown]
    assert groups[:5] == [
        "*hard labels*", "*labels that a teacher gave once, stored*", "random real images",
        "*labels of a teacher, of each batch*", "whole images that a teacher is sure of (RDED, factor 1)",
    ]  # fmt: skip
    before = (folder / "work/digits-teacher.safetensors").stat().st_mtime_ns
    text = run(STUDY, folder, ["digits-teacher", "digits-all-data"]).read_text()
    assert (folder / "work/digits-teacher.safetensors").stat().st_mtime_ns == before
    (whole,) = lines(text, "**all real images, few epochs**")
    assert "| 1 |" in whole
    record = json.loads((folder / "parts/digits-all-data.json").read_text())
    assert record["scores"][0]["mean"] > 0.3, "all real images teach something in two passes"


@pytest.mark.parametrize("begun", [False, True])
def test_scores_of_a_set_that_is_gone_are_not_those_of_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    class BeginsError(Exception):
        pass

    def distils(*_: object, **__: object) -> None:
        raise BeginsError

    monkeypatch.setattr("datastill.studies.reference_cells.distill", distils)
    scores, run_folder = tmp_path / "own.json", tmp_path / "run"
    write_json(scores, {})
    if begun:
        write_json(run_folder / "config.json", {})
    with pytest.raises(BeginsError):
        make_set(toy_config(), toy_data(), run_folder)
    assert scores.exists() == begun


def test_a_changed_setting_is_refused_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    run(STUDY, folder, ["digits-1-taught-random"])
    other = replace(ONE, iterations={1: 3})
    draw(replace(STUDY, rows=(other, TAUGHT)), folder)  # a cell that was not measured may change
    slow = replace(TAUGHT, method=replace(TAUGHT.method, program="shuffled-300"))
    with pytest.raises(UserError, match=r"digits-1-taught-random was measured .*method.program: shuffled-300-adam != "):
        run(replace(STUDY, rows=(ONE, slow)), folder)
    longer: dict[str, PoolSettings] = {"teacher": replace(STUDY.pools["teacher"], epochs=3)}
    with pytest.raises(UserError, match="other networks are trained first"):
        run(replace(STUDY, pools=longer), folder)
    with pytest.raises(UserError, match="holds a study of other settings"):
        run(replace(STUDY, networks=3), folder)


def test_parts_that_do_not_exist_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=r"unknown part 'digits-1-rand': did you mean"):
        run(STUDY, tmp_path / "study", ["digits-1-rand"])
    with pytest.raises(UserError, match="leave --only out"):
        run(EXAMPLES, tmp_path / "examples", ["x"])
    assert main(["study", "reference", "--only", "mnist", "mnist-2", "--out", str(tmp_path / "none")]) == 2
    assert "unknown part 'mnist-2'" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
