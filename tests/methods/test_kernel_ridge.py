"""Kernel ridge regression as a method: its gradient, its closed form and its pool."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from datastill.errors import UserError
from datastill.methods import State, Task
from datastill.methods.kernel_ridge import KernelRidge
from datastill.methods.kernels import fully_connected
from datastill.networks import build
from datastill.networks.head import features_of
from datastill.networks.start import parse_start
from datastill.program import Divergence, SquaredError, centred, mirrored
from datastill.rng import generator
from datastill.synthetic import basis

from ..toys import toy_data, toy_task

DATA = toy_data().in_precision(torch.float64)
SMALL = KernelRidge(
    ipc=2, real_batch=32, ridge=0.1, coordinates="principal", pool=3, age=5, pool_step_size=0.05, mirror=False
)


def task(network: str = "mlp(width=8,depth=1)") -> Task:
    built = build(network, shape=DATA.shape, classes=DATA.classes)
    draws = parse_start("random(xavier)").bound(built, seed=0, dtype=torch.float64)
    return replace(toy_task(data=DATA), network=built, draws=draws)


def after(method: KernelRidge, given: Task, iterations: int) -> State:
    state = method.init(given)
    for i in range(iterations):
        state = State(learned=state.learned, carried=method.step(given, state, i).carried)
    return state


def solved(of_real: Tensor, of_set: Tensor, targets: Tensor, ridge: float) -> Tensor:
    """Ridge regression on features, in its primal form."""
    penalty = ridge * of_set.square().sum(1).mean() * torch.eye(of_set.shape[1], dtype=of_set.dtype)
    return of_real @ torch.linalg.solve(of_set.T @ of_set + penalty, of_set.T @ targets)


@pytest.mark.parametrize("kernel", ["features", "fully-connected"])
def test_the_gradient_is_that_of_finite_differences(kernel: str) -> None:
    given, method = task(), replace(SMALL, kernel=kernel)
    state = method.init(given)
    update = method.step(given, state, 0)
    draw = torch.Generator().manual_seed(0)
    for name, value in state.learned.items():
        along, small = torch.randn(value.shape, generator=draw, dtype=torch.float64), 1e-5
        ahead, behind = (
            method.step(given, replace(state, learned=state.learned | {name: value + sign * small * along}), 0)
            for sign in (1, -1)
        )
        expected = (ahead.objective - behind.objective) / (2 * small)
        assert float((update.gradients[name][0] * along).sum()) == pytest.approx(expected, rel=1e-5, abs=1e-9)


def test_a_set_of_all_of_the_data_gives_exactly_its_ridge_solution() -> None:
    """The kernel of a network without hidden layers is linear: here the method is ordinary ridge regression."""
    counts = DATA.train.labels.bincount()
    whole = DATA.by_class(int(counts.min()), generator(0, "start of the examples")).flatten()
    method = replace(SMALL, ipc=int(counts.min()), real_batch=50, ridge=1e-3)
    given = task("mlp(depth=0)")
    images = DATA.normalise(DATA.train.images[whole]).flatten(1)
    real, labels = DATA.batch(generator(0, "real batch", 0), 50)
    predicted = solved(real.flatten(1), images, centred(DATA.train.labels[whole], 3), 1e-3)
    expected = float(SquaredError()(predicted, labels).mean())
    assert method.step(given, method.init(given), 0).objective == pytest.approx(expected, rel=1e-6)


def test_labels_and_examples_that_are_learned_lower_the_error_of_all_networks() -> None:
    given = task()
    method = replace(SMALL, real_batch=144)
    state = method.init(given)
    first = sum(method.step(given, state, i).objective for i in range(10))
    for i in range(80):
        update = method.step(given, state, i)
        learned = {name: value - 3 * update.gradients[name][0] for name, value in state.learned.items()}
        state = State(learned=learned, carried=update.carried)
    assert sum(method.step(given, state, i).objective for i in range(10)) < 0.95 * first


def test_a_network_of_the_pool_takes_steps_of_adam_on_the_set_and_is_then_renewed() -> None:
    given, method = task(), replace(SMALL, pool=1, age=4)
    state = method.init(given)
    examples = basis(DATA, "principal").examples(state.learned["examples"])
    parameters = [state.carried["pool"][0]["weights"][0][0].clone().requires_grad_()]
    adam = torch.optim.Adam(parameters, 0.05, eps=1e-5)
    for i in range(3):
        state = State(learned=state.learned, carried=method.step(given, state, i).carried)
        adam.zero_grad()
        errors = given.network.apply(parameters[0], examples) - state.learned["labels"]
        (errors.square().sum(1).mean() / 2).backward()
        adam.step()
        (member,) = state.carried["pool"]
        torch.testing.assert_close(member["weights"][0][0], parameters[0].detach())
        assert member["steps"] == i + 1
    (young,) = method.step(given, state, 3).carried["pool"]
    assert (young["steps"], young["left"], young["life"]) == (0, 4, 1)
    assert torch.equal(young["weights"][0][0], given.draws(given.seed, 1, range(1))[0].double())


def test_an_iteration_changes_one_network_and_all_have_their_turn() -> None:
    given, state = task(), after(SMALL, task(), 0)
    seen = set()
    for i in range(30):
        pool = SMALL.step(given, state, i).carried["pool"]
        changed = [k for k in range(3) if pool[k] is not state.carried["pool"][k]]
        assert len(changed) == 1
        seen |= set(changed)
        state = State(learned=state.learned, carried={"pool": pool})
    assert seen == {0, 1, 2}
    assert max(member["steps"] for member in state.carried["pool"]) < SMALL.age


def test_the_objective_is_the_error_of_the_network_whose_turn_it_is() -> None:
    given = task()
    state = after(SMALL, given, 4)
    draw = generator(0, "network of the pool", 4)
    theta = state.carried["pool"][int(torch.randint(3, (), generator=draw))]["weights"][0][0]
    real, labels = DATA.batch(generator(0, "real batch", 4), 32)
    features = features_of(given.network)
    examples = basis(DATA, "principal").examples(state.learned["examples"])
    predicted = solved(features.apply(theta, real), features.apply(theta, examples), state.learned["labels"], 0.1)
    expected = float(SquaredError()(predicted, labels).mean())
    assert SMALL.step(given, state, 4).objective == pytest.approx(expected, rel=1e-6)


def test_the_kernel_of_infinite_width_needs_no_pool_and_is_computed_in_float64() -> None:
    method = replace(SMALL, kernel="fully-connected", depth=3, coordinates="pixels")
    state = method.init(task())
    assert not state.carried
    real, labels = DATA.batch(generator(0, "real batch", 0), 32)
    examples, targets = state.learned["examples"], state.learned["labels"]
    square = fully_connected(examples, examples, 3)
    penalty = 0.1 * square.diagonal().mean() * torch.eye(6, dtype=torch.float64)
    predicted = fully_connected(real, examples, 3) @ torch.linalg.inv(square + penalty) @ targets
    expected = float(SquaredError()(predicted, labels).mean())
    update = method.step(task(), state, 0)
    assert update.objective == pytest.approx(expected, rel=1e-6)
    given = toy_task()  # float32
    found = method.step(given, method.init(given), 0)
    assert found.objective == pytest.approx(expected, rel=1e-4)
    torch.testing.assert_close(found.gradients["examples"], update.gradients["examples"].float(), rtol=1e-3, atol=1e-6)


def test_targets_start_centred_and_stay_where_they_are_without_a_rate() -> None:
    method = replace(SMALL, labels_rate=0.0)
    state = method.init(task())
    labels = torch.arange(3).repeat_interleave(2)
    torch.testing.assert_close(state.learned["labels"], centred(labels, 3))
    assert set(method.rates()) == set(method.step(task(), state, 0).gradients) == {"examples"}


def test_mirrored_copies_of_examples_and_of_half_of_the_real_images_take_part() -> None:
    """The kernel is that of twice as many examples; in the pool, networks train on all of them."""
    method, given = replace(SMALL, mirror=True), task()
    state, draw = method.init(given), generator(0, "real batch", 0)
    real, labels = DATA.batch(draw, 32)
    shown = mirrored(real, draw)
    turned = (shown != real).flatten(1).any(1)
    assert 0 < int(turned.sum()) < 32
    assert torch.equal(shown[turned], real[turned].flip(3))
    examples = basis(DATA, "principal").examples(state.learned["examples"])
    both, targets = torch.cat([examples, examples.flip(3)]), state.learned["labels"].repeat(2, 1)
    draw = generator(0, "network of the pool", 0)
    i = int(torch.randint(3, (), generator=draw))
    theta, features = state.carried["pool"][i]["weights"][0][0], features_of(given.network)
    predicted = solved(features.apply(theta, shown), features.apply(theta, both), targets, 0.1)
    update = method.step(given, state, 0)
    assert update.objective == pytest.approx(float(SquaredError()(predicted, labels).mean()), rel=1e-6)
    alone = SMALL.step(given, state, 0)
    assert not torch.equal(update.carried["pool"][i]["weights"][0], alone.carried["pool"][i]["weights"][0])


def test_the_labels_of_the_set_are_large_targets_for_the_squared_error() -> None:
    """Classes are as large under the program of the set, so random real images beside it have no disadvantage."""
    given = task()
    for scale in (30.0, 7.0):
        method = replace(SMALL, scale=scale)
        state = after(method, given, 0)
        found = method.result(given, state)
        assert found.program.loss == SquaredError(scale=scale)
        torch.testing.assert_close(found.targets, scale * state.learned["labels"])


def test_the_labels_for_cross_entropy_are_probabilities_that_keep_the_order_of_the_targets() -> None:
    given, state = task(), after(SMALL, task(), 0)
    targets = torch.tensor([[1.0, 0.0, -1.0]] * 6, dtype=torch.float64)
    method = replace(SMALL, program="shuffled-300-adam")
    found = method.result(given, State(learned=state.learned | {"labels": targets})).targets
    torch.testing.assert_close(found.sum(1), torch.ones(6, dtype=torch.float64))
    torch.testing.assert_close((found[:, 0] / found[:, 1]).log(), torch.full((6,), 4.0, dtype=torch.float64))


@pytest.mark.parametrize(
    ("settings", "message"), [({"ridge": 0.0}, "ridge is 0.0"), ({"age": 0}, "age"), ({"pool": 0}, "pool")]
)
def test_impossible_settings_are_refused_by_name(settings: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        replace(SMALL, **settings)


@pytest.mark.parametrize("program", ["shuffled-300-squared", "shuffled-300-adam"])
def test_a_warm_start_gives_the_examples_and_labels_of_its_own_result(program: str) -> None:
    """Examples, parts and targets of a finished state are read back, at the scale of the set; classes are centred."""
    given, method = task(), replace(SMALL, program=program)
    state = method.init(given)
    noise = 0.1 * torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    tuned = state.learned | {"labels": state.learned["labels"] + noise - noise.mean(1, keepdim=True)}
    finished = method.result(given, replace(state, learned=tuned))
    again = replace(method, scale=7.0).init(replace(given, warm_start=finished))
    torch.testing.assert_close(again.learned["examples"], tuned["examples"])
    torch.testing.assert_close(again.learned["labels"], tuned["labels"])
    classes = method.init(replace(given, warm_start=replace(finished, targets=finished.targets.argmax(1))))
    assert torch.equal(classes.learned["labels"], centred(finished.targets.argmax(1), 3))


def test_a_warm_start_reads_logits_of_a_teacher_as_the_probabilities_at_their_temperature() -> None:
    given = task()
    finished = replace(SMALL, program="shuffled-300-adam").result(given, SMALL.init(given))
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    program = replace(finished.program, loss=Divergence(temperature=4.0))
    taught = replace(finished, targets=logits, program=program)
    as_probabilities = replace(finished, targets=(logits / 4).softmax(1))
    one, other = (SMALL.init(replace(given, warm_start=each)).learned["labels"] for each in (taught, as_probabilities))
    torch.testing.assert_close(one, other)


def test_a_warm_start_of_another_size_or_factor_is_refused() -> None:
    given = task()
    finished = SMALL.result(given, SMALL.init(given))
    for method, start, message in (
        (replace(SMALL, ipc=3), finished, "the warm start has 6 examples, but the settings ask for 9"),
        (SMALL, replace(finished, factor=2), "the warm start has factor 2, but this run has 1; take factor 2"),
    ):
        with pytest.raises(UserError, match=message):
            method.check(replace(given, warm_start=start))
