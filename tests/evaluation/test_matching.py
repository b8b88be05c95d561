"""Set and data are matched by the names of their classes, wherever they meet."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from datastill.artifact import DistilledSet
from datastill.baselines import Beside
from datastill.data import RealData
from datastill.errors import UserError
from datastill.evaluation import Grid, Protocol, curve, matched, packed, score, tuned, verify, with_clean
from datastill.methods.selection import RandomReal
from datastill.objectives import Misread
from datastill.run import prepare

from ..toys import toy_config, toy_data, toy_set, with_classes_reversed

DATA = toy_data()
OTHER = with_classes_reversed(DATA)
SET = toy_set(DATA)
ATTACK = toy_set(DATA, objective=Misread(0, 1))
FEW = Protocol(networks=3)
SCORED = SET.with_score(score(SET, DATA, FEW).as_dict())
MEETINGS: dict[str, Callable[[DistilledSet, RealData], Any]] = {
    "score": lambda one, data: score(one, data, FEW).accuracies,
    "curve": lambda one, data: curve(one, data, FEW)["mean"],
    "measures": lambda one, data: score(one, data, FEW).measures,
    "verify": lambda one, data: verify(one, data)["measured"],
    "pack": lambda one, data: (packed(one, data).header.score or {})["accuracies"],
    "tune": lambda one, data: tuned(one, data, FEW, Grid(step_sizes=(0.01, 0.3), epochs=(1,), images=30)),
    "clean images": lambda one, data: with_clean(one, data, 2).targets,
}
SETS = {"measures": ATTACK, "verify": SCORED, "pack": SCORED}


def test_a_set_is_good_on_its_own_data() -> None:
    assert score(SET, DATA, FEW).mean > 0.6  # 0.33 is chance


@pytest.mark.parametrize("meeting", list(MEETINGS))
def test_the_order_of_the_classes_changes_nothing(meeting: str) -> None:
    measure, distilled = MEETINGS[meeting], SETS.get(meeting, SET)
    ours, theirs = measure(distilled, DATA), measure(distilled, OTHER)
    assert torch.equal(ours, theirs) if isinstance(ours, torch.Tensor) else ours == theirs


@pytest.mark.parametrize("meeting", list(MEETINGS))
def test_other_classes_are_refused_by_name(meeting: str) -> None:
    renamed = replace(DATA, class_names=("0", "1", "zebra"))
    with pytest.raises(UserError, match=r"the set has the classes '2', but data .* has 'zebra'; .* rename") as error:
        MEETINGS[meeting](SETS.get(meeting, SET), renamed)
    assert "\n" not in str(error.value)


def test_many_other_names_are_counted() -> None:
    names = tuple(f"class {number}" for number in range(40))
    data = replace(DATA, class_names=names)
    distilled = replace(SET, header=replace(SET.header, class_names=tuple(name.upper() for name in names)))
    with pytest.raises(UserError, match="'CLASS 4' and 35 more"):
        matched(distilled, data)


def test_a_baseline_like_an_attack_mislabels_the_class_of_that_name() -> None:
    both = [Beside.of(ATTACK, data) for data in (DATA, OTHER)]
    labels = [each.made(RandomReal()).targets for each in both]
    assert labels[0].flatten().bincount(minlength=3).tolist() == labels[1].flatten().bincount(minlength=3).tolist()
    assert both[1].data.class_names == DATA.class_names


def test_a_run_that_goes_on_from_a_set_keeps_the_order_of_its_classes(tmp_path: Any) -> None:
    SET.save(tmp_path / "set.safetensors")
    method = replace(toy_config().method, ipc=1, steps=1, epochs=2)
    run = prepare(toy_config(warm_start=str(tmp_path / "set.safetensors"), method=method), OTHER)
    assert run.data.class_names == DATA.class_names
    assert torch.equal(run.data.train.labels, DATA.train.labels)
