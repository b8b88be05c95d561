"""Steps of every kind: the same numbers as autograd's, at once and in pieces."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from datastill.networks import build
from datastill.training import Batch, EagerSteps, ForwardSteps, OnReal, TracedSteps, hypergradient

from ..problems import CLOSED_FORM, SMALL, assert_same
from .cases import SLOW, SMOOTH, arguments, close, derivatives, every_kind, real, shape_of

# --- the same numbers


CASES = [(1, False), (1, True), (2, False), (2, True)]
FORWARD = [(spec, *case) for spec in SMALL for case in (CASES[1:3] if spec in SLOW else CASES)]
# Tracing takes a second or so, and ten for the eight blocks of a ResNet: a case for each network, and a single block.
BLOCK = "tests.training.cases:block"
TRACED = [
    *((spec, *CASES[i % 4]) for i, spec in enumerate(SMALL) if not spec.startswith("resnet") and spec != SMOOTH),
    *((BLOCK, *case) for case in CASES[1:3]),
    *((SMOOTH, *case) for case in CASES[1:3]),
]
FIRST_ORDER = [case for case in TRACED if case[0] in ("lenet", "convnet(width=4,depth=2,norm=batch)", SMOOTH)]


@pytest.mark.parametrize(("spec", "networks", "soft"), FORWARD)
def test_forward_steps_are_those_of_autograd(spec, networks, soft):
    loss, at, u = arguments(spec, networks=networks, soft=soft)
    gradient, back = ForwardSteps(loss).linearise(*at)
    expected, expected_back = EagerSteps(loss).linearise(*at)
    close((gradient, *derivatives(back, u)), (expected, *derivatives(expected_back, u)))
    close([ForwardSteps(loss).gradient(*at)], [expected])


@pytest.mark.parametrize("norm", ["instance", "group"])
def test_forward_steps_differentiate_the_normalisation_of_a_network_in_channels_last(norm):
    spec = f"convnet(width=16,depth=2,norm={norm})"
    assert build(spec, shape=shape_of(spec), classes=3).wide
    loss, at, u = arguments(spec, networks=1)
    gradient, back = ForwardSteps(loss).linearise(*at)
    expected, expected_back = EagerSteps(loss).linearise(*at)
    close((gradient, *derivatives(back, u)), (expected, *derivatives(expected_back, u)))


@pytest.mark.parametrize(("spec", "networks", "soft"), TRACED)
def test_traced_steps_are_those_of_autograd_at_other_values_than_those_they_were_traced_with(spec, networks, soft):
    loss, at, u = arguments(spec, networks=networks, soft=soft)
    steps = TracedSteps(loss)
    steps.linearise(*arguments(spec, networks=networks, soft=soft, seed=1)[1])
    gradient, back = steps.linearise(*at)
    expected, expected_back = EagerSteps(loss).linearise(*at)
    close((gradient, *derivatives(back, u)), (expected, *derivatives(expected_back, u)))


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
    loss, (thetas, (x, y)), u = arguments(SMOOTH)
    steps, h = kind(loss), 1e-5
    _, back = steps.linearise(thetas, Batch(x, y))
    hessian_u, mixed_u = derivatives(back, u)
    along = (steps.gradient(thetas + h * u, Batch(x, y)) - steps.gradient(thetas - h * u, Batch(x, y))) / (2 * h)
    torch.testing.assert_close(hessian_u, along, rtol=1e-6, atol=1e-8)
    d = torch.randn(x.shape, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    moved = (steps.gradient(thetas, Batch(x + h * d, y)) - steps.gradient(thetas, Batch(x - h * d, y))) / (2 * h)
    torch.testing.assert_close((mixed_u * d).flatten(1).sum(1), (moved * u).sum(1), rtol=1e-6, atol=1e-8)


@every_kind
def test_the_way_back_can_be_gone_once_only_or_not_at_all_and_holds_no_graph(kind):
    loss, at, u = arguments(SMOOTH)
    for each in (at[0], at[1].inputs):
        each.requires_grad_()
    gradient, back = kind(loss).linearise(*at)
    assert not any(each.requires_grad for each in (gradient, *derivatives(back, u), kind(loss).gradient(*at)))
    assert at[0].grad is None
    assert at[1].inputs.grad is None


@every_kind
def test_networks_do_not_feel_each_other(kind):
    loss, (thetas, (x, y)), u = arguments(SMOOTH, networks=3)
    steps = kind(loss)
    gradient, back = steps.linearise(thetas, Batch(x, y))
    together = (gradient, *derivatives(back, u))
    for i in range(3):
        alone, back_alone = steps.linearise(thetas[i : i + 1], Batch(x[i : i + 1], y[i : i + 1]))
        close([each[i : i + 1] for each in together], (alone, *derivatives(back_alone, u[i : i + 1])))


# --- on real images, in pieces


SIZES = [(10, 1), (10, 3), (10, 4), (10, 9), (10, 10), (10, 11), (17, 4), (129, 128), (300, 128)]


def on_images(count: int, most: int) -> OnReal:
    images, labels = torch.arange(2.0 * count).view(2, count, 1, 1, 1), torch.arange(2 * count).view(2, count)
    return OnReal(None, images, labels, most)


@pytest.mark.parametrize(("count", "size"), SIZES)
def test_pieces_are_as_few_as_can_be_and_together_all_images_in_order(count, size, as_a_user):
    whole = on_images(count, size)
    shares, pieces = zip(*whole.pieces(), strict=True)
    sizes = [piece.images.shape[1] for piece in pieces]
    assert list(shares) == [each / count for each in sizes]
    assert len(pieces) == -(-count // size)
    assert max(sizes) <= size
    assert torch.equal(torch.cat([piece.images for piece in pieces], 1), whole.images)
    assert torch.equal(torch.cat([piece.labels for piece in pieces], 1), whole.labels)


@pytest.mark.parametrize(("count", "size"), SIZES)
def test_pieces_are_of_nearly_equal_size(count, size, as_a_user):
    sizes = [piece.images.shape[1] for _, piece in on_images(count, size).pieces()]
    assert max(sizes) - min(sizes) <= 1


def test_without_a_limit_real_images_are_in_one_piece(as_a_user):
    assert [(share, piece.images.shape[1]) for share, piece in on_images(300, 0).pieces()] == [(1, 300)]


@every_kind
@pytest.mark.parametrize("piece", [4, 10])
def test_real_images_in_pieces_are_real_images_at_once(kind, piece):
    loss, (thetas, *_), _ = arguments(SMOOTH)
    objective = replace(real(SMOOTH, thetas, 10), most=piece)
    leaves = thetas.clone().requires_grad_()
    values = objective(leaves)
    (gradient,) = torch.autograd.grad(values.sum(), leaves)
    close(kind(loss).evaluate(objective, thetas), (values.detach(), gradient), 1e-13)


@every_kind
def test_an_objective_that_is_not_on_real_images_is_taken_at_once(kind):
    loss, (thetas, *_), _ = arguments(SMOOTH)
    seen = []

    def objective(finals: Tensor) -> Tensor:
        seen.append(finals.shape)
        return finals.pow(3).sum(1)

    values, gradient = kind(loss).evaluate(objective, thetas)
    torch.testing.assert_close(values, thetas.pow(3).sum(1))
    torch.testing.assert_close(gradient, 3 * thetas.square())
    assert seen == [thetas.shape]
    assert not values.requires_grad
    assert not gradient.requires_grad
