"""The operations of an outer iteration are those counted by hand."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from datastill.costs import costs
from datastill.planner import plan
from datastill.training import Engine, Unroll
from datastill.trial import Trial

from .planning import METHOD, given
from .toys import unrolled


def hand_count(batch: int, real: int, length: int, widths: tuple[int, int, int]) -> int:
    """Floating-point operations of an outer iteration on an MLP of one hidden layer, whose products are counted.

    Let a be those of the first layer's product, 2 * images * inputs * width, and b those of the second layer's.
    Loss: a + b. Its gradient: that of either weight costs as much as the layer, as does that of the hidden units,
    a + 2b; that of the images is not asked for. Backwards through the gradient: each of its three products has two
    factors, 2a + 4b; and through the two products of the loss itself, to the weights and the images, 2a + 2b.
    A step: (1 + 1 + 2 + 2) a + (1 + 2 + 4 + 2) b. The objective: loss and gradient on real images, 2a + 3b.
    """
    first, second = (2 * inputs * outputs for inputs, outputs in itertools.pairwise(widths))
    step, objective = 6 * first + 9 * second, 2 * first + 3 * second
    return length * batch * step + real * objective


@pytest.mark.parametrize(
    ("width", "together", "changes"),
    [
        (8, 0, {}),
        (5, 0, {}),
        (8, 2, {}),
        (8, 0, {"ipc": 4}),
        (5, 0, {"real_batch": 140}),
        (8, 0, {"epochs": 3}),
        (8, 2, {"unroll": Unroll(networks=5)}),
    ],
)
def test_the_operations_are_those_counted_by_hand(width: int, together: int, changes: dict[str, Any]) -> None:
    """How networks are batched changes nothing."""
    method = replace(METHOD, **changes)
    one = hand_count(3 * method.ipc // 2, method.real_batch, 2 * method.epochs, (16, width, 3))
    found = costs(given(f"mlp(width={width},depth=1)", method, Engine(together=together)))
    assert found["stored"].operations == method.networks * one


def test_principal_coordinates_cost_one_product_there_and_one_back() -> None:
    method = unrolled(METHOD, networks=1)
    principal = replace(method, coordinates="principal")
    product = 2 * (2 * 3) * 16 * 16  # two images of each of three classes, 16 values each
    pixels = costs(given(method=method))["stored"].operations
    assert costs(given(method=principal))["stored"].operations == pixels + 2 * product


def test_an_iteration_of_which_nothing_can_be_chosen_is_measured_as_it_is() -> None:
    made: list[str] = []

    def make() -> Callable[[], object]:
        made.append("state")
        return lambda: made.append("iteration") or torch.ones(8, 4) @ torch.ones(4, 2)

    found = plan(Trial(device=torch.device("cpu"), parameters=7, make=make), 10)
    assert (found.parameters, found.operations) == (7, 2 * 8 * 4 * 2)
    assert 0 < found.memory["an iteration"] < 1000
    assert made[:2] == ["state", "iteration"]
    assert made.count("state") == 1
    assert "as it is" in "\n".join(found.lines(10))
