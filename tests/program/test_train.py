"""Training by a program: a stack of weights and a module end at equal weights, and nothing is copied per epoch."""

import weakref
from collections import deque
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from datastill.errors import UserError
from datastill.networks import build
from datastill.program import (
    AUGMENTATIONS,
    OPTIMISERS,
    PROGRAMS,
    AdamW,
    CrossEntropy,
    Divergence,
    Ordered,
    Program,
    Shuffled,
    SquaredError,
    train_module,
    train_stack,
)

N, CLASSES, SHAPE = 6, 3, (1, 8, 8)
ORDERS = {
    "ordered": Ordered(step_sizes=torch.tensor([[0.1, 0.05], [0.02, 0.08]]).double()),
    "shuffled": Shuffled(epochs=2, batch=4, step_size=0.05, schedule="cosine"),
}
NETWORK = build("convnet(width=4,depth=1,norm=instance)", shape=SHAPE, classes=CLASSES)


def given(seed: int = 0):
    g = torch.Generator().manual_seed(seed)
    inputs = torch.randn(N, *SHAPE, generator=g, dtype=torch.float64)
    return inputs, torch.arange(N) % CLASSES, NETWORK.init("xavier", [g], torch.float64)


def by_stack(program: Program, inputs, targets, thetas, seed=0):
    def loss(weights, x, y):
        return program.loss.means(NETWORK.apply_many(weights, x), y)

    return deque(train_stack(loss, thetas, inputs, targets, program, seed), maxlen=1).pop()


def by_module(program: Program, inputs, targets, thetas, seed=0):
    module = NETWORK.factory().double()
    vector_to_parameters(thetas[0].clone(), module.parameters())
    train_module(module, list(module.parameters()), inputs, targets, program, seed)
    return parameters_to_vector(module.parameters()).detach()[None]


def assert_equal_weights(program: Program, inputs, targets, thetas) -> None:
    one, other = (train(program, inputs, targets, thetas, seed=5) for train in (by_stack, by_module))
    torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)
    assert (one - thetas).abs().max() > 1e-4


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("name", OPTIMISERS)
def test_a_stack_and_a_module_end_at_equal_weights(order, name):
    assert_equal_weights(Program(order=order, optimiser=OPTIMISERS[name]), *given())


@pytest.mark.parametrize("clip", [0.0, 0.1])
@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_equal_weights_with_every_augmentation_and_with_a_limit(name, clip):
    program = Program(order=ORDERS["shuffled"], augmentation=AUGMENTATIONS[name], clip=clip)
    assert_equal_weights(program, *given())


@pytest.mark.parametrize("loss", [CrossEntropy(), Divergence(temperature=4.0), SquaredError()], ids=str)
def test_equal_weights_with_every_loss(loss):
    inputs, _, thetas = given()
    targets = torch.randn(N, CLASSES, generator=torch.Generator().manual_seed(3)).double()
    assert_equal_weights(Program(order=ORDERS["ordered"], loss=loss), inputs, targets, thetas)


def test_ordered_training_is_an_ordinary_loop_over_epochs_and_steps():
    inputs, targets, thetas = given()
    module = NETWORK.factory().double()
    vector_to_parameters(thetas[0].clone(), module.parameters())
    sizes = ORDERS["ordered"].step_sizes
    optimiser = torch.optim.SGD(module.parameters(), lr=1.0)
    for epoch in range(2):
        for step in range(2):
            optimiser.param_groups[0]["lr"] = float(sizes[epoch, step])
            optimiser.zero_grad()
            batch = slice(3 * step, 3 * step + 3)
            nn.functional.cross_entropy(module(inputs[batch]), targets[batch]).backward()
            optimiser.step()
    expected = parameters_to_vector(module.parameters()).detach()[None]
    torch.testing.assert_close(by_stack(Program(order=ORDERS["ordered"]), inputs, targets, thetas), expected)


def test_networks_of_a_stack_do_not_depend_on_each_other():
    inputs, targets, thetas = given()
    other = NETWORK.init("xavier", [torch.Generator().manual_seed(9)], torch.float64)
    program = replace(PROGRAMS["shuffled-300"], order=ORDERS["shuffled"])
    both = by_stack(program, inputs, targets, torch.cat([thetas, other]))
    for alone, found in zip((thetas, other), both, strict=True):
        torch.testing.assert_close(found[None], by_stack(program, inputs, targets, alone))


def test_training_works_under_no_grad_keeps_no_graph_and_leaves_its_arguments_as_they_were():
    inputs, targets, thetas = given()
    before = inputs.clone(), thetas.clone()
    with torch.no_grad():
        final = by_stack(Program(order=ORDERS["ordered"]), inputs.requires_grad_(), targets, thetas.requires_grad_())
    assert not final.requires_grad
    assert torch.equal(inputs, before[0])
    assert torch.equal(thetas, before[1])


def test_the_batch_of_an_ordered_step_is_a_view_of_the_inputs():
    inputs, targets, _ = given()
    program = Program(order=ORDERS["ordered"])
    for step in program.steps(N):
        x, y = program.batch(inputs, targets, step)
        assert x.untyped_storage().data_ptr() == inputs.untyped_storage().data_ptr()
        assert torch.equal(y, targets[step.which])


def test_the_augmentation_is_drawn_anew_at_each_step_and_follows_from_the_seed():
    inputs, targets, _ = given()
    program = Program(order=Ordered(step_sizes=torch.ones(5, 1)), augmentation=AUGMENTATIONS["shift"])

    def batches(seed):
        return [program.batch(inputs, targets, step)[0] for step in program.steps(N, seed)]

    assert all(map(torch.equal, batches(1), batches(1)))
    assert not any(map(torch.equal, batches(1), batches(2)))
    assert not any(torch.equal(batches(1)[0], other) for other in batches(1)[1:])


def test_no_batch_outlives_its_step():
    inputs, targets, thetas = given()
    batches: list[weakref.ref[torch.Tensor]] = []

    def loss(weights, x, y):
        assert sum(each() is not None for each in batches) <= 1, "no more than the batch of the step before"
        batches.append(weakref.ref(x))
        return CrossEntropy().means(NETWORK.apply_many(weights, x), y)

    program = replace(PROGRAMS["shuffled-300"], order=Shuffled(epochs=20))
    deque(train_stack(loss, thetas, inputs, targets, program), maxlen=0)
    assert len(batches) == 20
    endless = replace(program, order=Shuffled(epochs=10**6))
    assert next(endless.steps(N)).which.shape == (N,), "steps are made when they are taken"


def test_the_named_program_is_that_of_the_field():
    program = PROGRAMS["shuffled-300"]
    assert program.order == Shuffled(epochs=300, batch=256, step_size=0.01, schedule="drop")
    assert program.optimiser.arguments["momentum"] == 0.9
    assert program.optimiser.arguments["weight_decay"] == 5e-4
    assert program.length(100) == 300
    assert program.length(500) == 600


def test_adamw_of_a_program_is_not_adam():
    order = ORDERS["ordered"]
    adam, adamw = (
        by_stack(Program(order=order, optimiser=rule), *given())
        for rule in (OPTIMISERS["adam"], AdamW(weight_decay=0.5))
    )
    assert (adam - adamw).abs().max() > 1e-3


def test_a_program_that_does_not_fit_the_examples_is_refused():
    inputs, targets, thetas = given()
    with pytest.raises(UserError, match="4 ordered steps cannot share 6 examples evenly"):
        by_stack(Program(order=Ordered(step_sizes=torch.ones(1, 4))), inputs, targets, thetas)
    with pytest.raises(UserError, match=r"clip is -1\.0"):
        Program(order=ORDERS["ordered"], clip=-1.0)
