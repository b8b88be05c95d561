"""The hypergradient through every inner optimiser: differences, one big graph, kept weights and windows."""

import gc
import weakref
from dataclasses import replace

import pytest
import torch

from datastill.costs import Peak
from datastill.errors import UserError
from datastill.program import OPTIMISERS, Momentum, optimiser
from datastill.training import Hypergradient, OnReal, hypergradient

from ..problems import Problem, assert_differences, assert_same, classify, naive, parts, unroll

every = pytest.mark.parametrize("name", OPTIMISERS)
both_modes = pytest.mark.parametrize("mode", ["stored", "recomputed"])
SMOOTH = "tests.problems:smooth"


def trained(problem: Problem, name: str) -> torch.Tensor:
    *_, final = unroll(*problem.arguments[:1], *problem.arguments[2:], optimiser=optimiser(name))
    return final


def assert_equal(found: Hypergradient, expected: Hypergradient) -> None:
    """To the last bit."""
    for name, each in parts(expected).items():
        assert torch.equal(parts(found)[name], each), name


@both_modes
@every
def test_it_is_the_central_difference_of_the_objective_along_any_direction(name, mode):
    problem = classify(SMOOTH, (1, 3, 3), epochs=2, steps=3)
    found = hypergradient(*problem.arguments, optimiser=optimiser(name), mode=mode)
    assert_differences(problem, found, lambda p: p.objective(trained(p, name)), step=1e-6, atol=1e-8)


@both_modes
@every
@pytest.mark.parametrize("spec", [SMOOTH, "convnet(width=4,depth=1,norm=none)"])
def test_it_is_what_one_graph_through_everything_gives(spec, name, mode):
    problem = classify(spec, (1, 4, 4), epochs=3, steps=2)
    found = hypergradient(*problem.arguments, optimiser=optimiser(name), mode=mode)
    assert_same(found, naive(problem, optimiser(name)), tolerance=1e-9)
    torch.testing.assert_close(found.final, trained(problem, name), rtol=1e-12, atol=1e-12)
    assert torch.equal(found.objective, problem.objective(found.final))


@both_modes
@every
def test_several_networks_at_once_are_one_by_one(name, mode):
    problem = classify(SMOOTH, (1, 3, 3), networks=3)
    together = hypergradient(*problem.arguments, optimiser=optimiser(name), mode=mode)
    for i in range(3):
        one = replace(problem, thetas=problem.thetas[i : i + 1])
        alone = hypergradient(*one.arguments, optimiser=optimiser(name), mode=mode)
        for part, each in parts(together).items():
            torch.testing.assert_close(each[i : i + 1], parts(alone)[part])


def test_gradient_descent_is_what_is_taken_when_no_optimiser_is_named():
    problem = classify(SMOOTH, (1, 3, 3))
    assert_equal(hypergradient(*problem.arguments), hypergradient(*problem.arguments, optimiser=optimiser("sgd")))


@both_modes
def test_momentum_without_memory_is_gradient_descent(mode):
    problem = classify(SMOOTH, (1, 3, 3))
    found = hypergradient(*problem.arguments, optimiser=Momentum(decay=0.0), mode=mode)
    assert_same(found, hypergradient(*problem.arguments, mode=mode), tolerance=1e-12)


def test_the_optimisers_train_differently():
    problem = classify(SMOOTH, (1, 3, 3))
    sgd, momentum, adam = (trained(problem, name) for name in ("sgd", "momentum", "adam"))
    assert min((sgd - momentum).abs().max(), (sgd - adam).abs().max(), (momentum - adam).abs().max()) > 1e-2


# --- weights kept every so many steps


@every
@pytest.mark.parametrize("keep_every", [2, 5, 100])
def test_keeping_fewer_weights_changes_not_a_bit(name, keep_every):
    problem = classify(SMOOTH, (1, 3, 3), epochs=2, steps=3)
    all_kept, fewer = (
        hypergradient(*problem.arguments, optimiser=optimiser(name), mode="recomputed", keep_every=k)
        for k in (1, keep_every)
    )
    assert_equal(fewer, all_kept)


@every
def test_keeping_fewer_weights_changes_not_a_bit_in_a_window(name):
    problem = classify(SMOOTH, (1, 3, 3), epochs=1, steps=7)
    for window in (range(5), range(2, 7), range(3, 4)):
        all_kept, fewer = (
            hypergradient(*problem.arguments, optimiser=optimiser(name), mode="recomputed", keep_every=k, window=window)
            for k in (1, 2)
        )
        assert_equal(fewer, all_kept)


@pytest.mark.parametrize("keep_every", [0, -1])
def test_keeping_weights_less_often_than_never_is_refused(keep_every):
    with pytest.raises(UserError, match=f"keep_every is {keep_every}, but must be at least 1"):
        hypergradient(*classify(SMOOTH, (1, 3, 3)).arguments, mode="recomputed", keep_every=keep_every)


class Counted(Momentum):
    """Momentum that counts the momenta alive, one of which belongs to each state alive."""

    def __init__(self) -> None:
        super().__init__()
        object.__setattr__(self, "alive", weakref.WeakSet())  # the class is frozen
        object.__setattr__(self, "counts", [])

    def update(self, state, gradient, step_size, t):
        new = super().update(state, gradient, step_size, t)
        self.alive.add(Held(new[1]))
        self.counts.append(len(self.alive))
        return new


class Held:
    """Lives as long as the tensor does."""

    def __init__(self, tensor: torch.Tensor) -> None:
        tensor.held = self


@pytest.mark.parametrize("keep_every", [1, 2, 4, 6, 12, 24])
def test_recomputed_keeps_a_state_for_every_segment_and_those_of_one_segment(keep_every):
    problem, rule = classify(SMOOTH, (1, 3, 3), networks=1, epochs=24, steps=1), Counted()
    hypergradient(*problem.arguments, optimiser=rule, mode="recomputed", keep_every=keep_every)
    steps = 24 * (2 if keep_every == 1 else 3) - (0 if keep_every == 1 else 24 // keep_every)
    assert len(rule.counts) == steps  # the way forward, that of each segment, and one in each `pull`
    at_most = 24 // keep_every + keep_every
    assert at_most - 2 <= max(rule.counts) <= at_most + 2


def test_recomputed_from_few_weights_holds_fewer_bytes():
    problem = classify("mlp(width=16,depth=1)", (1, 8, 8), networks=1, epochs=16, steps=1, batch=1)
    found = {}
    for keep_every in (1, 4, 16):
        gc.collect()
        with Peak() as peak:
            hypergradient(*problem.arguments, mode="recomputed", keep_every=keep_every)
        found[keep_every] = peak.peak
    weights = problem.thetas.numel() * 8
    assert 6 * weights < found[1] - found[4] < 10 * weights  # 16 copies or 4 + 4
    assert 6 * weights < found[16] - found[4] < 10 * weights


# --- windows


@both_modes
@every
@pytest.mark.parametrize("keep_every", [1, 2])
def test_a_window_that_ends_with_the_program_gives_the_whole_s_gradients_of_its_own_steps(name, mode, keep_every):
    problem = classify(SMOOTH, (1, 3, 3), epochs=1, steps=5)
    whole, part = (
        hypergradient(
            *problem.arguments, optimiser=optimiser(name), mode=mode, keep_every=keep_every, window=range(begin, 5)
        )
        for begin in (0, 2)
    )
    torch.testing.assert_close(part.final, whole.final, rtol=0, atol=0)
    torch.testing.assert_close(part.examples[:, 2:], whole.examples[:, 2:])
    torch.testing.assert_close(part.step_sizes[..., 2:], whole.step_sizes[..., 2:])
    assert not part.examples[:, :2].any()
    assert not part.step_sizes[..., :2].any()
    assert whole.examples[:, :2].any()


@both_modes
@every
def test_a_window_that_ends_early_is_the_shorter_program(name, mode):
    problem = classify(SMOOTH, (1, 3, 3), epochs=1, steps=5)
    part = hypergradient(*problem.arguments, optimiser=optimiser(name), mode=mode, window=range(3))
    shorter = replace(
        problem, examples=problem.examples[:3], labels=problem.labels[:3], step_sizes=problem.step_sizes[:, :3]
    )
    alone = hypergradient(*shorter.arguments, optimiser=optimiser(name), mode=mode)
    torch.testing.assert_close(part.examples[:, :3], alone.examples)
    torch.testing.assert_close(part.step_sizes[..., :3], alone.step_sizes)
    for which in ("objective", "initial", "final"):
        torch.testing.assert_close(getattr(part, which), getattr(alone, which))


# --- an objective on real images


@both_modes
@every
def test_an_objective_on_real_images_in_pieces_is_the_objective_at_once(name, mode):
    problem = classify(SMOOTH, (1, 3, 3))
    draw = torch.Generator().manual_seed(5)
    images = torch.randn(2, 300, 1, 3, 3, generator=draw, dtype=torch.float64)
    labels = torch.randint(3, (2, 300), generator=draw)

    def real(thetas, some, classes):  # not that of `problem`, but its network and loss, one network at a time
        each = [problem.loss(thetas[i : i + 1], some[i : i + 1], classes[i : i + 1]) for i in range(len(thetas))]
        return torch.cat(each)

    plain = replace(problem, objective=lambda thetas: real(thetas, images, labels))
    in_pieces = replace(problem, objective=OnReal(real, images, labels, most=128))
    one, other = (hypergradient(*p.arguments, optimiser=optimiser(name), mode=mode) for p in (plain, in_pieces))
    assert_same(other, one, tolerance=1e-12)
