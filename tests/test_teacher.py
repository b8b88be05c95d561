"""Teachers: a network of a pool, or a file of weights, gives the labels of a set wherever the set is used."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from datastill import DistilledSet, Protocol, UserError, distill, score
from datastill.artifact import Header, Teacher
from datastill.cli import main
from datastill.data import load_data
from datastill.evaluation import with_teacher
from datastill.label_source import teacher_sha256
from datastill.loop import LoopSettings
from datastill.methods import Method, OuterRate, State, Task
from datastill.networks import build
from datastill.networks.pool import Pool
from datastill.networks.start import Random
from datastill.networks.teacher import architecture, read_teacher
from datastill.pretraining import PoolSettings, pretrain
from datastill.program import AUGMENTATIONS, PROGRAMS, Divergence, Program, Shuffled
from datastill.report.page import snippet
from datastill.synthetic import SyntheticData

from .sets import ordered
from .toys import toy_config, toy_data

DATA = toy_data()
WITH_STATISTICS = "convnet(width=4,depth=1,norm=batch)"
SETTINGS = PoolSettings(network=WITH_STATISTICS, count=2, held_out=1, epochs=2, batch=16, rate=0.01, snapshots=2)
DIGITS = load_data("digits")


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("teacher") / "pool.safetensors"
    pretrain(SETTINGS, DATA, path)
    return path


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pool of one network for digits, made by the command line."""
    path = tmp_path_factory.mktemp("teacher") / "digits.safetensors"
    words = ["pretrain", "digits", "--network", "mlp(width=8,depth=1)", "--count", "1", "--held-out", "0"]
    assert main([*words, "--epochs", "2", "--snapshots", "2", "--out", str(path)]) == 0
    return path


def of_digits(file: Path, name: str, **changes: object) -> DistilledSet:
    """A set of twenty digits with labels of the teacher called `name`, saved to a file."""
    network = "mlp(width=8,depth=1)"
    module = read_teacher(name, network=network, shape=DIGITS.shape, classes=10)
    distilled = DistilledSet(
        inputs=DIGITS.normalise(DIGITS.train.images[:20]),
        targets=DIGITS.train.labels[:20],
        program=replace(ordered(torch.full((2, 1), 0.1)), **changes),
        header=Header(
            data="digits",
            class_names=DIGITS.class_names,
            space=DIGITS.space,
            network="mlp(width=4)",
            start=Random(),
            labels=Teacher(sha256=teacher_sha256(module), network=network, where="datastill pretrain digits"),
        ),
    ).with_teacher(module)
    distilled = distilled.with_score(score(distilled, DIGITS, Protocol(networks=2)).as_dict())
    distilled.save(file)
    return distilled


def network() -> object:
    return build(WITH_STATISTICS, shape=DATA.shape, classes=DATA.classes)


def of(name: str) -> nn.Module:
    return read_teacher(name, network=WITH_STATISTICS, shape=DATA.shape, classes=DATA.classes)


@pytest.mark.parametrize("snapshot", [None, 0, 1, 2])
def test_a_network_of_a_pool_answers_as_it_did_when_its_accuracy_was_measured(pool: Path, snapshot: int | None) -> None:
    found, whole = of(f"{pool}#1" + ("" if snapshot is None else f"@{snapshot}")), Pool.load(pool)
    images = DATA.normalise(DATA.validation.images)
    predict = network().predictor(whole.weights(1, snapshot), DATA.normalise(DATA.train.images))
    with torch.no_grad():
        torch.testing.assert_close(found(images), predict(images), rtol=1e-4, atol=1e-4)
        each = [found(image[None]) for image in images[:3]]
    torch.testing.assert_close(torch.cat(each), predict(images)[:3], rtol=1e-4, atol=1e-4)
    if snapshot in (None, 2):
        accuracy = (found(images).argmax(1) == DATA.validation.labels).double().mean()
        assert float(accuracy) == pytest.approx(whole.header["accuracies"]["training"][1], abs=0.02)


def test_a_file_of_its_weights_is_that_teacher(pool: Path, tmp_path: Path) -> None:
    found = of(f"{pool}#0@1")
    save_file(found.state_dict(), tmp_path / "a#0@1.safetensors")
    torch.save(found.state_dict(), tmp_path / "a.pt")
    for name in ("a#0@1.safetensors", "a.pt"):
        assert teacher_sha256(of(str(tmp_path / name))) == teacher_sha256(found)
    assert teacher_sha256(of(f"{pool}#1@1")) != teacher_sha256(found)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("{pool}", "has 2 networks to distil with; name the one that is the teacher, such as .*#0"),
        ("{pool}#2", "so 0 to 1 can be named, not 2"),
        ("{pool}#0@3", "has no snapshot 3; it has 0 to 2"),
        ("{weights}#0", "is no pool, so it has no numbered networks or snapshots; give the teacher as"),
        ("{weights}", r'do not fit the teacher .*Missing key\(s\) in state_dict: "0.bias".*; give the weights of this'),
        ("{cut}", "cut.safetensors is not a whole safetensors file"),
        ("nowhere.safetensors#0", "there is no teacher at nowhere.safetensors; to make one: datastill pretrain"),
        ("{pool}#first", "names no network"),
    ],
)
def test_what_is_no_teacher_is_refused(pool: Path, tmp_path: Path, name: str, why: str) -> None:
    weights = tmp_path / "weights.safetensors"
    save_file({"0.weight": torch.zeros(1)}, weights)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(pool.read_bytes()[:2000])
    with pytest.raises(UserError, match=why):
        of(name.format(pool=pool, weights=weights, cut=cut))


def test_a_pool_without_statistics_is_no_teacher_with_batch_normalisation(pool: Path, tmp_path: Path) -> None:
    whole = Pool.load(pool)
    header = {name: value for name, value in whole.header.items() if name != "statistics"}
    replace(whole, header=header, statistics={}).save(tmp_path / "old")
    with pytest.raises(UserError, match=r"no running statistics of batch normalisation .* pretrain it again"):
        of(f"{tmp_path / 'old'}#0")


def test_every_command_takes_the_teacher(teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    file = tmp_path / "set.safetensors"
    of_digits(file, f"{teacher}@1")
    commands: dict[str, Callable[[str], list[str]]] = {
        "evaluate": lambda name: ["evaluate", str(file), "--networks", "2", "--teacher", name],
        "verify": lambda name: ["verify", str(file), "--teacher", name],
        "pack": lambda name: ["pack", str(file), "--to", str(tmp_path / "small.safetensors"), "--teacher", name],
        "export": lambda name: [
            "export",
            str(file),
            "--kind",
            "npz",
            "--to",
            str(tmp_path / "a.npz"),
            "--teacher",
            name,
        ],
    }
    for words in commands.values():
        for name, why in (
            ("", "get it from datastill pretrain digits"),
            (str(teacher), "come from weights of SHA-256"),
        ):
            assert main(words(name)) == 2
            assert why in " ".join(capsys.readouterr().err.split())
        assert main(words(f"{teacher}@1")) == 0
    small = DistilledSet.load(tmp_path / "small.safetensors")
    assert isinstance(small.header.labels, Teacher)
    assert score(with_teacher(small, f"{teacher}#0@1"), DIGITS, Protocol(networks=2)).n == 2


@pytest.mark.parametrize("loss", [{}, {"loss": Divergence(temperature=2.0)}])
def test_an_export_holds_the_labels_that_the_teacher_gives(teacher: Path, tmp_path: Path, loss: dict) -> None:
    distilled = of_digits(tmp_path / "set.safetensors", str(teacher), **loss)
    stored = distilled.with_stored_labels()
    assert score(stored, DIGITS, Protocol(networks=2)).accuracies == distilled.header.score["accuracies"]
    words = ["export", str(tmp_path / "set.safetensors"), "--kind", "npz", "--teacher", str(teacher)]
    assert main([*words, "--to", str(tmp_path / "a.npz")]) == 0
    found = np.load(tmp_path / "a.npz")
    logits = distilled.teacher(distilled.inputs).detach()
    np.testing.assert_allclose(found["targets"], logits if loss else logits.softmax(1), rtol=1e-4, atol=1e-5)
    assert json.loads(str(found["program.json"]))["label_kind"] == "soft"


def test_labels_that_are_other_ones_in_each_step_are_not_stored(teacher: Path, tmp_path: Path) -> None:
    changed = {"augmentation": AUGMENTATIONS["siamese-no-flip"]}
    distilled = of_digits(tmp_path / "set.safetensors", str(teacher), **changed)
    with pytest.raises(UserError, match="the teacher gives other labels in each step; use the set itself"):
        distilled.with_stored_labels()


def test_a_teacher_that_no_set_needs_is_refused(teacher: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["evaluate", "mnist-10", "--teacher", str(teacher)]) == 2
    assert "has no effect: the labels are stored in the set" in " ".join(capsys.readouterr().err.split())


@dataclass(frozen=True, kw_only=True)
class Taught(Method):
    """Real images with labels of a teacher."""

    name: ClassVar[str] = "taught"
    teacher: str = ""

    def init(self, task: Task) -> State:
        return State(learned={"images": task.data.normalise(task.data.train.images[:12])})

    def rates(self) -> Mapping[str, OuterRate]:
        return {}

    def result(self, task: Task, state: State) -> SyntheticData:
        module = read_teacher(self.teacher, shape=task.data.shape, classes=task.data.classes)
        return SyntheticData(
            inputs=state.learned["images"],
            targets=task.data.train.labels[:12],
            program=Program(order=Shuffled(epochs=3, batch=6, step_size=0.1), loss=Divergence()),
            labels=Teacher.of(module, network=architecture(self.teacher), where="the next room"),
            teacher=module,
        )


def test_a_method_may_give_labels_of_a_teacher(pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"{pool}#1@1"
    config = toy_config(method=Taught(teacher=name), random_sets=1, loop=LoopSettings())
    distilled = distill(config, tmp_path / "run", data=DATA)
    found = DistilledSet.load(tmp_path / "run")
    assert found.header.labels == Teacher.of(of(name), network=WITH_STATISTICS, where="the next room")
    assert (
        score(with_teacher(found, name), DATA, Protocol(networks=3)).accuracies == distilled.header.score["accuracies"]
    )
    assert "read_teacher" in (tmp_path / "run" / "report.html").read_text()
    save_file(of(name).state_dict(), tmp_path / "run" / "teacher.safetensors")
    monkeypatch.chdir(tmp_path / "run")
    names: dict = {}
    exec(snippet(found), names)
    assert names["predicted"].shape == (8,)


def test_a_pool_names_the_architecture_of_a_teacher_but_imports_nothing(pool: Path, tmp_path: Path) -> None:
    whole = Pool.load(pool)
    header = {**whole.header, "settings": {**whole.header["settings"], "network": "os:system"}}
    replace(whole, header=header).save(tmp_path / "other")
    with pytest.raises(UserError, match="which runs code of the module 'os'"):
        read_teacher(f"{tmp_path / 'other'}#0", shape=DATA.shape, classes=DATA.classes)
    torch.save(of(f"{pool}#0").state_dict(), tmp_path / "a.pt")
    with pytest.raises(UserError, match="is no pool, so it does not name its architecture"):
        read_teacher(str(tmp_path / "a.pt"), shape=DATA.shape, classes=DATA.classes)


def test_baselines_beside_a_set_have_its_teacher(teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    file, name = tmp_path / "set.safetensors", f"{teacher}@1"
    shuffled = {"loss": Divergence(), "order": Shuffled(epochs=2, batch=10, step_size=0.1)}
    distilled = of_digits(file, name, **shuffled)
    words = ["baseline", "random", "--like", str(file), "--networks", "2", "--out", str(tmp_path / "random")]
    assert main(words) == 2
    assert "get it from datastill pretrain" in " ".join(capsys.readouterr().err.split())
    for _ in range(2):  # a set that is there already is not made again
        assert main([*words, "--teacher", name]) == 0
    made = DistilledSet.load(tmp_path / "random" / "0.safetensors")
    assert (made.header.labels, made.size) == (distilled.header.labels, distilled.size)
    found = score(with_teacher(made, name), DIGITS, Protocol(networks=2))
    assert found.accuracies == made.header.score["accuracies"]


def test_baselines_beside_a_set_with_labels_of_a_teacher_given_once_have_them_too(
    teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    file, out = tmp_path / "set.safetensors", tmp_path / "random"
    shuffled = {"loss": Divergence(temperature=3.0), "order": Shuffled(epochs=2, batch=10, step_size=0.1)}
    of_digits(file, f"{teacher}@1", **shuffled).with_stored_labels().save(file)
    words = ["baseline", "random", "--like", str(file), "--networks", "1", "--out", str(out)]
    for name, why in (("", "name it, so that the images"), (f"{teacher}@2", "but the labels come from a teacher")):
        assert main([*words, "--teacher", name]) == 2
        assert why in " ".join(capsys.readouterr().err.split())
    assert main([*words, "--teacher", f"{teacher}@1"]) == 0
    made = DistilledSet.load(out / "0.safetensors")
    module = read_teacher(f"{teacher}@1", shape=DIGITS.shape, classes=10)
    torch.testing.assert_close(made.targets, module(made.inputs).detach())
    assert made.program.loss == Divergence(temperature=3.0)


def test_baselines_alone_have_labels_of_a_teacher_once(
    teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PROGRAMS, "shuffled-300", Program(order=Shuffled(epochs=2, batch=10, step_size=0.1)))
    words = ["baseline", "random", "digits", "--ipc", "1", "--networks", "1", "--out", str(tmp_path / "random")]
    words += ["--program", "shuffled-300"]
    for _ in range(2):  # a set that is there already is not made again
        assert main([*words, "--teacher", f"{teacher}@1"]) == 0
    made = DistilledSet.load(tmp_path / "random" / "0.safetensors")
    module = read_teacher(f"{teacher}@1", shape=DIGITS.shape, classes=10)
    torch.testing.assert_close(made.targets, module(made.inputs).softmax(1).detach())
    assert made.header.labels.sha256 == teacher_sha256(module)
    assert main([*words, "--teacher", f"{teacher}@2"]) == 2
    assert "setting method.teacher was" in " ".join(capsys.readouterr().err.split())
