"""Sets in files of earlier formats load, verify and give their scores for ever; the folder `format1` holds copies.

Each was written by a run of datastill 0.1.0 on the digits of scikit-learn: hard and learned labels; initial weights
that are drawn, stored, of the network itself, of any network of a pool and of one; an attack; frozen layers; examples
of 8 bits; and ``first``, the header as the first version wrote it, without the fields that came later.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from datastill import DistilledSet, Protocol, UserError, load_data, score, verify
from datastill.artifact import FORMAT, Header, Teacher
from datastill.artifact.decode import DECODES
from datastill.cli import main
from datastill.data import RealData
from datastill.exporting import export
from datastill.label_source import LABEL_SOURCES, teacher_sha256
from datastill.networks import build
from datastill.networks.start import KINDS as STARTS
from datastill.networks.start import Random
from datastill.program import OPTIMISERS
from datastill.space import SPACES
from datastill.storage.files import digest, read_tensors

from .sets import ordered
from .toys import toy_data, toy_set

DATA = toy_data()
FOLDER = Path(__file__).parent / "format1"
SETS = sorted(path.name for path in FOLDER.glob("*.safetensors") if not path.name.startswith("pool-of"))


@pytest.fixture(scope="module")
def digits() -> RealData:
    return load_data("digits")


@pytest.fixture
def beside_its_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER)


@pytest.mark.parametrize("name", SETS)
def test_a_set_of_format_1_gives_its_score(name: str, digits: RealData, beside_its_pool: None) -> None:
    found = verify(DistilledSet.load(FOLDER / name, trust=True), digits)
    assert found["holds"], [claim for claim in found["claims"] if claim["verdict"] == "does not hold"]
    assert found["measured"] > 0.2


@pytest.mark.parametrize("name", SETS)
def test_a_set_of_format_1_is_saved_as_the_current_format_without_a_change(name: str, tmp_path: Path) -> None:
    before = DistilledSet.load(FOLDER / name)
    before.save(tmp_path / name)
    after = DistilledSet.load(tmp_path / name)
    assert after.plain() == before.plain()
    assert read_tensors(tmp_path / name)[0]["format"] == FORMAT
    for tensor, found in zip(before.tensors().values(), after.tensors().values(), strict=True):
        assert torch.equal(tensor, found)


def test_a_set_for_one_network_of_a_pool_needs_neither_the_pool_nor_trust(
    digits: RealData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the pool is not here
    assert verify(DistilledSet.load(FOLDER / "pool-member.safetensors"), digits)["holds"]


def test_there_is_a_copy_of_each_kind() -> None:
    assert len(SETS) == 10


def test_the_examples_of_a_migrated_file_are_those_of_its_steps_one_after_the_other() -> None:
    tensors = read_tensors(FOLDER / "hard.safetensors")[1]
    found = DistilledSet.load(FOLDER / "hard.safetensors")
    assert torch.equal(found.inputs.view_as(tensors["examples"]), tensors["examples"])
    assert torch.equal(found.targets.view_as(tensors["labels"]), tensors["labels"])
    assert torch.equal(found.step_sizes, tensors["step_sizes"])
    assert found.program.optimiser == OPTIMISERS["momentum"]


def rewritten(name: str, to: Path, *, more: dict[str, Any] | None = None, also: dict[str, Any] | None = None) -> Path:
    """A whole file like one in the folder, with more in its header or its metadata, and a valid digest."""
    metadata, tensors = read_tensors(FOLDER / name)
    header = json.dumps(json.loads(metadata["header"]) | (more or {}))
    save_file(tensors, to, {**metadata, **(also or {}), "header": header, "sha256": digest(header, tensors)})
    return to


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"format": "datastill/3", "needs": "0.9.1"}, r"reads formats up to datastill/2; install datastill 0\.9\.1"),
        ({"format": "datastill/12", "needs": "\x1b[31m"}, "install a later version of datastill: pip install"),
        ({"format": "datastill/3"}, "install a later version of datastill: pip install --upgrade 'datastill'"),
        ({"format": "other/2"}, "is not a distilled set of format datastill/2"),
    ],
)
def test_a_later_format_is_refused_with_the_version_to_install(metadata: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message) as caught:
        DistilledSet.load(rewritten("hard.safetensors", tmp_path / "a", also=metadata))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"decode": {"kind": "plain"}}, "unknown name 'decode' in header"),
        ({"program": {}}, "unknown name 'program' in header"),
        ({"order": "shuffled"}, "header.order is 'shuffled', but must be 'ordered'"),
        ({"optimiser": "lion"}, "header.optimiser is 'lion', but must be 'sgd' or"),
        ({"std": [0.0]}, r"header.space.std\[0\] is 0.0, but must be a number from 1e-09"),
        ({"bits": 8}, "examples.scale and examples.offset are missing"),
    ],
)
def test_a_file_of_format_1_holds_what_format_1_had(header: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        DistilledSet.load(rewritten("hard.safetensors", tmp_path / "a", more=header))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (
            {"space": {"kind": "graphs"}},
            "unknown kind of header.space 'graphs': known: pixels, signals, tokens, vectors",
        ),
        ({"decode": {"kind": "wavelets"}}, "unknown kind of header.decode 'wavelets'"),
        ({"labels": {"kind": "plain"}}, "unknown kind of header.labels"),
        ({"labels": {"kind": "signed"}}, "must be floating-point numbers, one for each class"),
        ({"decode": {"kind": "8-bits"}}, r"stored with inputs\.scale and inputs\.offset, which the file lacks"),
        ({"heat": 1}, r"unknown name 'heat' in header.*may have written it \(the file was written by datastill"),
        ({"program": {"order": {"kind": "spiral"}}}, "header.program lacks 'optimiser'"),
    ],
)
def test_what_a_later_version_may_write_is_refused_by_name(header: dict, message: str, tmp_path: Path) -> None:
    DistilledSet.load(FOLDER / "hard.safetensors").save(tmp_path / "now")
    with pytest.raises(UserError, match=message):
        DistilledSet.load(rewritten(str(tmp_path / "now"), tmp_path / "a", more=header))


class TestTeacher:
    """Labels of a trained network that the file does not hold."""

    SET = toy_set(DATA)

    def teacher(self) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 3), nn.BatchNorm1d(3))

    def of(self, teacher: nn.Module) -> DistilledSet:
        source = Teacher(sha256=teacher_sha256(teacher), network="linear", where="https://example.org/teacher")
        return replace(self.SET, header=replace(self.SET.header, labels=source))

    def test_its_probabilities_are_the_labels_of_each_batch(self) -> None:
        teacher, models = self.teacher(), [nn.Sequential(nn.Flatten(), nn.Linear(16, 3)) for _ in range(2)]
        models[1].load_state_dict(models[0].state_dict())
        self.of(teacher).with_teacher(teacher).fit(models[0])
        labels = teacher.eval()(self.SET.inputs).softmax(1).detach()
        stored = replace(self.SET, targets=labels)
        stored.fit(models[1])
        for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
            torch.testing.assert_close(one, other)
        found = score(self.of(teacher).with_teacher(teacher), DATA, Protocol(networks=3))
        assert found.accuracies == pytest.approx(score(stored, DATA, Protocol(networks=3)).accuracies)
        assert found.protocol["labels"] == "soft"

    def test_without_it_every_use_says_which_one_it_is_and_how_to_get_it(self, tmp_path: Path) -> None:
        distilled = self.of(self.teacher())
        wanted = (
            f"SHA-256 {distilled.header.labels.sha256}, which is not there; get it from https://example.org/teacher"
        )
        for use in (
            lambda: distilled.fit(nn.Linear(1, 1)),
            lambda: score(distilled, DATA, Protocol(networks=1)),
            lambda: export(distilled, tmp_path / "a.npz", "npz"),
        ):
            with pytest.raises(UserError, match=wanted):
                use()
        assert score(distilled, DATA, Protocol(networks=1, labels="hard")).n == 1

    def test_the_command_line_takes_its_weights_from_a_file(
        self, tmp_path: Path, capsys: pytest.CaptureFixture
    ) -> None:
        network = "resnet18(width=2)"
        digits = load_data("digits")
        teacher = build(network, shape=digits.shape, classes=10).factory()
        images, labels = digits.train.images[:20], digits.train.labels[:20]
        distilled = DistilledSet(
            inputs=digits.normalise(images),
            targets=labels,
            program=ordered(torch.full((2, 1), 0.1)),
            header=Header(
                data="digits",
                class_names=digits.class_names,
                space=digits.space,
                network="mlp(width=4)",
                start=Random(),
                labels=Teacher(sha256=teacher_sha256(teacher), network=network),
            ),
        )
        distilled.save(tmp_path / "set.safetensors")
        torch.save(teacher.state_dict(), tmp_path / "teacher.pt")
        torch.save(build(network, shape=digits.shape, classes=10).factory().state_dict(), tmp_path / "other.pt")
        command = ["evaluate", str(tmp_path / "set.safetensors"), "--networks", "2", "--teacher"]
        assert main([*command, str(tmp_path / "teacher.pt")]) == 0
        assert main([*command, str(tmp_path / "other.pt")]) == 2
        assert "come from weights of SHA-256" in " ".join(capsys.readouterr().err.split())

    def test_another_network_or_one_too_many_is_refused(self) -> None:
        with pytest.raises(UserError, match="the teacher has weights of SHA-256"):
            self.of(self.teacher()).with_teacher(self.teacher())
        with pytest.raises(UserError, match="the set holds its labels; leave the teacher out"):
            self.SET.with_teacher(self.teacher())


def test_the_page_about_the_file_runs_and_names_every_kind() -> None:
    page = (Path(__file__).parents[1] / "docs" / "file-format.md").read_text(encoding="utf-8")
    (block,) = page.split("```python\n")[1:]
    exec(block.split("```")[0], {})
    for kinds in (SPACES, LABEL_SOURCES, DECODES, STARTS):
        assert all(f"`{kind}`" in page for kind in kinds), kinds
    assert f"`{FORMAT}`" in page
