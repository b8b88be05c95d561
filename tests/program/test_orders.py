"""Orders: which examples each step trains on, in what sizes, and with which draws."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from datastill.errors import UserError
from datastill.program import Ordered, Shuffled

small = st.integers(1, 6)


def places(step, count):
    return torch.arange(count)[step.which].tolist()


@given(small, small, small)
def test_ordered_steps_go_through_the_batches_in_order_in_each_epoch(epochs, steps, batch):
    sizes = torch.rand(epochs, steps)
    found = list(Ordered(step_sizes=sizes).steps(steps * batch))
    wanted = list(itertools.product(range(epochs), range(steps)))
    assert [places(each, steps * batch) for each in found] == [
        list(range(s * batch, (s + 1) * batch)) for _, s in wanted
    ]
    assert [float(each.size) for each in found] == [float(sizes[at]) for at in wanted]
    assert [each.epoch for each in found] == [epoch for epoch, _ in wanted]
    assert Ordered(step_sizes=sizes).length(steps * batch) == len(found)


@given(small, st.integers(1, 20), st.integers(1, 8))
def test_a_shuffled_epoch_takes_every_example_once_in_batches(epochs, count, batch):
    order = Shuffled(epochs=epochs, batch=batch)
    taken = list(order.steps(count, seed=3))
    found = [places(each, count) for each in taken]
    assert order.length(count) == len(found)
    each = -(-count // batch)
    for epoch in range(epochs):
        some = found[epoch * each : (epoch + 1) * each]
        assert {step.epoch for step in taken[epoch * each : (epoch + 1) * each]} == {epoch}
        assert sorted(itertools.chain.from_iterable(some)) == list(range(count))
        assert [len(one) for one in some[:-1]] == [batch] * (each - 1)


def test_every_epoch_and_every_seed_has_its_own_permutation():
    order = Shuffled(epochs=2, batch=50)
    first, second = (places(each, 50) for each in order.steps(50, seed=1))
    assert first != second
    assert [places(each, 50) for each in order.steps(50, seed=1)] == [first, second]
    assert places(next(order.steps(50, seed=2)), 50) != first


@pytest.mark.parametrize("order", [Ordered(step_sizes=torch.ones(3, 2)), Shuffled(epochs=3, batch=4)], ids=str)
def test_every_step_has_its_own_seed_that_follows_from_the_seed_of_the_program(order):
    seeds, again, other = ([step.seed for step in order.steps(8, seed)] for seed in (1, 1, 2))
    assert len(set(seeds)) == len(seeds) == 6
    assert seeds == again
    assert not set(seeds) & set(other)


def test_schedules_are_their_formulae():
    def sizes(schedule):
        return [float(step.size) for step in Shuffled(epochs=4, batch=5, step_size=2.0, schedule=schedule).steps(10)]

    assert sizes("constant") == [2.0] * 8
    assert sizes("drop") == pytest.approx([2.0] * 4 + [0.2] * 4)
    assert sizes("cosine") == pytest.approx([1 + math.cos(math.pi * t / 8) for t in range(8)])


def test_an_order_is_edited_by_epochs_and_step_size():
    two = Ordered(step_sizes=torch.tensor([[0.5], [0.2]]))
    assert two.with_epochs(1).step_sizes.flatten().tolist() == [0.5]
    assert two.with_epochs(3).step_sizes.flatten().tolist() == pytest.approx([0.5, 0.2, 0.2])
    assert two.with_epochs(2).with_step_size(0.25).step_sizes.flatten().tolist() == [0.25, 0.25]
    edited = Shuffled().with_epochs(7).with_step_size(0.3)
    assert edited == Shuffled(epochs=7, step_size=0.3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: next(Ordered(step_sizes=torch.ones(1, 3)).steps(4)), "3 ordered steps cannot share 4 examples evenly"),
        (lambda: Ordered(step_sizes=torch.ones(1, 3)).length(0), "3 ordered steps cannot share 0 examples"),
        (lambda: Shuffled(epochs=0), "epochs is 0, but must be a whole number from 1 to 1000000"),
        (lambda: Shuffled(batch=0), "batch is 0, but must be a whole number from 1"),
        (lambda: Shuffled(schedule="halved"), "schedule is 'halved', but must be 'constant' or 'cosine' or 'drop'"),
        (lambda: Shuffled(epochs=10**6, batch=1).length(2), "are 2000000 gradient steps, but at most 1000000"),
    ],
)
def test_an_order_that_is_not_possible_is_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()
