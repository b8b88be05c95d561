"""Steps of every kind: the same numbers as autograd's, in pieces, traced, cut and compiled; and what they refuse."""

import functools
import shutil

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.func import functionalize, grad, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional as F

from datastill.errors import UserError
from datastill.networks import Network, build
from datastill.networks.resnet import Block
from datastill.objectives import classification
from datastill.training import EagerSteps, ForwardSteps, OnReal, TracedSteps, Untraceable, hypergradient, traced
from datastill.training.program import inner_loss
from datastill.training.steps import told
from datastill.training.traced import cut, is_pointwise, is_view, opaque_pools

from ..problems import CLOSED_FORM, SMALL, assert_same, classify

SMOOTH = "tests.problems:smooth"
KINDS = {"eager": EagerSteps, "forward": ForwardSteps, "traced": TracedSteps}
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
SLOW = ("alexcifarnet", "resnet18(width=2)", "resnet18(width=2,norm=instance)")
VIEW_FAILS = pytest.mark.xfail(
    strict=True, raises=UserError, reason="F.group_norm has no forward derivative for channels-last images"
)


def close(found, expected, tolerance: float = 1e-10) -> None:
    """Every tensor agrees, relative to its largest entry."""
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        torch.testing.assert_close(a, b, rtol=0, atol=tolerance * float(b.abs().max()))


def shape_of(spec: str) -> tuple[int, int, int]:
    return SMALL.get(spec, (1, 4, 4))


def arguments(spec: str, *, networks: int = 2, soft: bool = False, seed: int = 0, batch: int = 2):
    """The inner loss of a network, (weights, examples, labels) of one step, and u."""
    problem = classify(spec, shape_of(spec), networks=networks, soft=soft, seed=seed, batch=batch, steps=1, epochs=1)
    g = torch.Generator().manual_seed(seed + 500)
    x = torch.randn(networks, *problem.examples[0].shape, generator=g, dtype=torch.float64)
    u = torch.randn(problem.thetas.shape, generator=g, dtype=torch.float64)
    return problem.loss, (problem.thetas, x, problem.labels[0]), u


def real(spec: str, thetas: Tensor, count: int) -> OnReal:
    """Cross-entropy on so many images for each network."""
    g = torch.Generator().manual_seed(900)
    images = torch.randn(len(thetas), count, *shape_of(spec), generator=g, dtype=thetas.dtype)
    labels = torch.randint(3, (len(thetas), count), generator=g)
    return OnReal(classification(build(spec, shape=shape_of(spec), classes=3)), images, labels)


def block(*, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """One block of a ResNet, with a convolution on its shortcut."""
    return nn.Sequential(Block(shape[0], 4, 2, "batch"), nn.Flatten(), nn.Linear(shape[1] * shape[2], classes))


class Around(nn.Module):
    """A small network with `middle` between its two layers."""

    def __init__(self, middle) -> None:
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(16, 6), middle, nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.last(self.middle(self.first(x.flatten(1))))


def around(middle, networks: int = 1):
    """The inner loss of a network, (weights, examples, labels) and u, as `arguments`."""
    return of_module(Around(middle), networks)


def of_module(module: nn.Module, networks: int = 1):
    network = Network(lambda: module, shape=(1, 4, 4), classes=3, name="test")
    g = torch.Generator().manual_seed(3)
    thetas, u = 0.5 * torch.randn(2, networks, network.size, generator=g, dtype=torch.float64)
    x = torch.randn(networks, 5, 1, 4, 4, generator=g, dtype=torch.float64)
    return inner_loss(network), (thetas, x, torch.tensor([0, 1, 2, 1, 0])), u


# --- the same numbers


CASES = [(1, False), (1, True), (2, False), (2, True)]
FORWARD = [(spec, *case) for spec in SMALL for case in (CASES[1:3] if spec in SLOW else CASES)]
# Tracing takes a second or so, and ten for the eight blocks of a ResNet: a case for each network, and a single block.
BLOCK = "tests.training.test_steps:block"
TRACED = [
    *((spec, *CASES[i % 4]) for i, spec in enumerate(SMALL) if not spec.startswith("resnet")),
    *((BLOCK, *case) for case in CASES[1:3]),
    *((SMOOTH, *case) for case in CASES),
]
FIRST_ORDER = [case for case in TRACED if case[0] in ("lenet", "convnet(width=4,depth=2,norm=batch)", SMOOTH)]


@pytest.mark.parametrize(
    ("spec", "networks", "soft"),
    [pytest.param(*case, marks=VIEW_FAILS) if case[:2] == (SLOW[2], 1) else case for case in FORWARD],
)
def test_forward_steps_are_those_of_autograd(spec, networks, soft):
    loss, at, u = arguments(spec, networks=networks, soft=soft)
    gradient, back = ForwardSteps(loss).linearise(*at)
    expected, expected_back = EagerSteps(loss).linearise(*at)
    close((gradient, *back(u)), (expected, *expected_back(u)))
    close([ForwardSteps(loss).gradient(*at)], [expected])


@pytest.mark.parametrize(("spec", "networks", "soft"), TRACED)
def test_traced_steps_are_those_of_autograd_at_other_values_than_those_they_were_traced_with(spec, networks, soft):
    loss, at, u = arguments(spec, networks=networks, soft=soft)
    steps = TracedSteps(loss)
    steps.linearise(*arguments(spec, networks=networks, soft=soft, seed=1)[1])
    gradient, back = steps.linearise(*at)
    expected, expected_back = EagerSteps(loss).linearise(*at)
    close((gradient, *back(u)), (expected, *expected_back(u)))


@pytest.mark.parametrize(("spec", "networks", "soft"), FIRST_ORDER)
def test_the_gradients_and_objectives_of_traced_steps_are_those_of_autograd(spec, networks, soft):
    loss, at, _ = arguments(spec, networks=networks, soft=soft)
    steps, other = TracedSteps(loss), arguments(spec, networks=networks, soft=soft, seed=1)[1]
    objective = real(spec, at[0], 6)
    steps.gradient(*other)
    steps.evaluate(objective, other[0])
    close([steps.gradient(*at)], [EagerSteps(loss).gradient(*at)])
    close(steps.evaluate(objective, at[0]), EagerSteps(loss).evaluate(objective, at[0]))


@every_kind
@pytest.mark.parametrize("make", CLOSED_FORM.values(), ids=CLOSED_FORM)
@pytest.mark.parametrize("mode", ["stored", "recomputed"])
def test_steps_of_every_kind_give_the_closed_form(kind, make, mode):
    problem = make()
    assert_same(hypergradient(kind(problem.loss), *problem.arguments[1:], mode=mode), problem.exact)


@every_kind
def test_the_way_back_is_the_derivative_of_the_gradient(kind):
    loss, (thetas, x, y), u = arguments(SMOOTH)
    steps, h = kind(loss), 1e-5
    _, back = steps.linearise(thetas, x, y)
    hessian_u, mixed_u = back(u)
    along = (steps.gradient(thetas + h * u, x, y) - steps.gradient(thetas - h * u, x, y)) / (2 * h)
    torch.testing.assert_close(hessian_u, along, rtol=1e-6, atol=1e-8)
    d = torch.randn(x.shape, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    moved = (steps.gradient(thetas, x + h * d, y) - steps.gradient(thetas, x - h * d, y)) / (2 * h)
    torch.testing.assert_close((mixed_u * d).flatten(1).sum(1), (moved * u).sum(1), rtol=1e-6, atol=1e-8)


@every_kind
def test_the_way_back_can_be_gone_once_only_or_not_at_all_and_holds_no_graph(kind):
    loss, at, u = arguments(SMOOTH)
    at = tuple(each.requires_grad_() if each.is_floating_point() else each for each in at)
    gradient, back = kind(loss).linearise(*at)
    assert not any(each.requires_grad for each in (gradient, *back(u), kind(loss).gradient(*at)))
    assert all(each.grad is None for each in at if each.is_floating_point())


@every_kind
def test_networks_do_not_feel_each_other(kind):
    loss, (thetas, x, y), u = arguments(SMOOTH, networks=3)
    steps = kind(loss)
    gradient, back = steps.linearise(thetas, x, y)
    together = (gradient, *back(u))
    for i in range(3):
        alone, back_alone = steps.linearise(thetas[i : i + 1], x[i : i + 1], y)
        close([each[i : i + 1] for each in together], (alone, *back_alone(u[i : i + 1])))


# --- on real images, in pieces


SIZES = [(10, 1), (10, 3), (10, 4), (10, 9), (10, 10), (10, 11), (17, 4), (129, 128), (300, 128)]


def on_images(count: int) -> OnReal:
    return OnReal(None, torch.arange(2.0 * count).view(2, count, 1, 1, 1), torch.arange(2 * count).view(2, count))


@pytest.mark.parametrize(("count", "size"), SIZES)
def test_pieces_are_as_few_as_can_be_and_together_all_images_in_order(count, size, as_a_user):
    whole = on_images(count)
    pieces = whole.pieces(size)
    sizes = [piece.images.shape[1] for piece in pieces]
    assert len(pieces) == -(-count // size)
    assert max(sizes) <= size
    assert torch.equal(torch.cat([piece.images for piece in pieces], 1), whole.images)
    assert torch.equal(torch.cat([piece.labels for piece in pieces], 1), whole.labels)


@pytest.mark.parametrize(
    ("count", "size"),
    [
        *SIZES,
    ],
)
def test_pieces_are_of_nearly_equal_size(count, size, as_a_user):
    sizes = [piece.images.shape[1] for piece in on_images(count).pieces(size)]
    assert max(sizes) - min(sizes) <= 1


@every_kind
@pytest.mark.parametrize("piece", [3, 4, 9, 10])
def test_real_images_in_pieces_are_real_images_at_once(kind, piece):
    loss, (thetas, *_), _ = arguments(SMOOTH)
    objective = real(SMOOTH, thetas, 10)
    leaves = thetas.clone().requires_grad_()
    values = objective(leaves)
    (gradient,) = torch.autograd.grad(values.sum(), leaves)
    close(kind(loss).evaluate(objective, thetas, piece), (values.detach(), gradient), 1e-13)


@every_kind
def test_an_objective_that_is_not_on_real_images_is_taken_at_once(kind):
    loss, (thetas, *_), _ = arguments(SMOOTH)
    seen = []

    def objective(finals: Tensor) -> Tensor:
        seen.append(finals.shape)
        return finals.pow(3).sum(1)

    values, gradient = kind(loss).evaluate(objective, thetas, 1)
    torch.testing.assert_close(values, thetas.pow(3).sum(1))
    torch.testing.assert_close(gradient, 3 * thetas.square())
    assert seen == [thetas.shape]
    assert not values.requires_grad
    assert not gradient.requires_grad


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
    kept = before(*at)[1:]
    assert len(inputs(before)) == 3
    assert len(inputs(after)) == 4 + len(kept) > 5
    whole = operations(before).count("aten.convolution.default")
    assert whole == 2  # both layers, forward; those of the second part have u in them
    w = torch.randn(u.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    of_u, of_w = back(u), back(w)
    close(back(2 * u), [2 * each for each in of_u], 1e-14)
    close(back(u + w), [a + b for a, b in zip(of_u, of_w, strict=True)], 1e-13)
    assert all(torch.equal(a, b) for a, b in zip(back(u), of_u, strict=True))  # what is kept is not written over
    assert not any(each.any() for each in back(torch.zeros_like(u)))
    torch.testing.assert_close((of_u[0] * w).sum(), (of_w[0] * u).sum())  # a Hessian is symmetric
    assert gradient.abs().max() > 0


def test_ways_back_of_several_steps_keep_what_is_theirs():
    loss, (thetas, x, y), u = arguments(SMOOTH)
    steps = TracedSteps(loss)
    _, first = steps.linearise(thetas, x, y)
    before = first(u)
    _, second = steps.linearise(2 * thetas, x, y)
    assert all(torch.equal(a, b) for a, b in zip(first(u), before, strict=True))
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
    thetas, x, y = problem.thetas, problem.examples[0].expand(2, -1, -1, -1, -1), problem.labels[0]
    u, steps = torch.ones_like(thetas), TracedSteps(loss)

    def new(call) -> bool:
        before = len(calls)
        call()
        return len(calls) > before

    single = (thetas.float(), x.float(), y.float())
    for call in (
        lambda: steps.gradient(thetas, x, y),
        lambda: steps.gradient(thetas[:1], x[:1], y),
        lambda: steps.gradient(thetas, x[:, :1], y[:1]),
        lambda: steps.gradient(*single),
        lambda: steps.linearise(thetas, x, y)[1](u),
        lambda: steps.linearise(*single),
    ):
        assert new(call)
        assert not new(call)
    assert not new(lambda: steps.gradient(thetas + 1, 2 * x, 1 - y))


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
    close((gradient, *back(u)), (expected, *forward(u)))


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
    loss, (thetas, x, y), u = around(middle)
    steps = kind(loss)
    for factor in (1, -2):
        try:
            gradient, back = steps.linearise(factor * thetas, x, y)
            found = (gradient, *back(u))
        except UserError:
            return
        expected, expected_back = EagerSteps(loss).linearise(factor * thetas, x, y)
        close(found, (expected, *expected_back(u)))


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


def test_an_operation_without_forward_derivative_is_named_and_autograd_does_it():
    loss, (thetas, x, y), u = of_module(Sampling())
    _, back = ForwardSteps(loss).linearise(thetas, x, y)
    with pytest.raises(UserError, match=r"uses grid_sampler_2d, which has no forward derivative; .*execution=eager"):
        back(u)
    for kind in (EagerSteps, TracedSteps):
        steps, h = kind(loss), 1e-5
        hessian_u, _ = steps.linearise(thetas, x, y)[1](u)
        along = (steps.gradient(thetas + h * u, x, y) - steps.gradient(thetas - h * u, x, y)) / (2 * h)
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
    loss, (thetas, x, y), _ = around(middle)
    sizes = torch.ones(1, 1, dtype=torch.float64)
    with pytest.raises(UserError, match=f"uses '?{name}'?, which has no second derivative; no mode can do without it"):
        hypergradient(loss, lambda t: t.sum(1), thetas, x, y[None], sizes, mode=mode)


def test_other_errors_are_left_as_they_are():
    with pytest.raises(RuntimeError, match="out of luck") as raised, told("second", "do something"):
        raise RuntimeError("out of luck")
    assert not isinstance(raised.value, UserError)


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
    problem = classify("tests.training.test_steps:pooling", (1, 4, 4), batch=4)
    thetas, x = problem.thetas.float(), problem.examples[0].expand(2, -1, -1, -1, -1).float()
    steps = TracedSteps(problem.loss, compiled=True)
    steps.linearise(thetas, x, problem.labels[0])
    return steps, problem


def test_compiled_steps_are_those_of_autograd(compiled):
    steps, problem = compiled
    g = torch.Generator().manual_seed(1)
    thetas, u = (torch.randn(problem.thetas.shape, generator=g, dtype=torch.float64) for _ in range(2))
    x = torch.randn(2, *problem.examples[0].shape, generator=g, dtype=torch.float64)
    gradient, back = steps.linearise(thetas.float(), x.float(), problem.labels[1])
    expected, expected_back = EagerSteps(problem.loss).linearise(thetas, x, problem.labels[1])
    found = (gradient, *back(u.float()))
    assert all(each.dtype == torch.float32 for each in found)
    close([each.double() for each in found], (expected, *expected_back(u)), 1e-4)


def test_a_hypergradient_through_compiled_steps_is_that_of_autograd(compiled):
    steps, problem = compiled
    thetas, x, sizes = (each.float() for each in (problem.thetas, problem.examples, problem.step_sizes))

    def objective(finals: Tensor) -> Tensor:
        return problem.objective(finals.double()).float()

    found, expected = (
        hypergradient(each, objective, thetas, x, problem.labels, sizes, mode="stored")
        for each in (steps, problem.loss)
    )
    assert_same(found, expected, tolerance=1e-4)


def test_compiled_steps_keep_what_is_theirs(compiled):
    steps, problem = compiled
    thetas, x = problem.thetas.float(), problem.examples[0].expand(2, -1, -1, -1, -1).float()
    gradient, first = steps.linearise(thetas, x, problem.labels[0])
    before, copy = first(torch.ones_like(thetas)), gradient.clone()
    _, second = steps.linearise(2 * thetas, x, problem.labels[0])
    second(torch.ones_like(thetas))
    assert torch.equal(gradient, copy)
    assert all(torch.equal(a, b) for a, b in zip(first(torch.ones_like(thetas)), before, strict=True))
