"""The settings of how hypergradients are computed, and layers in half precision."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from datastill.errors import UserError
from datastill.methods import State
from datastill.networks import build
from datastill.program import Ordered
from datastill.run import prepare
from datastill.training import (
    PLAIN,
    EagerSteps,
    Engine,
    ForwardSteps,
    Hypergradient,
    TracedSteps,
    hypergradient,
    mean_loss,
)

from ..problems import classify, smooth
from ..toys import toy_config, toy_data, unrolled
from .cases import shared

CONVNET = "convnet(width=8,depth=2)"
EXECUTIONS = {"eager": EagerSteps, "forward": ForwardSteps, "traced": TracedSteps, "compiled": TracedSteps}


@pytest.mark.parametrize(("name", "value", "least"), [("keep_every", 0, 1), ("keep_every", -2, 1), ("together", -1, 0)])
def test_numbers_that_are_too_small_are_refused_by_name_value_and_limit(name, value, least):
    with pytest.raises(UserError, match=f"{name} is {value}, but must be at least {least}"):
        Engine(**{name: value})


def test_keeping_weights_less_often_is_refused_where_graphs_are_stored():
    with pytest.raises(UserError, match=r"keep_every is 3, but stored graphs .*; take mode recomputed"):
        Engine(mode="stored", keep_every=3)
    assert Engine(mode="recomputed", keep_every=3).keep_every == 3


def test_the_least_numbers_are_taken():
    engine = Engine(keep_every=1, together=0)
    assert (engine.keep_every, engine.together) == (1, 0)


def test_an_engine_cannot_be_changed():
    with pytest.raises(AttributeError):
        Engine().mode = "stored"


@pytest.mark.parametrize(
    ("settings", "resolved"),
    [
        ({}, False),
        ({"mode": "stored", "execution": "eager", "together": 1, "precision": "float32"}, True),
        ({"mode": "recomputed", "execution": "compiled", "together": 4, "precision": "bfloat16"}, True),
        ({"mode": "stored", "execution": "eager", "together": 1}, False),
        ({"mode": "auto", "execution": "eager", "together": 1, "precision": "float32"}, False),
        ({"mode": "stored", "execution": "auto", "together": 1, "precision": "float32"}, False),
        ({"mode": "stored", "execution": "eager", "together": 0, "precision": "float32"}, False),
    ],
)
def test_an_engine_is_resolved_when_mode_execution_precision_and_networks_together_are_chosen(settings, resolved):
    assert Engine(**settings).resolved is resolved


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_steps_are_of_the_kind_that_is_asked_for_and_of_the_loss_that_is_given(execution):
    def loss(thetas, x, y):
        return thetas.sum(1)

    steps = Engine(execution=execution).steps(loss)
    assert type(steps) is EXECUTIONS[execution]
    assert steps.loss is loss
    assert getattr(steps, "compiled", False) is (execution == "compiled")


def test_steps_are_refused_while_the_execution_is_still_to_be_chosen():
    with pytest.raises(UserError, match="still to be chosen; take eager, forward, traced or compiled"):
        Engine().steps(lambda thetas, x, y: thetas.sum(1))


def test_an_engine_tells_people_what_it_is():
    assert str(Engine(mode="stored", execution="eager", together=1, precision="float32")) == (
        "eager steps, stored, one network at a time, float32"
    )
    assert str(Engine(mode="recomputed", execution="traced", together=4, keep_every=5, precision="bfloat16")) == (
        "traced steps, recomputed, weights kept every 5 steps, all networks together, bfloat16"
    )


# --- half precision


def test_single_precision_needs_no_type_of_its_own():
    assert Engine().layers is None
    assert Engine(precision="bfloat16").layers == torch.bfloat16


def close(found: torch.Tensor, expected: torch.Tensor, *, least: float = 1e-5, most: float = 0.05) -> None:
    """In single precision, within a few percent, and not the same: it is if nothing is rounded."""
    assert found.dtype == expected.dtype == torch.float32
    assert least < float((found - expected).norm() / expected.norm()) < most


@pytest.mark.parametrize("networks", [1, 2])
def test_layers_in_half_precision_take_and_give_single_and_round_in_between(networks):
    full = build(CONVNET, shape=(3, 8, 8), classes=3)
    half = full.computing(Engine(precision="bfloat16").layers)
    g = torch.Generator().manual_seed(0)
    thetas = full.init("xavier", [torch.Generator().manual_seed(i) for i in range(networks)])
    x = torch.randn(networks, 4, 3, 8, 8, generator=g)
    close(half.apply_many(thetas, x), full.apply_many(thetas, x))
    assert full.dtype is None
    y = torch.tensor([0, 1, 2, 0])
    close(*(EagerSteps(mean_loss(network)).gradient(thetas, shared(x, y)) for network in (half, full)))


def test_computing_in_no_other_precision_changes_nothing():
    network = build(CONVNET, shape=(3, 8, 8), classes=3)
    theta, x = network.init("xavier", [torch.Generator().manual_seed(0)])[0], torch.ones(2, 3, 8, 8)
    assert torch.equal(network.computing(None).apply(theta, x), network.apply(theta, x))


WAYS = [("eager", "stored"), ("eager", "recomputed"), ("forward", "recomputed"), ("traced", "stored")]


@pytest.mark.parametrize(("execution", "mode"), WAYS)
def test_the_hypergradient_of_layers_in_half_precision_is_in_single_and_close_to_it(execution, mode):
    spec = "convnet(width=8,depth=2,norm=none)"
    double = classify(spec, (3, 8, 8), batch=6, eta=0.02)
    thetas, examples, sizes = (each.float() for each in (double.thetas, double.examples, double.step_sizes))
    full = build(spec, shape=(3, 8, 8), classes=3)

    def through(network) -> Hypergradient:
        steps = Engine(execution=execution).steps(mean_loss(network))

        def objective(finals: torch.Tensor) -> torch.Tensor:
            return double.objective(finals.double()).float()

        return hypergradient(steps, objective, thetas, examples, double.labels, sizes, mode=mode)

    half, single = through(full.computing(torch.bfloat16)), through(full)
    for name in ("examples", "step_sizes", "initial"):
        close(getattr(half, name), getattr(single, name), most=0.1)  # second derivatives round more
    close(half.final, single.final, least=1e-6)
    close(half.objective, single.objective, least=1e-7)


# --- double precision


def test_in_float64_everything_is():
    config = toy_config(engine=replace(PLAIN, precision="float64"), start="fixed")
    task = prepare(config, toy_data()).task
    state = config.method.init(task)
    update = config.method.step(task, state, 0)
    result = config.method.result(task, state)
    order = result.program.order
    assert isinstance(order, Ordered)
    tensors = [task.draws(0, 0, [0]), *state.learned.values(), *update.gradients.values()]
    tensors += [result.inputs, result.targets, order.step_sizes]
    assert {tensor.dtype for tensor in tensors if tensor.is_floating_point()} == {torch.float64}
    assert task.data.batch(torch.Generator(), 2)[0].dtype == torch.float64


def test_in_float64_the_gradient_has_its_digits_and_is_that_of_float32_besides():
    config = toy_config(start="pretrained", network="tests.training.test_engine:steady")
    config = replace(config, method=replace(config.method, coordinates="pixels"))
    found = {}
    for precision in ("float32", "float64"):
        method = unrolled(config.method, engine=replace(PLAIN, precision=precision))
        task = prepare(replace(config, method=method), toy_data()).task
        learned = {name: each.to(task.data.dtype) for name, each in method.init(task).learned.items()}
        found[precision] = method.step(task, State(learned=learned), 0).gradients["examples"]
    difference = (found["float64"] - found["float32"]).norm() / found["float64"].norm()
    assert 1e-10 < difference < 1e-4


def steady(*, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """A network that always starts from equal weights."""
    torch.manual_seed(0)  # the global generator is kept by whoever builds a network
    return smooth(shape=shape, classes=classes)
