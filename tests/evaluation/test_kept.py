"""An evaluation that is stopped goes on after the last finished network, and gives what it would have given."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from torch import Tensor

from datastill.evaluation import Protocol, fit, score
from datastill.evaluation.kept import FILE
from datastill.objectives import Accuracy
from datastill.storage.files import write_json

from ..toys import toy_data, toy_set

DATA = toy_data()
SET = toy_set(DATA)
MANY = Protocol(networks=fit.NETWORKS_PER_BATCH + 3)
WIDE = "convnet(width=16,depth=2)"  # trained one by one on a CPU


def stopped_after(networks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    original, measured = Accuracy.__call__, []

    def stopping(*arguments: object) -> float:
        if len(measured) == networks:
            raise KeyboardInterrupt
        measured.append(1)
        return original(*arguments)

    monkeypatch.setattr(Accuracy, "__call__", stopping)


def counting(trained: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    original = fit.along

    def along(distilled: object, protocol: object, network: object, thetas: Tensor, purpose: str) -> Iterator[Tensor]:
        trained.append(len(thetas))
        return original(distilled, protocol, network, thetas, purpose)

    monkeypatch.setattr(fit, "along", along)


@pytest.mark.parametrize(
    ("network", "protocol", "stop", "left"),
    [("mlp(width=8,depth=1)", MANY, fit.NETWORKS_PER_BATCH + 1, [3]), (WIDE, Protocol(networks=4), 2, [1, 1])],
)
def test_only_the_networks_that_are_left_are_trained_and_the_score_is_equal(
    network: str, protocol: Protocol, stop: int, left: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distilled = replace(SET, header=replace(SET.header, network=network))
    whole, trained = score(distilled, DATA, protocol), []
    with monkeypatch.context() as patch:
        stopped_after(stop, patch)
        with pytest.raises(KeyboardInterrupt):
            score(distilled, DATA, protocol, folder=tmp_path)
    counting(trained, monkeypatch)
    assert score(distilled, DATA, protocol, folder=tmp_path).accuracies == whole.accuracies
    assert trained == left


def test_values_of_another_set_or_of_other_settings_are_not_used(tmp_path: Path) -> None:
    other = replace(SET, inputs=SET.inputs.flip(0))
    for distilled, protocol, split in (
        (SET, Protocol(networks=3), "test"),
        (other, Protocol(networks=3), "test"),
        (SET, Protocol(networks=3, seed=1), "test"),
        (SET, Protocol(networks=3), "validation"),
    ):
        kept = score(distilled, DATA, protocol, split=split, folder=tmp_path)
        assert kept.accuracies == score(distilled, DATA, protocol, split=split).accuracies


@pytest.mark.parametrize("content", ["no JSON", {"networks": {"of": 1, "rows": "many"}}, {"networks": []}])
def test_a_broken_file_costs_only_time(content: object, tmp_path: Path) -> None:
    if isinstance(content, str):
        (tmp_path / FILE).write_text(content)
    else:
        write_json(tmp_path / FILE, content)
    assert score(SET, DATA, Protocol(networks=2), folder=tmp_path).n == 2


def test_counts_of_answers_are_those_of_an_evaluation_that_was_not_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = score(SET, DATA, MANY, confusion=True)
    for stop in (2, 2 + fit.NETWORKS_PER_BATCH):  # in the first group, and in the second
        with monkeypatch.context() as patch:
            stopped_after(stop, patch)
            with pytest.raises(KeyboardInterrupt):
                score(SET, DATA, MANY, confusion=True, folder=tmp_path)
        resumed = score(SET, DATA, MANY, confusion=True, folder=tmp_path)
        assert resumed.confusion == whole.confusion
        (tmp_path / FILE).unlink()
