"""The counts of answers of a score: known answers, the sums that must agree, and files that contradict themselves."""

from dataclasses import replace

import pytest
import torch

from datastill.artifact import DistilledSet
from datastill.errors import UserError
from datastill.evaluation import Protocol, score
from datastill.evaluation.confusion import counted

from ..toys import toy_data, toy_set

DATA = toy_data()
SET = toy_set(DATA)
NEAREST = Protocol(network="nearest-neighbours(k=1)")


def test_known_answers_are_counted_in_the_row_of_the_truth_and_the_column_of_the_answer() -> None:
    truth, answers = torch.tensor([0, 0, 0, 2, 1]), torch.tensor([0, 1, 1, 2, 0])
    assert counted(answers, truth, 3).tolist() == [[1, 2, 0], [1, 0, 0], [0, 0, 1]]


@pytest.mark.parametrize("protocol", [Protocol(networks=3), NEAREST])
def test_rows_sum_to_the_examples_of_each_class_and_the_diagonal_to_the_accuracy(protocol: Protocol) -> None:
    found = score(SET, DATA, protocol, confusion=True)
    counts = torch.tensor(found.confusion)
    assert counts.sum(1).tolist() == (DATA.test.labels.bincount(minlength=3) * found.n).tolist()
    assert counts.diagonal().sum() / counts.sum() == pytest.approx(found.mean, abs=1e-6)


def test_a_score_without_counts_has_no_value_of_that_name() -> None:
    assert "confusion" not in score(SET, DATA, Protocol(networks=2)).as_dict()


def _swapped(counts: list[list[int]]) -> list[list[int]]:
    return [row[1:] + row[:1] for row in counts]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (_swapped, r"score\.mean is .*, but header\.score\.confusion gives"),
        (lambda counts: [[each + 1 for each in row] for row in counts], r"confusion counts .* answers, but 2 networks"),
        (lambda counts: counts[:2], r"confusion\[0\] has 3 values, but .* has 2 rows"),
        (lambda counts: [[-1, *row[1:]] for row in counts], r"confusion\[0\]\[0\] is -1, but must be"),
        (lambda counts: [[sum(map(sum, counts))]], "mean is"),
    ],
)
def test_a_file_whose_counts_contradict_its_score_is_refused(changed, message, tmp_path) -> None:
    plain = score(SET, DATA, Protocol(networks=2), confusion=True).as_dict()
    SET.with_score(plain).save(tmp_path / "right.safetensors")
    assert DistilledSet.load(tmp_path / "right.safetensors").header.score["confusion"] == plain["confusion"]
    SET.with_score(plain | {"confusion": changed(plain["confusion"])}).save(tmp_path / "wrong.safetensors")
    with pytest.raises(UserError, match=message):
        DistilledSet.load(tmp_path / "wrong.safetensors")


def test_counts_of_another_number_of_classes_are_refused(tmp_path) -> None:
    plain = score(SET, DATA, Protocol(networks=2), confusion=True).as_dict()
    right = round(plain["mean"] * plain["images"] * 2)
    two = plain | {"confusion": [[right, plain["images"] * 2 - right], [0, 0]]}
    replace(SET.with_score(two)).save(tmp_path / "wrong.safetensors")
    with pytest.raises(UserError, match="is of 2 classes, but the set has 3"):
        DistilledSet.load(tmp_path / "wrong.safetensors")
