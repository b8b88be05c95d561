"""Kernel ridge regression against ordinary ridge regression, and the tangent kernel against integrals and networks."""

import math

import pytest
import torch
from torch import Tensor

from datastill.methods.kernels import fully_connected, ridge_predictions


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_kernel_form_equals_ridge_regression_on_features() -> None:
    features, targets, queries = normal(7, 4), normal(7, 3, seed=1), normal(5, 4, seed=2)
    square = features @ features.T
    penalty = 0.1 * square.diagonal().mean()
    weights = torch.linalg.solve(features.T @ features + penalty * torch.eye(4), features.T @ targets)
    found = ridge_predictions(queries @ features.T, square, targets, 0.1)
    torch.testing.assert_close(found, queries @ weights)


def test_without_a_penalty_the_examples_get_their_own_targets() -> None:
    x, targets = normal(6, 9), normal(6, 2, seed=1)
    square = fully_connected(x, x, depth=3)
    torch.testing.assert_close(ridge_predictions(square, square, targets, 1e-12), targets, rtol=1e-6, atol=1e-6)


def test_a_set_of_as_many_examples_as_a_linear_problem_has_inputs_holds_all_of_its_data() -> None:
    """A linear model is decided by d numbers for each output: d examples can hold what n examples say (to 1e-6)."""
    n, d = 200, 8
    data, answers, queries = normal(n, d), normal(n, 3, seed=1), normal(40, d, seed=2)
    penalty = 1e-3 * float(data.square().sum(1).mean())
    whole = torch.linalg.solve(data.T @ data + penalty * torch.eye(d), data.T @ answers)  # all of the data
    examples = torch.linalg.qr(normal(d, d, seed=3)).Q * math.sqrt(d)  # K_ss = I with the kernel <x, z> / d
    targets = (1 + 1e-9) * examples @ whole
    found = ridge_predictions(
        fully_connected(queries, examples, 0), fully_connected(examples, examples, 0), targets, 1e-9
    )
    torch.testing.assert_close(found, queries @ whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_the_tangent_kernel_is_the_integral_over_all_weights(depth: int) -> None:
    """E[relu(u) relu(v)] and P(u > 0, v > 0) for correlated normal u, v, each by an integral over the angle of (u, v).

    With u = r cos(t), v = r cos(t - a), r and t in polar coordinates: E[r^2] = 2, and t is uniform in [0, 2 pi).
    """
    x, z = normal(3, 5), normal(4, 5, seed=1)
    t = (torch.arange(200_000, dtype=torch.float64) + 0.5) * (2 * math.pi / 200_000)
    found = fully_connected(x, z, depth)
    for i in range(3):
        for k in range(4):
            a = float((x[i] @ z[k] / x[i].norm() / z[k].norm()).acos())
            length = float(x[i].norm() * z[k].norm()) / 5
            theta = length * math.cos(a)
            for _ in range(depth):
                u, v = t.cos(), (t - a).cos()
                sigma = length * 2 * 2 * float((u.relu() * v.relu()).mean())
                theta = sigma + theta * 2 * float(((u > 0) & (v > 0)).double().mean())
                a = math.acos(min(1.0, sigma / length))
            assert float(found[i, k]) == pytest.approx(theta, abs=3e-5)


def test_a_wide_network_has_almost_this_tangent_kernel() -> None:
    """Two hidden layers of 1000 units, weights N(0, 2 / inputs), and an output of variance 1 / inputs."""
    x, width = normal(4, 6), 1000
    first = (normal(width, 6, seed=1) / math.sqrt(6)).requires_grad_()
    second = (normal(width, width, seed=2) * math.sqrt(2 / width)).requires_grad_()
    last = (normal(1, width, seed=3) * math.sqrt(2 / width)).requires_grad_()
    scales = (1 / 6, 2 / width, 2 / width)  # a weight is its parameter times the root of its variance
    outputs = [last @ (second @ (first @ each).relu()).relu() for each in x]
    gradients = [torch.autograd.grad(output.sum(), (first, second, last)) for output in outputs]
    found = torch.stack(
        [
            torch.stack([sum(s * (a * b).sum() for s, a, b in zip(scales, g, h, strict=True)) for h in gradients])
            for g in gradients
        ]
    )
    torch.testing.assert_close(found, fully_connected(x, x, 2), rtol=0.2, atol=0.1)


def test_the_diagonal_grows_by_its_first_value_with_each_layer() -> None:
    x = normal(5, 7)
    lengths = x.square().mean(1)
    for depth in range(4):
        found = fully_connected(x, x, depth).diagonal()
        torch.testing.assert_close(found, (depth + 1) * lengths, rtol=1e-5, atol=1e-5)


def test_gradients_are_finite_for_equal_examples_and_right_for_others() -> None:
    x, targets, queries = normal(4, 5), normal(4, 2, seed=1), normal(3, 5, seed=2)

    def predictions(x: Tensor, targets: Tensor) -> Tensor:
        return ridge_predictions(fully_connected(queries, x), fully_connected(x, x), targets, 1e-2)

    assert torch.autograd.gradcheck(predictions, (x.requires_grad_(), targets.requires_grad_()))
    twice = torch.cat([x[:2], x[:2]]).detach().requires_grad_()
    predictions(twice, targets).sum().backward()
    assert twice.grad is not None
    assert bool(twice.grad.isfinite().all())
