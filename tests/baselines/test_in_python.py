"""Baselines made in Python: one call beside a distilled set."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import one_hot

import datastill
from datastill.artifact import TeacherOnce
from datastill.baselines import Beside
from datastill.methods.selection import RandomReal
from datastill.program import Program, Shuffled

from ..toys import toy_data, toy_set

SHUFFLED = Shuffled(epochs=2, batch=2, step_size=0.1)


def test_a_baseline_has_the_size_and_network_of_the_set_and_holds_real_images() -> None:
    data = toy_data()
    distilled = toy_set(data).with_program(Program(order=SHUFFLED))
    made = datastill.baseline("random", distilled, data, seed=1)
    assert (made.size, made.ipc, made.batches) == (distilled.size, distilled.ipc, distilled.batches)
    assert (made.header.network, made.header.start) == (distilled.header.network, distilled.header.start)
    real = data.normalise(data.train.images)
    assert all(bool((real == image).all((1, 2, 3)).any()) for image in made.inputs)
    assert made.program.order == SHUFFLED
    again = Beside.of(distilled, data).made(RandomReal(), seed=1)
    assert torch.equal(again.inputs, made.inputs)


def test_only_a_selection_is_a_baseline() -> None:
    data = toy_data()
    with pytest.raises(datastill.UserError, match="kernel-ridge is no selection of images; take one of average"):
        datastill.baseline("kernel-ridge", toy_set(data), data)


def test_a_baseline_has_labels_of_the_teacher_that_gave_those_of_the_set_or_asks_for_it() -> None:
    data = toy_data()
    given = TeacherOnce(network="mlp", sha256="0" * 64, where="a pool")
    hard = toy_set(data)
    soft = one_hot(hard.targets, data.classes).float()
    once = replace(hard, targets=soft, header=replace(hard.header, labels=given))
    with pytest.raises(datastill.UserError, match="a teacher gave the labels of this set, the network 'mlp'"):
        datastill.baseline("random", once, data)


def test_a_file_that_names_a_module_needs_trust() -> None:
    data = toy_data()
    stranger = toy_set(data, network="tests.no_such_module:network")
    with pytest.raises(datastill.UserError, match="trust=True"):
        datastill.baseline("random", replace(stranger, trusted=False), data)
