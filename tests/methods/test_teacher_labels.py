"""Labels of a teacher, given once or at use: what they are, what their bytes are, and which teachers are refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from datastill import DistilledSet, Protocol, UserError, distill, score
from datastill.artifact import PerEpoch, Teacher, TeacherOnce
from datastill.evaluation import check_command, compare
from datastill.label_source import teacher_sha256
from datastill.loop import LoopSettings
from datastill.making import make
from datastill.methods import must_take
from datastill.methods.selection import Average, KMeans, RandomReal
from datastill.methods.teacher_labels import TeacherLabels
from datastill.networks.pool import Pool
from datastill.networks.teacher import read_teacher
from datastill.objectives import Misread
from datastill.program import PROGRAMS, CrossEntropy, Divergence, Program, Shuffled

from ..toys import toy_config, toy_data, toy_set, toy_task

DATA = toy_data()


@pytest.fixture
def name(experts: Path) -> str:
    """An early snapshot of a network."""
    return f"{experts}#1@1"


def logits(name: str, inputs: torch.Tensor) -> torch.Tensor:
    module = read_teacher(name, shape=DATA.shape, classes=DATA.classes)
    with torch.no_grad():
        return module(inputs)


@pytest.mark.parametrize("kind", [RandomReal(ipc=3), KMeans(ipc=2), Average()])
def test_labels_given_once_are_the_probabilities_of_the_teacher(kind: RandomReal, name: str) -> None:
    task, plain = toy_task(), kind
    method = replace(kind, teacher_labels=TeacherLabels(teacher=name))
    must_take(method, task)
    made, hard = method.result(task, method.init(task)), plain.result(task, plain.init(task))
    assert torch.equal(made.inputs, hard.inputs), "the images do not depend on the labels"
    torch.testing.assert_close(made.targets, logits(name, made.inputs).softmax(1))
    assert isinstance(made.program.loss, CrossEntropy)
    assert isinstance(made.labels, TeacherOnce)
    module = read_teacher(name, shape=DATA.shape, classes=DATA.classes)
    assert made.labels.sha256 == teacher_sha256(module)


def test_at_a_temperature_the_loss_is_the_divergence_from_the_logits(name: str) -> None:
    task = toy_task()
    method = RandomReal(ipc=3, teacher_labels=TeacherLabels(teacher=name, temperature=4.0))
    made = method.result(task, method.init(task))
    torch.testing.assert_close(made.targets, logits(name, made.inputs))
    assert made.program.loss == Divergence(temperature=4.0)


def test_without_augmentation_labels_at_use_are_those_given_once(name: str) -> None:
    def made(labelled: Any) -> DistilledSet:
        labels = TeacherLabels(teacher=name, labelled=labelled, temperature=2.0)
        config = toy_config(method=RandomReal(ipc=2, teacher_labels=labels), loop=LoopSettings())
        return make(config, DATA, tune=False)

    once, at_use = made("once"), made("at-use")
    assert isinstance(at_use.header.labels, Teacher)
    assert check_command(at_use, Path("a")) == f"datastill verify a --teacher '{name}' --data FOLDER"
    protocol = Protocol(networks=2, epochs=5)
    assert score(once, DATA, protocol).accuracies == score(at_use, DATA, protocol).accuracies
    stored = at_use.with_stored_labels()
    assert stored.header.labels == once.header.labels
    assert torch.equal(stored.targets, once.targets)


def test_a_run_stores_the_labels_and_needs_no_teacher_afterwards(name: str, tmp_path: Path) -> None:
    method = RandomReal(ipc=2, teacher_labels=TeacherLabels(teacher=name))
    config = toy_config(method=method, loop=LoopSettings())
    distilled = distill(config, tmp_path / "run", data=DATA)
    found = DistilledSet.load(tmp_path / "run")
    assert score(found, DATA, Protocol(networks=3)).accuracies == distilled.header.score["accuracies"]
    (row,) = compare({"random": [found]}, DATA, Protocol(networks=1))
    assert row.labels == "teacher once"
    (row,) = compare({"random": [found]}, DATA, Protocol(networks=1, labels="hard"))
    assert row.labels == "hard"


def test_random_sets_beside_a_set_have_its_labels(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A random set of the seed of the run is the set itself."""
    monkeypatch.setitem(PROGRAMS, "shuffled-300", Program(order=Shuffled(epochs=3, batch=6, step_size=0.1)))
    for labelled in ("once", "at-use"):
        labels = TeacherLabels(teacher=name, labelled=labelled, temperature=4.0)
        method = RandomReal(ipc=2, program="shuffled-300", teacher_labels=labels)
        config = toy_config(method=method, loop=LoopSettings(), random_sets=1)
        found = distill(config, tmp_path / labelled, data=DATA).header.score
        assert found["baseline"]["accuracies"] == [found["mean"]]


def test_the_bytes_of_labels_are_counted() -> None:
    one = toy_set(DATA)
    soft = replace(one, targets=torch.full((3, 3), 1 / 3))
    many = replace(one, targets=torch.full((5, 3, 3), 1 / 3), header=replace(one.header, labels=PerEpoch()))
    images = one.inputs.numel() * 4 + one.step_sizes.numel() * 4
    assert (one.nbytes, soft.nbytes, many.nbytes) == (images + 3 * 8, images + 9 * 4, images + 45 * 4)


def test_a_run_goes_on_with_its_teacher_only(name: str) -> None:
    task = toy_task()
    planned = RandomReal(ipc=2, teacher_labels=TeacherLabels(teacher=name)).planned(task, 1)
    must_take(planned, task)
    labels = replace(planned.teacher_labels, teacher=name.replace("@1", "@2"))
    with pytest.raises(UserError, match=r"@2 has weights of SHA-256 .* but the labels come from a teacher"):
        must_take(replace(planned, teacher_labels=labels), task)


def test_what_cannot_give_the_labels_is_refused(name: str, tmp_path: Path) -> None:
    for file, why in (("nowhere", "there is no teacher at nowhere"), (name.replace("#1@1", ""), "has 2 networks"),
                      (name.replace("@1", "@9"), "has no snapshot 9")):  # fmt: skip
        with pytest.raises(UserError, match=why):
            must_take(RandomReal(teacher_labels=TeacherLabels(teacher=file)), toy_task())
    method = RandomReal(teacher_labels=TeacherLabels(teacher=name))
    with pytest.raises(UserError, match="labels of true classes, but the objective is misread"):
        must_take(method, replace(toy_task(), objective=Misread(0, 2)))
    whole = Pool.load(name.partition("#")[0])
    header = {key: value for key, value in whole.header.items() if key not in ("snapshots", "along")}
    other = replace(whole, header={**header, "class_names": ["2", "1", "0"]}, snapshots=None)
    other.save(tmp_path / "other")
    with pytest.raises(UserError, match="was trained on the classes 2, 1, 0, but the data has 0, 1, 2"):
        must_take(RandomReal(teacher_labels=TeacherLabels(teacher=f"{tmp_path / 'other'}#1")), toy_task())


def test_settings_without_effect_are_refused() -> None:
    for changed in ({"labelled": "at-use"}, {"temperature": 2.0}):
        with pytest.raises(UserError, match="has no effect without a teacher; name one, or leave it out"):
            RandomReal(teacher_labels=TeacherLabels(**changed))
    with pytest.raises(UserError, match=r"temperature is 0\.0, but must be above 0"):
        TeacherLabels(temperature=0.0)
