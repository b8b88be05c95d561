"""Gradient matching: the distance of gradients in closed form, its derivative, and the network in training."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from datastill.methods import State
from datastill.methods.gradient_matching import GradientMatching, gradient_distance
from datastill.networks import build

from ..toys import toy_data, toy_task

DATA = toy_data().in_precision(torch.float64)
SMALL = GradientMatching(ipc=2, real_per_class=8, turns=3, network_epochs=2, network_step_size=0.05)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_distance_counts_one_minus_the_cosine_of_each_output_and_no_bias() -> None:
    a = {"weight": torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]]), "bias": torch.tensor([1.0, -5.0, 0.0])}
    b = {"weight": torch.tensor([[0.0, 7.0], [0.0, 1.0], [-1.0, -1.0]]), "bias": torch.zeros(3)}
    assert float(gradient_distance(a, b)) == pytest.approx(1 + 0 + 2)
    kernels = {"weight": normal(4, 3, 2, 2)}
    assert float(gradient_distance(kernels, {"weight": 5 * kernels["weight"]})) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("augment", ["siamese", "none"])
def test_the_gradient_is_that_of_finite_differences(augment: str) -> None:
    task, method = toy_task(data=DATA), replace(SMALL, augment=augment)
    state, small = method.init(task), 1e-5
    examples = state.learned["examples"]
    along = normal(*examples.shape)
    ahead, behind = (
        method.step(task, replace(state, learned={"examples": examples + sign * small * along}), 0) for sign in (1, -1)
    )
    found = float((method.step(task, state, 0).gradients["examples"][0] * along).sum())
    assert found == pytest.approx((ahead.objective - behind.objective) / (2 * small), rel=1e-5)


@pytest.mark.parametrize("augment", ["siamese", "none"])
def test_all_images_of_a_class_match_themselves(augment: str) -> None:
    """One draw of the augmentation changes both; with two draws, the gradients would differ."""
    least, task = int(DATA.train.labels.bincount().min()), toy_task(data=DATA)
    whole = replace(SMALL, ipc=least, real_per_class=least, augment=augment)
    half = replace(whole, ipc=least // 2)
    for iteration in (0, 3):
        update, other = (each.step(task, each.init(task), iteration) for each in (whole, half))
        assert float(update.gradients["examples"].abs().max()) < 1e-9
        assert other.objective > update.objective + 1e-3


def test_a_network_is_drawn_where_none_was_carried_on() -> None:
    """The loop drops what an iteration carries if none of its gradients is finite."""
    task = toy_task(data=DATA)
    state = SMALL.init(task)
    for i, life in ((1, 0), (4, 1)):
        weights = SMALL.step(task, state, i).carried["weights"]
        assert torch.equal(weights, task.draws(0, life, range(1))[0].double())


def test_a_network_trains_on_the_examples_for_some_iterations_and_is_then_drawn_anew() -> None:
    task = toy_task(data=DATA)
    state, seen = SMALL.init(task), []
    for i in range(7):
        update = SMALL.step(task, state, i)
        state = State(learned=state.learned, carried=update.carried)
        seen.append(update.carried["weights"])
    for first in (0, 3, 6):
        assert torch.equal(seen[first], task.draws(0, first // 3, range(1))[0].double())
    labels = torch.arange(DATA.classes).repeat_interleave(2)
    examples = state.learned["examples"]
    losses = [float(torch.nn.functional.cross_entropy(task.network.apply(w, examples), labels)) for w in seen[:3]]
    assert losses[0] > losses[1] > losses[2]


def test_every_layer_of_a_convnet_is_compared() -> None:
    network = build("convnet(width=4,depth=1)", shape=(1, 8, 8), classes=3)
    rows = network.named(normal(network.size))
    other = {name: -value for name, value in rows.items()}
    outputs = sum(len(value) for value in rows.values() if value.dim() > 1)
    assert float(gradient_distance(rows, other)) == pytest.approx(2 * outputs)
