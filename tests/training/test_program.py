import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy, one_hot

from datastill.errors import UserError
from datastill.networks import build
from datastill.training import Program, unroll
from datastill.training.program import inner_loss, mean_cross_entropy

from ..problems import CLOSED_FORM

lengths = st.integers(1, 7)


@given(lengths, lengths)
def test_a_program_goes_through_all_steps_in_order_in_each_epoch(steps, epochs):
    program = Program(steps=steps, epochs=epochs)
    assert list(program) == list(itertools.product(range(epochs), range(steps)))
    assert program.length == len(list(program)) == steps * epochs


def test_a_program_can_be_gone_through_again():
    program = Program(steps=2, epochs=2)
    assert list(program) == list(program) == [(0, 0), (0, 1), (1, 0), (1, 1)]


@pytest.mark.parametrize("name", ["steps", "epochs"])
@pytest.mark.parametrize("value", [0, -3])
def test_a_program_without_steps_or_epochs_is_refused_by_name_value_and_limit(name, value):
    with pytest.raises(UserError, match=f"{name} is {value}, but must be at least 1"):
        Program(**{name: value})


def test_a_program_cannot_be_changed():
    with pytest.raises(AttributeError):
        Program().steps = 3


def _logits(networks=3, batch=5, classes=4):
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(networks, batch, classes, generator=g, dtype=torch.float64)
    return logits, torch.randint(classes, (networks, batch), generator=g)


def test_mean_cross_entropy_is_minus_the_mean_log_softmax_at_the_label():
    logits, labels = _logits()
    by_hand = torch.stack(
        [
            torch.stack([-(z[y].exp() / z.exp().sum()).log() for z, y in zip(zs, ys, strict=True)]).mean()
            for zs, ys in zip(logits, labels, strict=True)
        ]
    )
    torch.testing.assert_close(mean_cross_entropy(logits, labels), by_hand)


def test_hard_labels_are_one_hot_soft_labels():
    logits, labels = _logits()
    soft = one_hot(labels, 4).double()
    torch.testing.assert_close(mean_cross_entropy(logits, labels), mean_cross_entropy(logits, soft))


def test_label_smoothing_is_a_choice_of_soft_labels():
    logits, labels = _logits()
    smoothed = 0.9 * one_hot(labels, 4).double() + 0.1 / 4
    expected = torch.stack([cross_entropy(z, y, label_smoothing=0.1) for z, y in zip(logits, labels, strict=True)])
    torch.testing.assert_close(mean_cross_entropy(logits, smoothed), expected)


def test_the_loss_is_linear_in_soft_labels_and_blind_to_a_shift_of_all_logits():
    logits, labels = _logits()
    a, b = one_hot(labels, 4).double(), one_hot(labels.flip(1), 4).double()
    mixed = mean_cross_entropy(logits, 0.3 * a + 0.7 * b)
    torch.testing.assert_close(mixed, 0.3 * mean_cross_entropy(logits, a) + 0.7 * mean_cross_entropy(logits, b))
    torch.testing.assert_close(mean_cross_entropy(logits + 5, a), mean_cross_entropy(logits, a))


def test_equal_logits_cost_log_of_the_number_of_classes():
    torch.testing.assert_close(
        mean_cross_entropy(torch.zeros(2, 3, 7), torch.ones(2, 3).long()), torch.full((2,), 7.0).log()
    )


def test_the_inner_loss_is_the_mean_cross_entropy_of_each_network_on_its_own_examples():
    network = build("mlp(width=5)", shape=(1, 4, 4), classes=3)
    thetas = network.init("xavier", [torch.Generator().manual_seed(i) for i in range(3)])
    examples, labels = torch.randn(3, 6, 1, 4, 4, generator=torch.Generator().manual_seed(9)), torch.arange(6) % 3
    expected = torch.stack(
        [cross_entropy(network.apply(theta, x), labels) for theta, x in zip(thetas, examples, strict=True)]
    )
    torch.testing.assert_close(inner_loss(network)(thetas, examples, labels.expand(3, -1)), expected)
    soft = one_hot(labels, 3).float()
    torch.testing.assert_close(inner_loss(network)(thetas, examples, soft.expand(3, -1, -1)), expected)


@pytest.mark.parametrize(
    "spec", ["lenet", "convnet(width=4,norm=instance)", "convnet(width=4,norm=batch)", "mlp(width=9)"]
)
def test_unroll_is_an_ordinary_sgd_loop_step_by_step(spec):
    network = build(spec, shape=(1, 28, 28), classes=10)
    thetas = network.init("xavier", [torch.Generator().manual_seed(i) for i in range(2)]).double()
    g = torch.Generator().manual_seed(5)
    examples = torch.randn(2, 4, 1, 28, 28, generator=g, dtype=torch.float64)
    labels, etas = (
        torch.randint(10, (2, 4), generator=g),
        0.01 + 0.05 * torch.rand(3, 2, generator=g, dtype=torch.float64),
    )
    found = torch.stack(list(unroll(inner_loss(network), thetas, examples, labels, etas)), 1)

    for i, theta in enumerate(thetas):
        module = network.factory().double()
        nn.utils.vector_to_parameters(theta, module.parameters())
        optimiser, expected = torch.optim.SGD(module.parameters(), lr=1.0), []
        for epoch in range(3):
            for step in range(2):
                optimiser.param_groups[0]["lr"] = float(etas[epoch, step])
                optimiser.zero_grad()
                cross_entropy(module(examples[step]), labels[step]).backward()
                optimiser.step()
                expected.append(nn.utils.parameters_to_vector(module.parameters()).detach().clone())
        torch.testing.assert_close(found[i], torch.stack(expected))


@pytest.mark.parametrize("make", CLOSED_FORM.values(), ids=CLOSED_FORM)
def test_unroll_yields_as_many_weights_as_steps_and_ends_at_the_closed_form(make):
    problem = make()
    weights = list(unroll(problem.loss, problem.thetas, problem.examples, problem.labels, problem.step_sizes))
    assert len(weights) == problem.step_sizes.numel()
    torch.testing.assert_close(weights[-1], problem.exact.final)


def test_unroll_works_under_no_grad_keeps_no_graph_and_leaves_its_inputs_as_they_were():
    problem = CLOSED_FORM["curvature"]()
    inputs = [problem.thetas, problem.examples, problem.step_sizes]
    before = [tensor.clone() for tensor in inputs]
    for tensor in inputs:
        tensor.requires_grad_()
    with torch.no_grad():
        weights = list(unroll(problem.loss, inputs[0], inputs[1], problem.labels, inputs[2]))
    assert not any(w.requires_grad for w in weights)
    assert all(torch.equal(a, b) and a.grad is None for a, b in zip(inputs, before, strict=True))


def test_weights_already_yielded_do_not_change_later():
    problem = CLOSED_FORM["quadratic"]()
    weights, copies = [], []
    for w in unroll(problem.loss, problem.thetas, problem.examples, problem.labels, problem.step_sizes):
        weights.append(w)
        copies.append(w.clone())
    assert all(torch.equal(a, b) for a, b in zip(weights, copies, strict=True))
    assert not torch.equal(weights[0], weights[1])
