"""What steps of a kind cannot do is refused by name, and never silently wrong."""

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from datastill.errors import UserError
from datastill.training import EagerSteps, ForwardSteps, OnReal, TracedSteps, Untraceable, hypergradient, traced
from datastill.training.steps import explain_missing_derivative

from .cases import SMOOTH, arguments, around, close, derivatives, of_module

# --- what cannot be traced, compiled or differentiated


def branching(h: Tensor) -> Tensor:
    return h.tanh() if h.sum() > 0 else h.sin()


@pytest.mark.parametrize("what", ["gradient", "linearise"])
def test_a_network_that_branches_on_values_cannot_be_traced_and_is_told_so(what):
    loss, at, u = around(branching, networks=2)
    with pytest.raises(Untraceable, match=r"steps cannot be traced here \(.+\); take execution=eager"):
        getattr(TracedSteps(loss), what)(*at)
    assert issubclass(Untraceable, UserError)
    gradient, back = EagerSteps(loss).linearise(*at)
    expected, forward = ForwardSteps(loss).linearise(*at)
    close((gradient, *derivatives(back, u)), (expected, *derivatives(forward, u)))


def without_gradient(h: Tensor) -> Tensor:
    with torch.no_grad():
        scale = h.norm(dim=1, keepdim=True)
    return (h / scale).tanh()


def how_many(h: Tensor) -> Tensor:
    return h.tanh() * len(torch.nonzero(h > 0))


def picked(h: Tensor) -> Tensor:
    return h.tanh() * h[h > 0].sum()


def wrong(**marks):
    return pytest.mark.xfail(strict=True, **marks)


@pytest.mark.parametrize(
    ("kind", "middle"),
    [
        pytest.param(ForwardSteps, without_gradient, marks=wrong(reason="forward AD goes through torch.no_grad")),
        (TracedSteps, without_gradient),
        (ForwardSteps, lambda h: h.tanh() + (h.round() - h).detach()),
        (TracedSteps, lambda h: h.tanh() + (h.round() - h).detach()),
        (ForwardSteps, how_many),
        (TracedSteps, how_many),
        (ForwardSteps, picked),
        (TracedSteps, picked),
    ],
)
def test_steps_of_a_network_with_something_odd_in_it_are_those_of_autograd_or_refused(kind, middle):
    loss, (thetas, batch), u = around(middle)
    steps = kind(loss)
    for factor in (1, -2):
        try:
            gradient, back = steps.linearise(factor * thetas, batch)
            found = (gradient, *derivatives(back, u))
        except UserError:
            return
        expected, expected_back = EagerSteps(loss).linearise(factor * thetas, batch)
        close(found, (expected, *derivatives(expected_back, u)))


def test_an_objective_that_branches_on_values_cannot_be_traced_either():
    loss, (thetas, *_), _ = arguments(SMOOTH)
    images = torch.zeros(2, 3, 1, 3, 3, dtype=torch.float64)
    branches = OnReal(
        lambda t, x, y: t.sum(1) if x.sum() > 0 else -t.sum(1), images, torch.zeros(2, 3, dtype=torch.long)
    )
    with pytest.raises(Untraceable, match="steps cannot be traced here"):
        TracedSteps(loss).evaluate(branches, thetas)
    close(EagerSteps(loss).evaluate(branches, thetas), (-thetas.sum(1), -torch.ones_like(thetas)))


@pytest.mark.parametrize("what", ["gradient", "linearise"])
def test_without_a_compiler_the_reason_and_the_way_out_are_told(what, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("no compiler\nand a long story")

    monkeypatch.setattr(traced.torch, "compile", fail)
    loss, at, _ = arguments(SMOOTH)
    message = r"steps cannot be compiled here \(no compiler\); take execution=eager"
    with pytest.raises(Untraceable, match=message) as raised:
        getattr(TracedSteps(loss, compiled=True), what)(*at)
    assert "\n" not in str(raised.value)
    getattr(TracedSteps(loss), what)(*at)


def test_a_compiler_that_fails_at_the_first_call_is_told_too(monkeypatch):
    def broken(*_):
        raise AssertionError

    monkeypatch.setattr(traced.torch, "compile", lambda graph, **_: broken)
    loss, at, _ = arguments(SMOOTH)
    with pytest.raises(Untraceable, match=r"cannot be compiled here \(AssertionError\)"):
        TracedSteps(loss, compiled=True).gradient(*at)


class Sampling(nn.Module):
    """Features that are sampled between their pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 2, 3, padding=1), nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        half = 0.7 * torch.eye(2, 3, dtype=x.dtype).expand(len(x), 2, 3)
        grid = F.affine_grid(half, list(x.shape), align_corners=False)
        return self.last(F.grid_sample(self.first(x).tanh(), grid, align_corners=False).flatten(1))


def can_be_sampled_twice() -> bool:
    """Whether PyTorch itself differentiates grid_sample twice."""
    x, grid = torch.rand(1, 1, 3, 3, requires_grad=True), torch.zeros(1, 2, 2, 2)
    (gradient,) = torch.autograd.grad(F.grid_sample(x, grid, align_corners=False).sin().sum(), x, create_graph=True)
    try:
        gradient.sin().sum().backward()
    except (RuntimeError, NotImplementedError):
        return False
    return True


def test_an_operation_without_forward_derivative_is_named_and_autograd_does_it():
    if not can_be_sampled_twice():
        pytest.skip("this version of PyTorch has no second derivative of grid_sample, like torch 2.6")
    loss, (thetas, batch), u = of_module(Sampling())
    _, back = ForwardSteps(loss).linearise(thetas, batch)
    with pytest.raises(UserError, match=r"uses grid_sampler_2d, which has no forward derivative; .*execution=eager"):
        back(u)
    for kind in (EagerSteps, TracedSteps):
        steps, h = kind(loss), 1e-5
        hessian_u, _ = steps.linearise(thetas, batch)[1](u)
        along = (steps.gradient(thetas + h * u, batch) - steps.gradient(thetas - h * u, batch)) / (2 * h)
        torch.testing.assert_close(hessian_u, along, rtol=1e-6, atol=1e-8)


class Once(torch.autograd.Function):
    """A sine that can be differentiated once only."""

    @staticmethod
    def forward(ctx, x):
        """sin x."""
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    @once_differentiable
    def backward(ctx, u):
        """u cos x."""
        return u * ctx.saved_tensors[0].cos()


@pytest.mark.parametrize("mode", ["stored", "recomputed"])
@pytest.mark.parametrize(
    ("middle", "name"),
    [
        (lambda h: h * F.pdist(h).sum(), "_pdist_backward"),
        (Once.apply, "a function that can be differentiated once only"),
    ],
    ids=["pdist", "once"],
)
@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_an_operation_without_second_derivative_is_refused_as_no_mode_can_do_without_it(middle, name, mode):
    loss, (thetas, (x, y)), _ = around(middle)
    sizes = torch.ones(1, 1, dtype=torch.float64)
    with pytest.raises(UserError, match=f"uses '?{name}'?, which has no second derivative; no mode can do without it"):
        hypergradient(loss, lambda t: t.sum(1), thetas, x, y, sizes, mode=mode)


def test_a_loss_with_attention_of_its_own_is_told_how_to_be_differentiated_twice():
    def loss(thetas: Tensor, x: Tensor, y: Tensor) -> Tensor:
        q = x.flatten(2)[:, None, :, :9] * thetas[:, None, None, :9]
        return F.scaled_dot_product_attention(q, q, q).square().sum((1, 2, 3))

    (thetas, batch), u = around(torch.tanh)[1:]
    with pytest.raises(UserError, match=r"call this inside: with torch.nn.attention.sdpa_kernel"):
        EagerSteps(loss).linearise(thetas, batch)[1](u)


def test_other_errors_are_left_as_they_are():
    with (
        pytest.raises(RuntimeError, match="out of luck") as raised,
        explain_missing_derivative("second", "do something"),
    ):
        raise RuntimeError("out of luck")
    assert not isinstance(raised.value, UserError)
