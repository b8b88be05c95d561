"""Gradients for every tensor of a batch that is learned: examples and soft labels, by each way to compute a step."""

from dataclasses import replace
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from datastill.errors import UserError
from datastill.program import optimiser
from datastill.training import EagerSteps, ForwardSteps, TracedSteps, hypergradient

from ..problems import SMALL, Problem, assert_differences, assert_same, classify, naive, parts, unroll
from .cases import SMOOTH, arguments, close, derivatives, every_kind

BOTH = ("inputs", "targets")
ORDERS = [BOTH, ("targets", "inputs"), ("targets",), ("inputs",), ()]
LEARNED = pytest.mark.parametrize("wanted", ORDERS)
NETWORKS = {"mlp": "mlp(width=7)", "lenet": "lenet", "convnet": "convnet(width=4,depth=1)"}
SHAPES = SMALL | {"convnet(width=4,depth=1)": (2, 4, 4)}
CASES = [  # network, kind, inner optimiser, mode and what is kept
    ("mlp", EagerSteps, "adam", {"mode": "stored"}),
    ("mlp", EagerSteps, "adam", {"mode": "recomputed", "keep_every": 2}),
    ("mlp", ForwardSteps, "momentum", {"mode": "recomputed", "window": range(1, 3)}),
    ("mlp", TracedSteps, "adam", {"mode": "stored", "window": range(1, 3)}),
    ("lenet", EagerSteps, "momentum", {"mode": "recomputed"}),
    ("lenet", ForwardSteps, "sgd", {"mode": "stored"}),
    ("lenet", TracedSteps, "sgd", {"mode": "recomputed"}),
    ("convnet", EagerSteps, "momentum", {"mode": "stored", "window": range(2, 4)}),
    ("convnet", ForwardSteps, "adam", {"mode": "recomputed"}),
    ("convnet", TracedSteps, "momentum", {"mode": "recomputed", "keep_every": 3}),
]


@pytest.mark.parametrize(("name", "kind", "rule", "settings"), CASES)
def test_examples_and_soft_labels_have_the_gradients_of_one_graph_through_everything(name, kind, rule, settings):
    problem = classify(NETWORKS[name], SHAPES[NETWORKS[name]], soft=True, eta=0.02)
    found = through(problem, kind, optimiser=optimiser(rule), **settings)
    assert_same(found, naive(problem, optimiser(rule), soft=True, window=settings.get("window")), tolerance=1e-8)


@pytest.mark.parametrize(("kind", "mode"), [(EagerSteps, "stored"), (ForwardSteps, "recomputed")])
def test_a_network_with_batch_normalisation_has_them_too(kind, mode):
    problem = classify("resnet18(width=2)", (2, 16, 16), networks=1, epochs=1, soft=True, eta=0.01)
    assert_same(through(problem, kind, mode=mode), naive(problem, soft=True), tolerance=1e-7)


def through(problem: Problem, kind: type, **settings):
    loss, *others = problem.arguments
    return hypergradient(kind(loss), *others, wanted=BOTH, **settings)


@pytest.mark.parametrize("rule", ["sgd", "momentum", "adam"])
@every_kind
def test_they_are_the_central_difference_of_the_objective_along_any_direction(kind, rule):
    problem = classify(SMOOTH, (1, 3, 3), soft=True)

    def objective(moved: Problem) -> Tensor:
        loss, _, *others = moved.arguments
        *_, final = unroll(loss, *others, optimiser=optimiser(rule))
        return moved.objective(final)

    assert_differences(problem, through(problem, kind, optimiser=optimiser(rule)), objective, step=1e-6, atol=1e-8)


@pytest.mark.parametrize("spec", ["tests.training.cases:block", "convnet(width=4,depth=1,norm=group)"])
def test_every_kind_of_step_gives_both_derivatives_for_each_network(spec):
    loss, at, u = arguments(spec, soft=True)
    expected = derivatives(EagerSteps(loss).linearise(*at, BOTH)[1], u)
    assert [each.shape for each in expected[1:]] == [each.shape for each in at[1]]
    for kind in (ForwardSteps, TracedSteps):
        close(derivatives(kind(loss).linearise(*at, BOTH)[1], u), expected)


# --- what is asked for, and nothing else


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        *((kind, wanted) for kind in (EagerSteps, ForwardSteps) for wanted in ORDERS),
        *((TracedSteps, wanted) for wanted in (ORDERS[1], ORDERS[2])),  # each is traced anew
    ],
)
def test_only_what_is_asked_for_is_given_and_it_does_not_depend_on_the_rest(kind, wanted):
    loss, at, u = arguments(SMOOTH, soft=True)
    hessian_u, mixed = kind(loss).linearise(*at, wanted)[1](u)
    assert tuple(mixed) == wanted
    whole, both = EagerSteps(loss).linearise(*at, BOTH)[1](u)
    close([hessian_u, *mixed.values()], [whole, *(both[name] for name in wanted)])


@LEARNED
def test_a_hypergradient_holds_what_is_asked_for(wanted):
    problem = classify(SMOOTH, (1, 3, 3), soft=True)
    found = hypergradient(*problem.arguments, wanted=wanted)
    whole = parts(hypergradient(*problem.arguments, wanted=BOTH))
    assert set(found.batches) == set(wanted)
    for name, each in parts(found).items():
        torch.testing.assert_close(each, whole[name])


@pytest.mark.parametrize(("wanted", "message"), [
    (("targets",), "targets are integers, which have no derivative; give numbers, such as soft labels"),
    (("target",), "'target': did you mean 'targets'"),
])  # fmt: skip
def test_what_cannot_be_learned_is_refused_by_name(wanted, message):
    with pytest.raises(UserError, match=message):
        hypergradient(*classify(SMOOTH, (1, 3, 3)).arguments, wanted=wanted)


class Drawn(NamedTuple):
    """A batch with a draw that is not learned."""

    inputs: Tensor
    targets: Tensor
    draw: Tensor


@every_kind
def test_a_batch_may_have_more_tensors_which_its_loss_takes(kind):
    loss, (thetas, batch), u = arguments(SMOOTH, soft=True)
    flips = torch.tensor([[True, False], [False, True]])

    def flipped(thetas: Tensor, x: Tensor, y: Tensor, draw: Tensor) -> Tensor:
        return loss(thetas, torch.where(draw[..., None, None, None], x.flip(-1), x), y)

    found = derivatives(kind(flipped).linearise(thetas, Drawn(*batch, flips), BOTH)[1], u)
    x = torch.where(flips[..., None, None, None], batch.inputs.flip(-1), batch.inputs)
    expected = derivatives(EagerSteps(loss).linearise(thetas, batch._replace(inputs=x), BOTH)[1], u)
    expected[1] = torch.where(flips[..., None, None, None], expected[1].flip(-1), expected[1])
    close(found, expected)
    gradient = EagerSteps(loss).gradient(thetas, batch._replace(inputs=x))
    close([kind(flipped).gradient(thetas, Drawn(*batch, flips))], [gradient])


def test_labels_shared_by_epochs_and_networks_have_the_sum_of_the_gradients_of_separate_copies():
    problem = classify(SMOOTH, (1, 3, 3), epochs=3, steps=2, soft=True)
    copies = replace(
        problem,
        examples=problem.examples.repeat(3, 1, 1, 1, 1),
        labels=problem.labels.repeat(3, 1, 1),
        step_sizes=problem.step_sizes.view(1, 6),
    )
    one, separate = (hypergradient(*p.arguments, wanted=("targets",)) for p in (problem, copies))
    torch.testing.assert_close(one.labels, separate.labels.unflatten(1, (3, 2)).sum(1))


def test_the_gradient_for_labels_has_the_closed_form_of_one_step():
    """l = 0.5 sum_b (<x_b, theta> - y_b)^2 has g = X' (X theta - y), so dL/dy = -eta d<g, v>/dy = eta X v."""
    draw = torch.Generator().manual_seed(0)
    shapes = ((2, 4), (2, 4), (1, 3, 1, 1, 4), (1, 3))
    thetas, goals, x, y = (torch.randn(shape, generator=draw, dtype=torch.float64) for shape in shapes)
    eta = torch.tensor([[0.1]], dtype=torch.float64)

    def loss(thetas: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return 0.5 * (torch.einsum("nbs,ns->nb", x.flatten(2), thetas) - y).square().sum(1)

    for kind in (EagerSteps, ForwardSteps, TracedSteps):
        found = hypergradient(
            kind(loss), lambda finals: 0.5 * (finals - goals).square().sum(1), thetas, x, y, eta, wanted=("targets",)
        )
        X = x[0].flatten(1)
        v = thetas - 0.1 * (thetas @ X.T - y) @ X - goals
        torch.testing.assert_close(found.labels[:, 0], 0.1 * v @ X.T)
