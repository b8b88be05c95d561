"""The inner training of a stack of networks: an ordinary loop for each, and closed forms."""

from collections import deque
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, one_hot

from datastill.networks import build
from datastill.program import AUGMENTATIONS, OPTIMISERS, Momentum, Ordered, Program, Shuffled, Siamese, train_stack
from datastill.training import differentiated, mean_loss

from ..problems import CLOSED_FORM, unroll


def test_the_inner_loss_is_the_mean_cross_entropy_of_each_network_on_its_own_examples():
    network = build("mlp(width=5)", shape=(1, 4, 4), classes=3)
    thetas = network.init("xavier", [torch.Generator().manual_seed(i) for i in range(3)])
    examples, labels = torch.randn(3, 6, 1, 4, 4, generator=torch.Generator().manual_seed(9)), torch.arange(6) % 3
    expected = torch.stack(
        [cross_entropy(network.apply(theta, x), labels) for theta, x in zip(thetas, examples, strict=True)]
    )
    torch.testing.assert_close(mean_loss(network)(thetas, examples, labels.expand(3, -1)), expected)
    soft = one_hot(labels, 3).float()
    torch.testing.assert_close(mean_loss(network)(thetas, examples, soft.expand(3, -1, -1)), expected)


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
    found = torch.stack(list(unroll(mean_loss(network), thetas, examples, labels, etas)), 1)

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


# --- the hypergradient through any program


def problem_of(augmentation):
    """Arguments of `differentiated` for a small smooth network and a program of the field."""
    network = build("tests.problems:smooth", shape=(1, 4, 4), classes=3)
    g = torch.Generator().manual_seed(1)
    thetas = network.init("xavier", [torch.Generator().manual_seed(i) for i in range(2)]).double()
    inputs, targets = torch.randn(5, 1, 4, 4, generator=g).double(), torch.rand(5, 3, generator=g).double()
    real, truth = torch.randn(4, 1, 4, 4, generator=g).double(), torch.arange(4) % 3

    def objective(finals):
        return torch.stack([cross_entropy(network.apply(theta, real), truth) for theta in finals])

    program = Program(
        order=Shuffled(epochs=2, batch=2, step_size=0.3, schedule="cosine"),
        optimiser=Momentum(decay=0.5, weight_decay=0.1),
        augmentation=augmentation,
    )
    return mean_loss(network), objective, thetas, inputs, targets, program


EVERY = AUGMENTATIONS | {"all": Siamese(one=False)}


@pytest.mark.parametrize("mode", ["stored", "recomputed"])
@pytest.mark.parametrize("augmentation", EVERY.values(), ids=EVERY)
def test_the_hypergradient_through_a_shuffled_augmented_program_is_the_central_difference(augmentation, mode):
    loss, objective, thetas, inputs, targets, program = problem_of(augmentation)
    both = ("inputs", "targets")
    found = differentiated(loss, objective, thetas, inputs, targets, program, seed=7, mode=mode, wanted=both)
    assert found.examples.shape == (2, *inputs.shape)
    assert found.step_sizes.shape == (2, program.length(5)) == (2, 6)
    dx, dy, dw = (
        torch.randn(each.shape, generator=torch.Generator().manual_seed(3)).double()
        for each in (inputs, targets, thetas)
    )

    def value(h):
        moved = train_stack(loss, thetas + h * dw, inputs + h * dx, targets + h * dy, program, seed=7)
        return objective(deque(moved, maxlen=1).pop())

    slope = (value(1e-5) - value(-1e-5)) / 2e-5
    along = (found.examples * dx).flatten(1).sum(1) + (found.labels * dy).flatten(1).sum(1)
    torch.testing.assert_close(along + (found.initial * dw).sum(1), slope, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(found.objective, value(0.0))


def test_the_gradient_for_the_step_sizes_of_an_augmented_program_is_the_central_difference():
    loss, objective, thetas, inputs, targets, program = problem_of(Siamese(one=False))
    sizes = torch.tensor([[0.3], [0.1], [0.2]]).double()
    ordered = replace(program, order=Ordered(step_sizes=sizes))
    found = differentiated(loss, objective, thetas, inputs, targets, ordered)
    for t in range(3):
        moved = torch.zeros_like(sizes)
        moved[t] = 1e-5
        plus, minus = (
            objective(deque(train_stack(loss, thetas, inputs, targets, replace(ordered, order=order)), maxlen=1).pop())
            for order in (Ordered(step_sizes=sizes + moved), Ordered(step_sizes=sizes - moved))
        )
        torch.testing.assert_close(found.step_sizes[:, t], (plus - minus) / 2e-5, rtol=1e-6, atol=1e-9)


def test_a_window_of_a_program_leaves_the_examples_of_other_steps_without_a_gradient():
    loss, objective, thetas, inputs, targets, program = problem_of(None)
    ordered = replace(program, order=Ordered(step_sizes=torch.full((1, 5), 0.1).double()))
    found = differentiated(loss, objective, thetas, inputs, targets, ordered, window=range(3, 5))
    assert not found.examples[:, :3].any()
    assert found.examples[:, 3:].abs().min() > 0


@pytest.mark.parametrize("optimiser", OPTIMISERS.values(), ids=OPTIMISERS)
def test_all_gradients_have_the_type_of_the_weights(optimiser):
    loss, objective, *tensors, program = problem_of(Siamese(one=False))
    program = replace(program, optimiser=optimiser, order=replace(program.order, step_size=0.05))
    double = differentiated(loss, objective, *tensors, program)
    real, truth = torch.randn(4, 1, 4, 4, generator=torch.Generator().manual_seed(1)), torch.arange(4) % 3
    assert {double.examples.dtype, double.step_sizes.dtype} == {torch.float64}
    network = build("tests.problems:smooth", shape=(1, 4, 4), classes=3)

    def objective32(finals):
        return torch.stack([cross_entropy(network.apply(theta, real), truth) for theta in finals])

    found = differentiated(loss, objective32, *(each.float() for each in tensors), program)
    for each in (found.objective, found.examples, found.step_sizes, found.initial, found.final):
        assert each.dtype == torch.float32
    torch.testing.assert_close(found.final, double.final.float(), rtol=1e-3, atol=1e-3)
