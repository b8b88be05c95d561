"""Differences between sets: textbook intervals, pairs, and what may not be compared."""

import statistics
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch.nn.functional import one_hot

from datastill.errors import UserError
from datastill.evaluation import Grid, Protocol, Score, comparable, compare, difference, score
from datastill.evaluation.tune import tuned
from datastill.objectives import parse_objective

from ..sets import ordered
from ..toys import toy_data, toy_set

DATA = toy_data()
SET = toy_set(DATA)
WORSE = replace(SET, inputs=SET.inputs + 0.8 * torch.randn(SET.inputs.shape, generator=torch.Generator()))
FEW = Protocol(networks=6)
START = {"kind": "random", "initialiser": "xavier"}
ACCURACIES = st.lists(st.floats(0, 1), min_size=2, max_size=30)


def made(accuracies: list[float], **protocol: object) -> Score:
    return Score(
        split="test", images=10, mean=statistics.fmean(accuracies), sd=0.0, n=len(accuracies), accuracies=accuracies,
        seconds=0.0, hardware="", protocol={"network": "mlp", "start": START, "seed": 0, **protocol},
    )  # fmt: skip


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=30))
def test_paired_is_the_interval_of_the_paired_t_test(pairs: list[tuple[float, float]]) -> None:
    one, other = (list(each) for each in zip(*pairs, strict=True))
    found = difference([made(one)], [made(other)])
    assert found.paired
    expected = (
        stats.ttest_rel(one, other).confidence_interval(0.95)
        if statistics.pstdev([a - b for a, b in pairs]) > 1e-6
        else None
    )
    if expected:
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


@given(ACCURACIES, ACCURACIES)
def test_networks_of_other_kinds_are_compared_by_welch(one: list[float], other: list[float]) -> None:
    found = difference([made(one)], [made(other, network="lenet")])
    assert not found.paired
    if min(statistics.pstdev(one), statistics.pstdev(other)) > 1e-6:
        expected = stats.ttest_ind(one, other, equal_var=False).confidence_interval(0.95)
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_several_sets_count_with_the_mean_of_each_network() -> None:
    several = [made([0.5, 0.6]), made([0.7, 0.4])]
    found = difference([made([0.9, 0.8])], several)
    assert found == difference([made([0.9, 0.8])], [made([0.6, 0.5])])
    assert difference(several, [made([0.9, 0.8])]).mean == pytest.approx(-found.mean)


@given(ACCURACIES, ACCURACIES)
def test_sets_that_have_one_network_each_are_what_varies(one: list[float], other: list[float]) -> None:
    """As many networks of one set, or as many sets without a network, are the same sample."""
    of_one_each = [made([accuracy], network="nearest-neighbours") for accuracy in other]
    assert difference([made(one)], of_one_each) == difference([made(one)], [made(other, network="lenet")])


@given(ACCURACIES, ACCURACIES)
def test_sets_that_have_one_network_each_are_what_varies_under_one_protocol_too(
    one: list[float], other: list[float]
) -> None:
    found = difference([made([each]) for each in one], [made([each]) for each in other])
    assert found == difference([made(one)], [made(other, network="lenet")])


def test_one_network_has_a_difference_and_no_interval() -> None:
    found = difference([made([0.9])], [made([0.5])])
    assert found.mean == pytest.approx(0.4)
    assert found.low is found.high is None
    assert str(found) == "+40.0"


def test_scores_on_other_images_are_refused() -> None:
    with pytest.raises(UserError, match="scores on 10 test and 5 test examples cannot be compared"):
        difference([made([0.5, 0.6])], [replace(made([0.5, 0.6]), images=5)])


def test_the_same_set_is_no_better_than_itself_and_a_worse_one_is_worse() -> None:
    first, same, worse = compare({"one": [SET], "same": [SET], "worse": [WORSE]}, DATA, FEW)
    assert first.difference is None
    assert (same.difference.low, same.difference.mean, same.difference.high) == (0, 0, 0)
    assert worse.difference.mean == pytest.approx(first.mean - worse.mean)
    assert worse.difference.mean > 0


def test_rows_are_scores_and_groups_are_pooled() -> None:
    one, group = compare({"one": [SET], "group": [SET, WORSE]}, DATA, FEW)
    assert one.accuracies == score(SET, DATA, FEW).accuracies
    assert (group.n, group.sets) == (12, 2)
    assert group.accuracies == one.accuracies + score(WORSE, DATA, FEW).accuracies
    assert one.between is None
    assert group.between == pytest.approx(abs(one.mean - score(WORSE, DATA, FEW).mean) / 2**0.5)
    assert one.bytes == SET.nbytes


def test_a_table_of_transfer_has_a_row_for_each_network_and_set() -> None:
    networks = ["mlp(width=4)", "convnet(width=4,depth=1)", "nearest-neighbours"]
    rows = list(compare({"one": [SET], "worse": [WORSE]}, DATA, FEW, networks=networks))
    assert [(row.network, row.name) for row in rows] == [(n, s) for n in networks for s in ("one", "worse")]
    assert [row.difference is None for row in rows] == [True, False] * 3


def test_a_grid_is_searched_for_each_network_on_validation_images() -> None:
    dull = replace(SET, program=ordered(torch.full((1, 1), 1e-6)))
    own, chosen = (
        next(compare({"dull": [dull]}, DATA, FEW, grid=grid))
        for grid in (None, Grid(step_sizes=(1e-6, 0.3), epochs=(1, 3)))
    )
    assert chosen.scores[0].protocol["step_size"] == 0.3
    assert chosen.mean > own.mean


@pytest.mark.parametrize(
    ("protocol", "networks", "grid", "message"),
    [
        ({"network": "lenet"}, ["mlp(width=4)"], None, "has no effect: .*; name this network with the others"),
        ({"network": "mlp"}, ["lenet", "mlp"], None, "network is 'mlp', but has no effect: .*; leave network out"),
        ({"step_size": 0.1}, [], Grid(), "step_size is 0.1, but has no effect: tuning chooses it"),
        ({"program": "shuffled-300"}, [], Grid(), "program is shuffled-300, but tuning chooses the step size"),
        ({"epochs": 2}, [], Grid(), "epochs is 2, but has no effect"),
        ({"optimiser": "adam"}, [], Grid(), "optimiser is adam, but has no effect"),
        ({}, ["nearest-neighbours"], Grid(), "trains no network, so there is no step size to tune"),
    ],
)
def test_settings_that_the_table_or_the_grid_replaces_are_refused(
    protocol: dict, networks: list, grid: Grid | None, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        list(compare({"one": [SET]}, DATA, replace(FEW, **protocol), networks=networks, grid=grid))


def test_a_grid_is_searched_by_the_answers_that_the_set_asks_for_whatever_the_order_of_the_classes() -> None:
    attack = replace(SET, header=replace(SET.header, objective=parse_objective("misread(0,1)")))
    grid, reversed_order = Grid(step_sizes=(1e-6, 0.3), epochs=(1, 3)), DATA.with_classes(DATA.class_names[::-1])
    assert tuned(attack, reversed_order, FEW, grid) == tuned(attack, DATA, FEW, grid)


def test_sets_with_other_kinds_of_labels_make_no_row() -> None:
    soft = replace(SET, targets=one_hot(SET.targets, 3).float())
    with pytest.raises(UserError, match=r"sets in both cannot be .* some have hard labels, some soft labels; put each"):
        list(compare({"both": [SET, soft]}, DATA, FEW))
    hard = replace(FEW, labels="hard")
    assert next(compare({"both": [SET, soft]}, DATA, hard)).sets == 2


def test_accuracies_are_compared_only_with_the_first_set_of_equal_kinds_of_labels() -> None:
    soft = replace(SET, targets=one_hot(SET.targets, 3).float())
    groups = {"hard": [SET], "soft": [soft], "worse": [WORSE], "soft again": [soft]}
    rows = list(compare(groups, DATA, FEW))
    assert [row.difference is None for row in rows] == [True, True, False, False]
    assert rows[3].difference.mean == 0


def test_a_set_that_needs_trust_is_refused_before_anything_is_measured() -> None:
    stranger = replace(SET, header=replace(SET.header, network="nowhere:net"), trusted=False)
    with pytest.raises(UserError, match="if you trust the file"):
        next(compare({"one": [SET], "stranger": [stranger]}, DATA, FEW))


def test_an_empty_group_is_refused() -> None:
    with pytest.raises(UserError, match="there is no distilled set in nothing"):
        list(compare({"nothing": []}, DATA, FEW))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": "other"}, "a and b cannot be compared: their data is 'toy' and 'other'"),
        ({"class_names": ("0", "1", "2", "3")}, "their number of classes is 3 and 4"),
    ],
)
def test_sets_that_do_not_belong_together_are_named(change: dict, message: str) -> None:
    other = replace(SET, header=replace(SET.header, **change))
    with pytest.raises(UserError, match=message):
        comparable({"a": SET, "b": other})


def test_sets_of_other_image_shapes_are_named() -> None:
    space = replace(SET.header.space, shape=(1, 5, 5))
    larger = replace(SET, inputs=torch.zeros(3, 1, 5, 5), header=replace(SET.header, space=space))
    with pytest.raises(UserError, match=r"their shape of examples is \(1, 4, 4\) and \(1, 5, 5\)"):
        comparable({"a": SET, "b": larger})
