"""How steps are traced, cut where the way back begins, and compiled."""

import functools
import shutil

import pytest
import torch
from torch import Tensor, nn
from torch.func import functionalize, grad, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional as F

from datastill.training import Batch, EagerSteps, TracedSteps, hypergradient, traced
from datastill.training.traced import cut, is_pointwise, is_view, opaque_pools

from ..problems import CLOSED_FORM, assert_same, classify
from .cases import (
    SMOOTH,
    arguments,
    close,
    derivatives,
    shared,
)

BOTH = ("inputs", "targets")

# --- how a trace is cut


def by_hand(theta: Tensor, x: Tensor, y: Tensor, u: Tensor):
    """The gradient of l = -cos(theta) x and its derivatives along u."""
    return theta.sin() * x, theta.cos() * x * u, theta.sin() * u


def operations(graph) -> list[str]:
    return [str(node.target) for node in graph.graph.nodes if node.op == "call_function"]


def inputs(graph) -> list[str]:
    return [node.name for node in graph.graph.nodes if node.op == "placeholder"]


both_cuts = pytest.mark.parametrize("repeats", [is_view, is_pointwise])


@both_cuts
def test_what_does_not_need_u_is_computed_before_it_and_what_is_pointwise_is_repeated_where_compiled(repeats):
    theta, x, y, u = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    before, after = cut(make_fx(by_hand)(theta, x, y, u), repeats)
    gradient, *kept = before(theta, x, y)
    assert inputs(before) == inputs(after)[:3]
    assert len(inputs(before)) == 3
    assert len(inputs(after)) == 4 + len(kept)
    dear = {"aten.sin.default", "aten.cos.default"} & set(operations(after))
    assert (len(kept), len(dear)) == ((0, 2) if repeats is is_pointwise else (2, 0))  # cos(theta) x, sin(theta)
    found = (gradient, *after(theta, x, y, u, *kept))
    assert all(torch.equal(a, b) for a, b in zip(found, by_hand(theta, x, y, u), strict=True))


def test_products_of_matrices_are_kept_and_what_is_pointwise_after_them_is_repeated():
    def function(theta: Tensor, x: Tensor, y: Tensor, u: Tensor):
        both = (theta @ x).tanh() * (x @ y).exp()
        return both, both * u, both.exp() * u

    theta, x, y, u = torch.randn(4, 3, 3, generator=torch.Generator().manual_seed(0))
    before, after = cut(make_fx(function)(theta, x, y, u), is_pointwise)
    _, *kept = before(theta, x, y)
    assert len(kept) == 2
    assert all(any(torch.equal(each, product) for each in kept) for product in (theta @ x, x @ y))
    assert operations(before).count("aten.mm.default") == 2
    assert "aten.mm.default" not in operations(after)
    found = after(theta, x, y, u, *kept)
    assert all(torch.equal(a, b) for a, b in zip(found, function(theta, x, y, u)[1:], strict=True))


@both_cuts
def test_a_cut_keeps_no_inputs_and_repeats_views_instead_of_keeping_them(repeats):
    def function(theta: Tensor, x: Tensor, y: Tensor, u: Tensor):
        columns, total = theta.view(2, 3).t(), theta.sum()
        return theta - total, (columns @ u.view(2, 3)).flatten()[:6], total * u * x

    theta, x, y, u = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    before, after = cut(make_fx(function)(theta, x, y, u), repeats)
    _, *kept = before(theta, x, y)
    assert [bool(torch.equal(each, theta.sum())) for each in kept] == [True]
    found = after(theta, x, y, u, *kept)
    assert all(torch.equal(a, b) for a, b in zip(found, function(theta, x, y, u)[1:], strict=True))


@both_cuts
def test_derivatives_that_do_not_depend_on_u_or_are_u_itself_can_be_cut_too(repeats):
    def function(theta: Tensor, x: Tensor, y: Tensor, u: Tensor):
        return theta - x, u, torch.zeros_like(x)

    theta, x, y, u = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    before, after = cut(make_fx(function)(theta, x, y, u), repeats)
    gradient, *kept = before(theta, x, y)
    same, zero = after(theta, x, y, u, *kept)
    assert torch.equal(gradient, theta - x)
    assert torch.equal(same, u)
    assert not zero.any()


@pytest.fixture
def cuts(monkeypatch) -> list:
    """The halves of every trace that is cut."""
    made = []

    def cut_and_tell(*of):
        made.append(cut(*of))
        return made[-1]

    monkeypatch.setattr(traced, "cut", cut_and_tell)
    return made


@pytest.mark.parametrize("spec", ["lenet", "convnet(width=4,depth=2,norm=none)"])
def test_the_first_part_of_a_step_knows_no_u_and_the_second_is_linear_in_it(spec, cuts):
    loss, at, u = arguments(spec, networks=1)
    gradient, back = TracedSteps(loss).linearise(*at)
    ((before, after),) = cuts
    kept = before(at[0], *at[1])[1:]
    assert len(inputs(before)) == 3
    assert len(inputs(after)) == 4 + len(kept) > 5
    whole = operations(before).count("aten.convolution.default")
    assert whole == 2  # both layers, forward; those of the second part have u in them
    w = torch.randn(u.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    of_u, of_w = derivatives(back, u), derivatives(back, w)
    close(derivatives(back, 2 * u), [2 * each for each in of_u], 1e-14)
    close(derivatives(back, u + w), [a + b for a, b in zip(of_u, of_w, strict=True)], 1e-13)
    again = derivatives(back, u)  # what is kept is not written over
    assert all(torch.equal(a, b) for a, b in zip(again, of_u, strict=True))
    assert not any(each.any() for each in derivatives(back, torch.zeros_like(u)))
    torch.testing.assert_close((of_u[0] * w).sum(), (of_w[0] * u).sum())  # a Hessian is symmetric
    assert gradient.abs().max() > 0


def test_ways_back_of_several_steps_keep_what_is_theirs():
    loss, (thetas, batch), u = arguments(SMOOTH)
    steps = TracedSteps(loss)
    _, first = steps.linearise(thetas, batch)
    before = derivatives(first, u)
    _, second = steps.linearise(2 * thetas, batch)
    assert all(torch.equal(a, b) for a, b in zip(derivatives(first, u), before, strict=True))
    assert not torch.allclose(second(u)[0], before[0])


# --- when a trace is made


def counted(loss):
    """The loss, and a list that grows with every call of it."""
    calls = []

    def counting(thetas: Tensor, x: Tensor, y: Tensor) -> Tensor:
        calls.append(x.shape)
        return loss(thetas, x, y)

    return counting, calls


def test_a_trace_is_made_once_for_each_shape_and_type():
    problem = CLOSED_FORM["logistic_regression"]()
    loss, calls = counted(problem.loss)
    thetas, x, y = problem.thetas, problem.examples[0].expand(2, -1, -1, -1, -1), problem.labels[0].expand(2, -1)
    u, steps = torch.ones_like(thetas), TracedSteps(loss)

    def new(call) -> bool:
        before = len(calls)
        call()
        return len(calls) > before

    single = (thetas.float(), Batch(x.float(), y.float()))
    for call in (
        lambda: steps.gradient(thetas, Batch(x, y)),
        lambda: steps.gradient(thetas[:1], Batch(x[:1], y[:1])),
        lambda: steps.gradient(thetas, Batch(x[:, :1], y[:, :1])),
        lambda: steps.gradient(*single),
        lambda: steps.linearise(thetas, Batch(x, y))[1](u),
        lambda: steps.linearise(*single),
    ):
        assert new(call)
        assert not new(call)
    assert not new(lambda: steps.gradient(thetas + 1, Batch(2 * x, 1 - y)))


def test_traces_do_not_grow_with_the_length_of_the_program():
    calls = []
    for epochs in (1, 4):
        problem = CLOSED_FORM["quadratic"](epochs=epochs)
        loss, made = counted(problem.loss)
        steps = TracedSteps(loss)
        for mode in ("stored", "recomputed"):
            hypergradient(steps, *problem.arguments[1:], mode=mode)
        calls.append(len(made))
    assert calls[0] == calls[1] <= 4


# --- max-pooling as an operation of our own, and the compiler


POOLS = [
    {"kernel_size": 3, "stride": 1},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": (2, 3), "stride": (1, 2), "dilation": 2},
    {"kernel_size": 3, "stride": 2, "ceil_mode": True},
]


@pytest.mark.parametrize("options", POOLS, ids=str)
@pytest.mark.parametrize("networks", [1, 2])
def test_overlapping_pools_of_our_own_are_those_of_pytorch(options, networks):
    function, x = pooled(options, networks)
    graph = make_fx(functionalize(function))(x)
    expected, before = graph(x), operations(graph)
    ours = opaque_pools(graph)
    assert operations(ours) == [name.replace("aten.max_pool2d_with_indices", "datastill.max_pool") for name in before]
    assert operations(ours) != before
    assert torch.equal(ours(x), expected)
    torch.testing.assert_close(expected, function(x))


@pytest.mark.parametrize("options", [{"kernel_size": 2}, {"kernel_size": 2, "stride": 3}], ids=str)
def test_pools_that_do_not_overlap_are_left_to_the_compiler(options):
    function, x = pooled(options, 1)
    graph = make_fx(functionalize(function))(x)
    before = operations(graph)
    assert operations(opaque_pools(graph)) == before
    assert "aten.max_pool2d_with_indices.default" in before


def pooled(options: dict, networks: int):
    """The gradient of a function with a pool in it, and images for it."""
    x = torch.randn(networks, 2, 3, 7, 8, generator=torch.Generator().manual_seed(0))

    pool = functools.partial(F.max_pool2d, **options)
    pool = vmap(pool) if networks > 1 else pool
    x = x if networks > 1 else x[0]
    return lambda images: grad(lambda z: pool(z).pow(3).sum())(images), x


def pooling(*, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """One convolution, and max-pooling with and without overlap."""
    return nn.Sequential(
        nn.Conv2d(shape[0], 4, 3, padding=1),
        nn.MaxPool2d(3, stride=2, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(4, classes),
    )


@pytest.fixture(scope="module")
def compiled():
    """Compiled steps, the same in float64 by autograd, and the arguments of the former that they were made with."""
    if shutil.which("g++") is None:
        pytest.skip("there is no C++ compiler here")
    problem = classify("tests.training.test_traced:pooling", (1, 4, 4), batch=4, soft=True)
    thetas, x = problem.thetas.float(), problem.examples[0].expand(2, -1, -1, -1, -1).float()
    steps = TracedSteps(problem.loss, compiled=True)
    steps.linearise(thetas, shared(x, problem.labels[0].float()), BOTH)
    return steps, problem


def test_compiled_steps_are_those_of_autograd(compiled):
    steps, problem = compiled
    g = torch.Generator().manual_seed(1)
    thetas, u = (torch.randn(problem.thetas.shape, generator=g, dtype=torch.float64) for _ in range(2))
    x = torch.randn(2, *problem.examples[0].shape, generator=g, dtype=torch.float64)
    gradient, back = steps.linearise(thetas.float(), shared(x.float(), problem.labels[1].float()), BOTH)
    expected, expected_back = EagerSteps(problem.loss).linearise(thetas, shared(x, problem.labels[1]), BOTH)
    found = (gradient, *derivatives(back, u.float()))
    assert all(each.dtype == torch.float32 for each in found)
    close([each.double() for each in found], (expected, *derivatives(expected_back, u)), 1e-4)


def test_a_hypergradient_through_compiled_steps_is_that_of_autograd(compiled):
    steps, problem = compiled
    thetas, x, sizes = (each.float() for each in (problem.thetas, problem.examples, problem.step_sizes))

    def objective(finals: Tensor) -> Tensor:
        return problem.objective(finals.double()).float()

    found, expected = (
        hypergradient(each, objective, thetas, x, problem.labels.float(), sizes, mode="stored", wanted=BOTH)
        for each in (steps, problem.loss)
    )
    assert_same(found, expected, tolerance=1e-4)


def test_compiled_steps_keep_what_is_theirs(compiled):
    steps, problem = compiled
    thetas, x = problem.thetas.float(), problem.examples[0].expand(2, -1, -1, -1, -1).float()
    gradient, first = steps.linearise(thetas, shared(x, problem.labels[0].float()), BOTH)
    before, copy = derivatives(first, torch.ones_like(thetas)), gradient.clone()
    _, second = steps.linearise(2 * thetas, shared(x, problem.labels[0].float()), BOTH)
    second(torch.ones_like(thetas))
    assert torch.equal(gradient, copy)
    assert all(torch.equal(a, b) for a, b in zip(derivatives(first, torch.ones_like(thetas)), before, strict=True))
