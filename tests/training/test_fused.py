"""Fused optimisers: the same numbers as the plain ones, at every step, and as part of a whole hypergradient."""

import pytest
import torch

from datastill.program import GradientDescent, optimiser
from datastill.training import Engine, hypergradient
from datastill.training.fused import Fused

from ..problems import assert_same, classify

fused = pytest.mark.parametrize("name", ["momentum", "adam"])


def normal(*size: int, seed: int) -> torch.Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@fused
def test_update_and_reverse_are_those_of_the_plain_optimiser_at_every_step(name: str) -> None:
    plain, one = optimiser(name), Fused(optimiser(name))
    state = mine = plain.start(normal(2, 7, seed=0))
    for t in range(12):
        gradient, eta = normal(2, 7, seed=t), torch.tensor(0.1 / (1 + t), dtype=torch.float64)
        cotangents = tuple(normal(2, 7, seed=20 + t + i) for i in range(len(state)))
        for found, wanted in zip(
            (*one.pull(mine, gradient, eta, t, cotangents)[0], *one.pull(mine, gradient, eta, t, cotangents)[1:]),
            (*plain.pull(state, gradient, eta, t, cotangents)[0], *plain.pull(state, gradient, eta, t, cotangents)[1:]),
            strict=True,
        ):
            torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)
        state, mine = plain.update(state, gradient, eta, t), one.update(mine, gradient, eta, t)
        for found, wanted in zip(mine, state, strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)
    assert len(one._compiled) == 2, "one compilation each way, not one for each step"


def test_the_first_step_of_adam_in_float32_is_as_exact_as_float32() -> None:
    rule, gradient, eta = optimiser("adam"), normal(1, 50, seed=1).float() / 1000, torch.tensor(0.1)
    state = rule.start(torch.zeros(1, 50))
    found = Fused(rule).update(state, gradient, eta, 0)
    for one, wanted in zip(found, rule.update(state, gradient, eta, 0), strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, wanted, rtol=1e-6, atol=0)


@fused
def test_a_hypergradient_through_it_is_the_same(name: str) -> None:
    given = classify("mlp(width=7)", (1, 4, 4))
    plain, one = (hypergradient(*given.arguments, optimiser=rule) for rule in (optimiser(name), Fused(optimiser(name))))
    assert_same(one, plain)


def test_only_compiled_steps_have_fused_optimisers_and_plain_descent_stays_plain() -> None:
    assert isinstance(Engine(execution="compiled").optimiser("adam"), Fused)
    assert isinstance(Engine(execution="compiled").optimiser("sgd"), GradientDescent)
    assert Engine(execution="eager").optimiser("adam") is optimiser("adam")
