"""A new kind of objective is one class: everything that deals with objectives takes it as it takes ours."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import pytest
from torch import Tensor

from datastill.artifact import DistilledSet
from datastill.baselines import Beside
from datastill.cli import main
from datastill.config import as_dict, differences, from_dict
from datastill.evaluation import verify
from datastill.exporting import export
from datastill.methods.selection import RandomReal
from datastill.objectives import KINDS, Measure, Objective
from datastill.report import write_report
from datastill.resuming import stored_config
from datastill.run import distill
from datastill.storage.records import whole

from .toys import toy_config, toy_data

DATA = toy_data()


@dataclass(frozen=True)
class Shifted(Measure):
    """The share of examples that are answered with the class that lies `by` after theirs."""

    name: ClassVar[str] = "shifted"
    by: int

    def __call__(self, answers: Tensor, labels: Tensor) -> float:
        return float((answers == (labels + self.by) % 3).float().mean())

    def words(self, class_names: Sequence[str]) -> str:
        return f"images classified as the class {self.by} of {len(class_names)} further"


@dataclass(frozen=True)
class Shift(Objective):
    """Networks answer the class that lies `by` after the true one, of three."""

    spelling: ClassVar[str] = "shift(1)"
    is_accuracy: ClassVar[bool] = False

    kind: Literal["shift"] = field(default="shift", init=False, repr=False)
    by: Annotated[int, whole(0, 2)] = 1

    def __str__(self) -> str:
        return f"shift({self.by})"

    @classmethod
    def spelled(cls, text: str) -> "Shift | None":
        return cls(int(text[6:-1])) if text.startswith("shift(") else None

    measures = property(lambda self: (Shifted(self.by),))

    def wanted(self, labels: Tensor) -> Tensor:
        return (labels + self.by) % 3

    def words(self, class_names: Sequence[str]) -> str:
        return f"networks trained on it are off by {self.by} of {len(class_names)} classes"

    def warning(self, class_names: Sequence[str]) -> str:
        return f"Beware: {self.words(class_names)}."


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "shift", Shift)  # type: ignore[arg-type]


def test_a_run_with_it_is_distilled_stored_measured_shown_and_exported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, run = toy_config(objective=Shift(2)), tmp_path / "run"
    distill(config, run, data=DATA)
    assert stored_config(run).objective == Shift(2)
    distilled = DistilledSet.load(run / "distilled.safetensors")
    assert distilled.header.objective == Shift(2)
    found = distilled.header.score["measures"]["shifted"]
    assert {stage: len(values) for stage, values in found.items()} == {"before": 3, "after": 3}
    claims = {each["name"]: each["verdict"] for each in verify(distilled, DATA)["claims"]}
    assert claims["shifted before"] == claims["shifted after"] == "holds"
    page = write_report(run).read_text()
    assert "Beware: networks trained on it are off by 2 of 3 classes." in page
    assert "images classified as the class 2 of 3 further, by 3 networks" in page
    assert main(["show", str(run)]) == 0
    assert "shift(2): networks trained on it are off by 2" in " ".join(capsys.readouterr().out.split())
    export(distilled, tmp_path / "png", "png")
    assert "Beware" in (tmp_path / "png" / "README.md").read_text()
    beside = Beside.of(distilled, DATA)
    labels = beside.made(RandomReal(), tune=False).targets
    assert labels.tolist() == [2, 0, 1] * 2, "baselines are labelled so, too"


def test_it_is_written_and_read_in_one_way() -> None:
    config = toy_config(objective=Shift(2))
    assert from_dict(as_dict(config)) == config
    assert differences(config, toy_config()) == ["objective: shift(2) != classification"]


def test_the_command_line_lists_it_and_takes_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "objectives"]) == 0
    assert "shift(1)" in capsys.readouterr().out
    assert main(["distill", "--objective", "shift(7)"]) == 2
    assert "by is 7" in capsys.readouterr().err
