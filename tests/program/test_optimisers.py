"""Inner optimisers against those of PyTorch, and their derivatives against autograd and closed forms."""

from typing import get_args

import pytest
import torch

from datastill.errors import UserError
from datastill.program import (
    OPTIMISERS,
    Adam,
    AdamW,
    Clipped,
    GradientDescent,
    Momentum,
    OptimiserName,
    known_name,
    limit_gradient,
    optimiser,
    torch_form,
)

PEERS = {
    "sgd": lambda weights: torch.optim.SGD(weights, lr=1.0),
    "momentum": lambda weights: torch.optim.SGD(weights, lr=1.0, momentum=0.9),
    "adam": lambda weights: torch.optim.Adam(weights, lr=1.0, eps=1e-5),
    "adamw": lambda weights: torch.optim.AdamW(weights, lr=1.0, eps=1e-5, weight_decay=0.01),
    "momentum-decay": lambda weights: torch.optim.SGD(weights, lr=1.0, momentum=0.9, weight_decay=5e-4),
}
every = pytest.mark.parametrize("name", PEERS)
both_types = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def normal(*size: int, seed: int) -> torch.Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def after(name: str, steps: int, networks: int = 3, size: int = 5) -> tuple:
    """A state with moments that are not zero, with a gradient and cotangents of its shape."""
    rule = optimiser(name)
    state = rule.start(normal(networks, size, seed=0))
    for t in range(steps):
        state = rule.update(state, normal(networks, size, seed=10 + t), torch.tensor(0.1, dtype=torch.float64), t)
    cotangents = tuple(normal(networks, size, seed=50 + i) for i in range(len(state)))
    return state, normal(networks, size, seed=30), cotangents


def test_every_optimiser_has_a_peer_here_and_goes_by_its_own_name():
    assert set(OPTIMISERS) == set(PEERS) == set(get_args(OptimiserName))
    assert all(known_name(optimiser(name)) == name for name in PEERS)
    assert not known_name(GradientDescent(weight_decay=0.3))


def test_clipped_gradients_are_those_of_torch_for_each_network():
    rule, start, gradient = Clipped(inside=optimiser("sgd"), limit=1.5), normal(3, 5, seed=0), normal(3, 5, seed=1)
    gradient[1] *= 0.1  # below the limit
    (found,) = rule.update(rule.start(start), gradient, torch.tensor(0.5, dtype=torch.float64), 0)
    for i in range(3):
        weights = start[i].clone().requires_grad_()
        weights.grad = gradient[i].clone()
        torch.nn.utils.clip_grad_norm_([weights], 1.5)
        torch.testing.assert_close(found[i], start[i] - 0.5 * weights.grad, rtol=1e-5, atol=1e-7)


@every
def test_training_is_what_torch_does_with_a_step_size_of_its_own_at_each_step(name):
    rule, start = optimiser(name), normal(2, 5, seed=0)
    weights = start.clone().requires_grad_()
    peer = PEERS[name]([weights])
    state = rule.start(start)
    for t, step_size in enumerate(torch.tensor([0.3, 0.01, 0.2, 0.0, 0.5, 0.1, 0.05], dtype=torch.float64)):
        gradient = (1 + t) * normal(2, 5, seed=10 + t)
        weights.grad = gradient.clone()
        peer.param_groups[0]["lr"] = float(step_size)
        peer.step()
        state = rule.update(state, gradient, step_size, t)
        torch.testing.assert_close(state[0], weights.detach(), rtol=0, atol=1e-7)
    assert (state[0] - start).abs().min() > 1e-3


@every
def test_training_starts_from_the_weights_with_all_moments_at_zero(name):
    weights = normal(2, 5, seed=0)
    first, *moments = optimiser(name).start(weights)
    assert torch.equal(first, weights)
    assert all(torch.equal(moment, torch.zeros_like(weights)) for moment in moments)


@every
@pytest.mark.parametrize("t", [0, 1, 6])
def test_the_way_back_is_autograd_of_the_update_for_each_network_alone(name, t):
    rule = optimiser(name)
    state, gradient, cotangents = after(name, t)
    eta = torch.tensor(0.2, dtype=torch.float64)
    old, u, d_sizes = rule.pull(state, gradient, eta, t, cotangents)
    assert d_sizes.shape == (3,)
    for i in range(3):
        leaves = [each[i : i + 1].clone().requires_grad_() for each in (*state, gradient)]
        size = eta.clone().requires_grad_()
        new = rule.update(tuple(leaves[:-1]), leaves[-1], size, t)
        value = sum((a * b[i]).sum() for a, b in zip(new, cotangents, strict=True))
        *expected, d_size = torch.autograd.grad(value, [*leaves, size])
        for found, wanted in zip((*old, u), expected, strict=True):
            torch.testing.assert_close(found[i : i + 1], wanted, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(d_sizes[i], d_size, rtol=1e-12, atol=1e-14)


@every
def test_the_way_back_is_the_central_difference_of_the_update(name):
    rule, t = optimiser(name), 4
    state, gradient, cotangents = after(name, t)
    eta = torch.tensor(0.2, dtype=torch.float64)
    old, u, d_sizes = rule.pull(state, gradient, eta, t, cotangents)
    directions = [normal(3, 5, seed=70 + i) for i in range(len(state) + 1)]

    def moved(h: float):
        *at, g = (each + h * d for each, d in zip((*state, gradient), directions, strict=True))
        new = rule.update(tuple(at), g, eta + h, t)
        return sum((a * b).sum(1) for a, b in zip(new, cotangents, strict=True))

    along = d_sizes + sum((a * d).sum(1) for a, d in zip((*old, u), directions, strict=True))
    torch.testing.assert_close(along, (moved(1e-7) - moved(-1e-7)) / 2e-7, rtol=1e-6, atol=1e-7)


@every
def test_the_way_back_returns_no_graph_and_works_under_no_grad(name):
    state, gradient, cotangents = after(name, 2)
    with torch.no_grad():
        old, u, d_sizes = optimiser(name).pull(state, gradient, torch.tensor(0.2).double(), 2, cotangents)
    assert not any(each.requires_grad for each in (*old, u, d_sizes, *state, gradient))
    assert d_sizes.abs().min() > 0


@both_types
def test_adam_does_not_move_a_weight_that_never_had_a_gradient_and_its_derivative_there_is_one_over_epsilon(dtype):
    rule = optimiser("adam")
    state, zero = rule.start(torch.ones(2, 3, dtype=dtype)), torch.zeros(2, 3, dtype=dtype)
    cotangents = tuple(normal(2, 3, seed=i).to(dtype) for i in range(3))
    eta = torch.tensor(0.1, dtype=dtype)
    assert torch.equal(rule.update(state, zero, eta, 0)[0], state[0])

    old, u, d_sizes = rule.pull(state, zero, eta, 0, cotangents)
    assert torch.equal(old[0], cotangents[0])
    assert torch.equal(d_sizes, torch.zeros_like(d_sizes))
    assert all(each.isfinite().all() for each in (*old, u))
    # theta - eta (m / 0.1) / sqrt(v / 0.001 + epsilon^2) with m = 0.1 g, v = 0.001 g^2; m' = 0.1 g has a cotangent too
    torch.testing.assert_close(u, -eta * cotangents[0] / rule.epsilon + 0.1 * cotangents[1], rtol=1e-6, atol=0.0)


@both_types
@pytest.mark.parametrize("t", [0, 1, 1000])
def test_adam_has_finite_derivatives_at_the_smallest_gradients(dtype, t):
    rule = optimiser("adam")
    gradient = torch.tensor([[0.0, 1e-30, -1e-20, 1e-12, -1e-8, 1e-4]], dtype=dtype)
    state = rule.start(torch.ones_like(gradient))
    cotangents = tuple(torch.ones_like(gradient) for _ in state)
    old, u, d_sizes = rule.pull(state, gradient, torch.tensor(0.1, dtype=dtype), t, cotangents)
    assert all(each.isfinite().all() for each in (*old, u, d_sizes))


def test_an_unknown_optimiser_is_refused_with_the_nearest_known_one():
    with pytest.raises(UserError, match=r"unknown optimiser 'momentun': did you mean 'momentum'\?.*adam.*sgd"):
        optimiser("momentun")


DECAYED = {
    "descent": (GradientDescent(weight_decay=0.3), lambda w: torch.optim.SGD(w, lr=1.0, weight_decay=0.3)),
    "momentum": (
        Momentum(decay=0.5, weight_decay=0.3),
        lambda w: torch.optim.SGD(w, lr=1.0, momentum=0.5, weight_decay=0.3),
    ),
    "adam": (Adam(weight_decay=0.3), lambda w: torch.optim.Adam(w, lr=1.0, eps=1e-5, weight_decay=0.3)),
    "adamw": (AdamW(weight_decay=0.3), lambda w: torch.optim.AdamW(w, lr=1.0, eps=1e-5, weight_decay=0.3)),
}
"""Rules with a large weight decay, and their peers in torch."""
every_decayed = pytest.mark.parametrize(("rule", "peer"), DECAYED.values(), ids=DECAYED)


@every_decayed
def test_weight_decay_is_that_of_torch(rule, peer):
    start = normal(2, 5, seed=0)
    weights, state = start.clone().requires_grad_(), rule.start(start)
    torchs = peer([weights])
    for t in range(6):
        weights.grad = normal(2, 5, seed=10 + t)
        torchs.param_groups[0]["lr"] = 0.1 / (1 + t)
        torchs.step()
        state = rule.update(state, normal(2, 5, seed=10 + t), torch.tensor(0.1 / (1 + t), dtype=torch.float64), t)
    torch.testing.assert_close(state[0], weights.detach(), rtol=1e-12, atol=1e-12)


@every_decayed
def test_the_way_back_through_weight_decay_is_the_central_difference(rule, peer):
    state = rule.start(normal(3, 5, seed=0))
    for t in range(3):
        state = rule.update(state, normal(3, 5, seed=10 + t), torch.tensor(0.1, dtype=torch.float64), t)
    assert_back_is_the_difference(rule, state, 3)


def assert_back_is_the_difference(rule, state, t):
    gradient, eta = normal(3, 5, seed=30), torch.tensor(0.2, dtype=torch.float64)
    cotangents = tuple(normal(3, 5, seed=50 + i) for i in range(len(state)))
    old, u, d_sizes = rule.pull(state, gradient, eta, t, cotangents)
    directions = [normal(3, 5, seed=70 + i) for i in range(len(state) + 1)]

    def moved(h):
        *at, g = (each + h * d for each, d in zip((*state, gradient), directions, strict=True))
        new = rule.update(tuple(at), g, eta + h, t)
        return sum((a * b).sum(1) for a, b in zip(new, cotangents, strict=True))

    along = d_sizes + sum((a * d).sum(1) for a, d in zip((*old, u), directions, strict=True))
    torch.testing.assert_close(along, (moved(1e-6) - moved(-1e-6)) / 2e-6, rtol=1e-5, atol=1e-6)


@every_decayed
def test_without_a_gradient_weights_shrink_towards_zero(rule, peer):
    state = rule.start(normal(2, 5, seed=0))
    for t in range(5):
        before, state = state, rule.update(state, torch.zeros(2, 5).double(), torch.tensor(0.01).double(), t)
        assert (state[0].abs() < before[0].abs()).all()


@pytest.mark.parametrize("limit", [0.5, 100.0])
def test_a_limit_in_the_form_of_torch_is_that_of_the_rule(limit):
    start, gradient = normal(1, 5, seed=0), normal(1, 5, seed=1)
    weights = [torch.nn.Parameter(start[0, :2].clone()), torch.nn.Parameter(start[0, 2:].clone())]
    weights[0].grad, weights[1].grad = gradient[0, :2].clone(), gradient[0, 2:].clone()
    limit_gradient(weights, limit)
    peer = torch_form(GradientDescent(), weights)
    peer.param_groups[0]["lr"] = 0.5
    peer.step()
    rule = Clipped(inside=GradientDescent(), limit=limit)
    (found,) = rule.update((start,), gradient, torch.tensor(0.5).double(), 0)
    torch.testing.assert_close(found[0], torch.cat([each.detach() for each in weights]))
