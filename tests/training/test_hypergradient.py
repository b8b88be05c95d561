"""The hypergradient, both ways, against closed forms, finite differences, one big graph and its symmetries."""

import gc
import weakref
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import one_hot

from datastill.costs import Peak
from datastill.errors import UserError
from datastill.networks import build
from datastill.training import hypergradient, mean_loss

from ..problems import (
    CLOSED_FORM,
    SMALL,
    Problem,
    assert_differences,
    assert_same,
    classify,
    curvature,
    naive,
    parts,
    quadratic,
    unroll,
)

MODES = ("stored", "recomputed")
both_modes = pytest.mark.parametrize("mode", MODES)


# --- against what is known exactly


@both_modes
@pytest.mark.parametrize("make", CLOSED_FORM.values(), ids=CLOSED_FORM)
def test_it_is_the_closed_form(make, mode):
    problem = make()
    assert_same(hypergradient(*problem.arguments, mode=mode), problem.exact)


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from([quadratic, curvature]),
    st.sampled_from(MODES),
    *[st.integers(1, 3)] * 4,
    st.integers(1, 5),
    st.integers(0, 2**20),
)
def test_it_is_the_closed_form_for_any_schedule_and_size(make, mode, networks, epochs, steps, batch, size, seed):
    problem = make(networks=networks, epochs=epochs, steps=steps, batch=batch, size=size, seed=seed)
    assert_same(hypergradient(*problem.arguments, mode=mode), problem.exact)


@both_modes
@pytest.mark.parametrize("spec", ["tests.problems:smooth", "convnet(width=3,depth=1,norm=instance)"])
@pytest.mark.parametrize("soft", [False, True])
def test_it_is_the_central_difference_of_the_objective_along_any_direction(spec, soft, mode):
    problem = classify(spec, (1, 4, 4), soft=soft)
    found = hypergradient(*problem.arguments, mode=mode)
    assert_differences(problem, found, _trained, step=1e-5, atol=1e-9)


@both_modes
def test_every_single_entry_is_the_central_difference_of_the_objective(mode):
    problem = classify("tests.problems:smooth(width=2)", (1, 2, 2), networks=1, epochs=2, steps=2, batch=2)
    found = hypergradient(*problem.arguments, mode=mode)
    for name, gradient in (("thetas", found.initial), ("examples", found.examples), ("step_sizes", found.step_sizes)):
        value, h, differences = getattr(problem, name), 1e-5, []
        for unit in torch.eye(value.numel(), dtype=torch.float64).view(-1, *value.shape):
            plus, minus = (_trained(replace(problem, **{name: value + s * h * unit})) for s in (1, -1))
            differences.append((plus - minus).squeeze() / (2 * h))
        torch.testing.assert_close(gradient.flatten(), torch.stack(differences), rtol=1e-5, atol=1e-9)


def _trained(problem: Problem) -> torch.Tensor:
    *_, final = unroll(problem.loss, problem.thetas, problem.examples, problem.labels, problem.step_sizes)
    return problem.objective(final)


@both_modes
@pytest.mark.parametrize("spec", SMALL)
def test_it_is_what_one_graph_through_everything_gives(spec, mode):
    problem = small(spec)
    assert_same(hypergradient(*problem.arguments, mode=mode), naive(problem), tolerance=1e-8)


def small(spec: str) -> Problem:
    """A few steps of one of the small networks; deep ones are trained gently, as their training is chaotic."""
    if spec == "alexcifarnet":
        return classify(spec, SMALL[spec], networks=1, epochs=1, batch=2)
    return classify(spec, SMALL[spec], epochs=1, eta=0.01) if "resnet" in spec else classify(spec, SMALL[spec])


@pytest.mark.parametrize("spec", SMALL)
def test_a_hundredth_of_the_tolerance_is_more_than_noise_a_thousand_times_that_of_rounding_makes(spec):
    """So that no processor's way to round decides. Largest here: 4e-9, in resnet18(width=2,norm=instance)."""
    problem = small(spec)
    draw = torch.Generator().manual_seed(0)
    noise = 1 + 1e-13 * torch.randn(problem.thetas.shape, generator=draw, dtype=torch.float64)
    noisy = replace(problem, thetas=problem.thetas * noise)
    assert_same(hypergradient(*noisy.arguments), hypergradient(*problem.arguments), tolerance=1e-8)


@both_modes
def test_it_is_what_one_graph_gives_with_soft_labels_too(mode):
    problem = classify("convnet(width=4,depth=2)", (2, 8, 8), soft=True)
    assert_same(hypergradient(*problem.arguments, mode=mode), naive(problem), tolerance=1e-7)


def test_the_modes_agree_in_single_precision():
    double = classify("lenet", (1, 28, 28), epochs=3, eta=0.02)
    single = {name: getattr(double, name).float() for name in ("thetas", "examples", "step_sizes")}
    problem = replace(double, objective=lambda thetas: double.objective(thetas.double()).float(), **single)
    stored, recomputed = (hypergradient(*problem.arguments, mode=mode) for mode in MODES)
    assert stored.examples.dtype == recomputed.examples.dtype == torch.float32
    assert_same(recomputed, stored, tolerance=1e-4)


# --- symmetries and limits


@both_modes
def test_several_networks_at_once_are_one_by_one(mode):
    problem = classify("convnet(width=4,depth=2)", (2, 8, 8), networks=3)
    together = hypergradient(*problem.arguments, mode=mode)
    alone = [hypergradient(*replace(problem, thetas=problem.thetas[i : i + 1]).arguments, mode=mode) for i in range(3)]
    for name, each in parts(together).items():
        torch.testing.assert_close(each, torch.cat([parts(one)[name] for one in alone]))


@both_modes
def test_examples_shared_over_epochs_have_the_sum_of_the_gradients_of_separate_copies(mode):
    problem = classify("tests.problems:smooth", (1, 3, 3), epochs=3, steps=2)
    copies = replace(
        problem,
        examples=problem.examples.repeat(3, 1, 1, 1, 1),
        labels=problem.labels.repeat(3, 1),
        step_sizes=problem.step_sizes.view(1, 6),
    )
    shared, separate = (hypergradient(*p.arguments, mode=mode) for p in (problem, copies))
    torch.testing.assert_close(shared.final, separate.final)
    torch.testing.assert_close(shared.examples, separate.examples.unflatten(1, (3, 2)).sum(1))
    torch.testing.assert_close(shared.step_sizes.flatten(1), separate.step_sizes.flatten(1))


@both_modes
def test_step_sizes_of_zero_leave_the_weights_and_only_the_step_sizes_feel_a_gradient(mode):
    problem = classify("tests.problems:smooth", (1, 3, 3))
    problem = replace(problem, step_sizes=torch.zeros_like(problem.step_sizes))
    found = hypergradient(*problem.arguments, mode=mode)
    theta = problem.thetas.clone().requires_grad_()
    (v,) = torch.autograd.grad(problem.objective(theta).sum(), theta)
    assert torch.equal(found.final, problem.thetas)
    assert torch.equal(found.examples, torch.zeros_like(found.examples))
    torch.testing.assert_close(found.initial, v)
    for step in range(2):
        x = problem.examples[step].expand(2, -1, -1, -1, -1)
        (g,) = torch.autograd.grad(problem.loss(theta, x, problem.labels[step].expand(2, -1)).sum(), theta)
        for epoch in range(2):
            torch.testing.assert_close(found.step_sizes[:, epoch, step], -(g * v).sum(1))
    assert found.step_sizes.abs().max() > 1e-3


@both_modes
def test_the_order_of_the_examples_in_a_step_does_not_matter_and_that_of_the_steps_does(mode):
    problem = classify("tests.problems:smooth", (1, 3, 3), batch=4)
    found = hypergradient(*problem.arguments, mode=mode)
    order = torch.tensor([2, 0, 3, 1])
    shuffled = replace(problem, examples=problem.examples[:, order], labels=problem.labels[:, order])
    again = hypergradient(*shuffled.arguments, mode=mode)
    torch.testing.assert_close(again.final, found.final)
    torch.testing.assert_close(again.examples, found.examples[:, :, order])
    swapped = replace(problem, examples=problem.examples.flip(0), labels=problem.labels.flip(0))
    assert (hypergradient(*swapped.arguments, mode=mode).final - found.final).abs().max() > 1e-4


@both_modes
def test_giving_each_example_twice_changes_nothing_but_halves_its_gradient(mode):
    problem = classify("tests.problems:smooth", (1, 3, 3))
    twice = replace(problem, examples=problem.examples.repeat(1, 2, 1, 1, 1), labels=problem.labels.repeat(1, 2))
    one, two = (hypergradient(*p.arguments, mode=mode) for p in (problem, twice))
    torch.testing.assert_close(two.final, one.final)
    torch.testing.assert_close(two.step_sizes, one.step_sizes)
    torch.testing.assert_close(two.examples, one.examples.repeat(1, 1, 2, 1, 1, 1) / 2)


@both_modes
def test_one_hot_soft_labels_are_hard_labels(mode):
    problem = classify("tests.problems:smooth", (1, 3, 3))
    soft = replace(problem, labels=one_hot(problem.labels, 3).double())
    assert_same(
        hypergradient(*soft.arguments, mode=mode), hypergradient(*problem.arguments, mode=mode), tolerance=1e-12
    )


@both_modes
def test_it_is_linear_in_the_objective(mode):
    problem = curvature()
    other = replace(problem, objective=lambda thetas: -3 * problem.objective(thetas))
    one, scaled = (hypergradient(*p.arguments, mode=mode) for p in (problem, other))
    for name in ("objective", "examples", "step_sizes", "initial"):
        torch.testing.assert_close(getattr(scaled, name), -3 * getattr(one, name))


@both_modes
def test_the_trained_weights_are_the_last_of_unroll_and_the_objective_is_theirs(mode):
    problem = classify("lenet", (1, 28, 28))
    found = hypergradient(*problem.arguments, mode=mode)
    *_, last = unroll(problem.loss, problem.thetas, problem.examples, problem.labels, problem.step_sizes)
    assert torch.equal(found.final, last)
    assert torch.equal(found.objective, problem.objective(last))


# --- contracts


@both_modes
def test_it_works_under_no_grad_returns_no_graph_and_leaves_its_inputs_as_they_were(mode):
    problem = curvature()
    inputs = [problem.thetas, problem.examples, problem.step_sizes]
    before = [tensor.clone() for tensor in inputs]
    for tensor in inputs:
        tensor.requires_grad_()
    with torch.no_grad():
        found = hypergradient(*problem.arguments, mode=mode)
    assert not any(each.requires_grad for each in parts(found).values())
    assert all(torch.equal(a, b) and a.grad is None for a, b in zip(inputs, before, strict=True))
    assert_same(found, problem.exact)


def test_an_unknown_mode_is_refused_with_the_nearest_known_one():
    with pytest.raises(UserError, match="'recompute': did you mean 'recomputed'"):
        hypergradient(*quadratic().arguments, mode="recompute")


def _kept_by_the_graph(problem: Problem, mode: str) -> int:
    """Elements that autograd holds on to between the training and the way back."""

    class Saved:
        def __init__(self, tensor):
            self.tensor = tensor.detach()

    alive: weakref.WeakSet = weakref.WeakSet()

    def pack(tensor):
        saved = Saved(tensor)
        alive.add(saved)
        return saved

    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved.tensor)
    counts = []

    def objective(thetas):
        hooks.__exit__(None, None, None)
        gc.collect()
        counts.append(sum(saved.tensor.numel() for saved in alive))
        return problem.objective(thetas)

    hooks.__enter__()
    hypergradient(*replace(problem, objective=objective).arguments, mode=mode)
    return counts[0]


def test_recomputed_keeps_no_graph_over_the_training_and_stored_keeps_one_for_each_step():
    short, long = (classify("mlp(width=7)", (1, 4, 4), epochs=epochs, steps=1) for epochs in (2, 8))
    assert _kept_by_the_graph(short, "recomputed") == _kept_by_the_graph(long, "recomputed") == 0
    assert _kept_by_the_graph(long, "stored") == 4 * _kept_by_the_graph(short, "stored") > 0


def _peak(problem: Problem, mode: str) -> int:
    gc.collect()
    with Peak() as peak:
        hypergradient(*problem.arguments, mode=mode)
    return peak.peak


def test_memory_grows_by_the_weights_alone_in_recomputed_and_by_the_activations_in_stored():
    # 256 examples through two layers of 7 units: the activations of one step are far larger than the weights
    short, long = (
        classify("tests.problems:smooth(width=7)", (1, 2, 2), networks=1, epochs=epochs, steps=1, batch=256)
        for epochs in (3, 12)
    )
    weights = short.thetas.numel() * 8
    activations = 256 * 7 * 8  # of one layer
    assert 4 * weights < activations
    grown = {mode: _peak(long, mode) - _peak(short, mode) for mode in MODES}
    assert 9 * weights <= grown["recomputed"] <= 9 * 3 * weights
    assert grown["stored"] > 9 * activations


@pytest.mark.parametrize("mode", ["stored", "recomputed"])
def test_a_window_is_the_program_that_begins_where_the_earlier_steps_end(mode):
    network = build("mlp(width=5,depth=1)", shape=(1, 3, 3), classes=3)
    draw = torch.Generator().manual_seed(0)
    examples = torch.randn(4, 3, 1, 3, 3, generator=draw, dtype=torch.float64)
    labels = torch.arange(3).expand(4, 3)
    sizes = torch.rand(1, 4, generator=draw, dtype=torch.float64) + 0.1
    thetas = torch.randn(2, network.size, generator=draw, dtype=torch.float64)
    loss, objective = mean_loss(network), lambda final: final.square().sum(1)

    found = hypergradient(loss, objective, thetas, examples, labels, sizes, mode=mode, window=range(1, 3))
    (begun, *_) = unroll(loss, thetas, examples, labels, sizes)
    alone = hypergradient(loss, objective, begun, examples[1:3], labels[1:3], sizes[:, 1:3], mode=mode)

    torch.testing.assert_close(found.examples[:, 1:3], alone.examples)
    torch.testing.assert_close(found.step_sizes[..., 1:3], alone.step_sizes)
    torch.testing.assert_close(found.initial, alone.initial)
    torch.testing.assert_close(found.final, alone.final)
    assert not found.examples[:, [0, 3]].any()
    assert not found.step_sizes[..., [0, 3]].any()


@pytest.mark.parametrize("window", [range(0), range(-1, 2), range(2, 5), range(0, 4, 2)])
def test_a_window_outside_the_program_is_refused(window):
    network = build("mlp(width=2,depth=1)", shape=(1, 2, 2), classes=2)
    arguments = (torch.zeros(1, network.size), torch.zeros(4, 2, 1, 2, 2), torch.zeros(4, 2, dtype=torch.long))
    with pytest.raises(UserError, match=r"window .* is not within the 4 steps"):
        hypergradient(mean_loss(network), lambda t: t.sum(1), *arguments, torch.ones(1, 4), window=window)
