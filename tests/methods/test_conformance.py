"""What every method promises, asked of every method that is found."""

import dataclasses

import pytest
import torch

from datastill import distributed
from datastill.methods import METHODS, Method, Problem
from datastill.networks import build
from datastill.networks.start import parse_start

from ..toys import toy_config, toy_data

DATA = toy_data()
SMALL = {"dataset-distillation": toy_config().method}


@pytest.fixture(params=sorted(METHODS))
def method(request: pytest.FixtureRequest) -> Method:
    return SMALL.get(request.param) or METHODS[request.param]()


def problem(initial: str = "random", seed: int = 0) -> Problem:
    network = build("mlp(width=8,depth=1)", shape=DATA.shape, classes=DATA.classes)
    draws = parse_start(initial).bound(network, seed=seed)
    return Problem(data=DATA, network=network, draws=draws, seed=seed)


def test_settings_are_frozen_and_each_is_explained(method: Method) -> None:
    assert dataclasses.is_dataclass(method)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(method, dataclasses.fields(method)[0].name, 1)
    assert type(method)().name == method.name, "every setting has a default"


@pytest.mark.parametrize("initial", ["random", "fixed"])
def test_there_is_one_gradient_per_network_and_nothing_is_changed(method: Method, initial: str) -> None:
    given = problem(initial)
    learned = method.start(given)
    before = {name: value.clone() for name, value in learned.items()}
    update = method.gradient(given, learned, 0)
    assert update.gradients.keys() == learned.keys() == method.rates().keys()
    for name, value in learned.items():
        assert torch.equal(value, before[name])
        assert update.gradients[name].shape[1:] == value.shape
        assert update.gradients[name].isfinite().all()
        assert not update.gradients[name].requires_grad
    assert update.objective > 0


def test_an_iteration_is_a_function_of_its_arguments_alone(method: Method) -> None:
    learned = method.start(problem())
    state = torch.random.get_rng_state()
    first = method.gradient(problem(), learned, 7)
    torch.rand(3)
    second = method.gradient(problem(), learned, 7)
    other = method.gradient(problem(), learned, 8)
    torch.random.set_rng_state(state)
    for name in learned:
        assert torch.equal(first.gradients[name], second.gradients[name])
        assert not torch.equal(first.gradients[name], other.gradients[name])


def test_processes_compute_their_own_networks(method: Method, monkeypatch: pytest.MonkeyPatch) -> None:
    given = problem()
    learned = method.start(given)
    whole, parts = method.gradient(given, learned, 3), []
    for rank in range(2):
        monkeypatch.setattr(distributed, "ranks", lambda: 2)
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        parts.append(method.gradient(given, learned, 3))
    for name, gradients in whole.gradients.items():
        torch.testing.assert_close(torch.cat([part.gradients[name] for part in parts]), gradients)


def test_the_global_generator_is_left_alone(method: Method) -> None:
    before = torch.random.get_rng_state()
    given = problem()
    method.gradient(given, method.start(given), 0)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_seed_decides_the_start(method: Method) -> None:
    same, again, other = (method.start(problem(seed=seed)) for seed in (0, 0, 1))
    assert all(torch.equal(same[name], again[name]) for name in same)
    assert any(not torch.equal(same[name], other[name]) for name in same)


def test_the_result_is_a_set_that_can_be_trained_on(method: Method) -> None:
    given = problem()
    result = method.result(given, method.start(given))
    steps, batch = result.examples.shape[:2]
    assert result.examples.shape[2:] == DATA.shape
    assert result.labels.shape[:2] == (steps, batch)
    assert result.step_sizes.shape[1] == steps
    assert (result.step_sizes > 0).all()
