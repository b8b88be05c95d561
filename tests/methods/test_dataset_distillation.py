"""Dataset distillation: gradients by finite differences, limits, independence of how the networks are batched."""

from dataclasses import replace

import pytest
import torch

from datastill.errors import UserError
from datastill.methods.dataset_distillation import DatasetDistillation, limited

from .test_conformance import problem

SMALL = DatasetDistillation(ipc=2, steps=2, epochs=2, networks=3, real_batch=32, step_size=0.1, clip=0.0)


def test_the_gradient_is_that_of_the_objective_it_reports() -> None:
    given = problem()
    learned = SMALL.start(given)
    update = SMALL.gradient(given, learned, 3)
    draw = torch.Generator().manual_seed(0)
    for name in learned:
        direction = torch.randn(learned[name].shape, generator=draw)
        direction /= direction.norm()
        slope = float((update.gradients[name] * direction).sum())
        ends = [
            SMALL.gradient(given, learned | {name: learned[name] + sign * 1e-2 * direction}, 3).objective
            for sign in (1, -1)
        ]
        assert (ends[0] - ends[1]) / 2e-2 == pytest.approx(slope, rel=0.05, abs=2e-4)


def test_three_networks_are_the_mean_of_the_first_and_the_others() -> None:
    """Network i of an iteration draws the same weights and real batch however many there are."""
    given = problem()
    learned = SMALL.start(given)
    objectives = [replace(SMALL, networks=n).gradient(given, learned, 0).objective for n in (1, 2, 3)]
    one, two, three = (n * objective for n, objective in zip((1, 2, 3), objectives, strict=True))
    gradients = [replace(SMALL, networks=n).gradient(given, learned, 0).gradients["examples"] * n for n in (1, 2, 3)]
    assert one != two - one != three - two
    assert not torch.allclose(gradients[0], gradients[1] - gradients[0])
    assert min(one, two - one, three - two) > 0


def test_both_modes_give_the_same_gradient() -> None:
    given = problem()
    learned = SMALL.start(given)
    stored, recomputed = (replace(SMALL, mode=mode).gradient(given, learned, 0) for mode in ("stored", "recomputed"))
    for name in learned:
        torch.testing.assert_close(stored.gradients[name], recomputed.gradients[name])


def test_limited_scales_down_only_what_is_too_long_and_drops_what_is_not_finite() -> None:
    each = torch.tensor([[3.0, 4.0], [0.3, 0.4], [float("nan"), 1.0], [float("inf"), 1.0]])
    expected = torch.tensor([[0.6, 0.8], [0.3, 0.4], [0.0, 0.0], [0.0, 0.0]])
    torch.testing.assert_close(limited(each, 1.0), expected)
    torch.testing.assert_close(limited(each[:2], 0.0), each[:2])


def test_a_diverged_network_does_not_touch_the_others() -> None:
    given = problem()
    learned = SMALL.start(given)
    huge = learned | {"step_sizes": torch.full_like(learned["step_sizes"], 1e30)}
    update = SMALL.gradient(given, huge, 0)
    assert all(value.isfinite().all() for value in update.gradients.values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"networks": 0}, "networks is 0"),
        ({"real_batch": 0}, "real_batch is 0"),
        ({"clip": -1.0}, "clip is -1"),
        ({"steps": 0}, "steps is 0"),
        ({"epochs": 0}, "epochs is 0"),
    ],
)
def test_impossible_settings_are_named(change: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        replace(SMALL, **change)
