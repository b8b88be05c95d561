"""Losses: closed forms, equal values of hard and soft targets, limits."""

import pytest
import torch
from torch.nn.functional import cross_entropy, one_hot

from datastill.errors import UserError
from datastill.program import CrossEntropy, Divergence, SquaredError


def draw(seed=0, networks=3, batch=5, classes=4):
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(networks, batch, classes, generator=g, dtype=torch.float64)
    return logits, torch.randint(classes, (networks, batch), generator=g)


LOGITS, CLASSES = draw()
mean_cross_entropy = CrossEntropy().means


def test_mean_cross_entropy_is_minus_the_mean_log_softmax_at_the_label():
    by_hand = torch.stack(
        [
            torch.stack([-(z[y].exp() / z.exp().sum()).log() for z, y in zip(zs, ys, strict=True)]).mean()
            for zs, ys in zip(LOGITS, CLASSES, strict=True)
        ]
    )
    torch.testing.assert_close(mean_cross_entropy(LOGITS, CLASSES), by_hand)


def test_hard_labels_are_one_hot_soft_labels():
    soft = one_hot(CLASSES, 4).double()
    torch.testing.assert_close(mean_cross_entropy(LOGITS, CLASSES), mean_cross_entropy(LOGITS, soft))
    centred = soft - 1 / 4
    torch.testing.assert_close(SquaredError().means(LOGITS, CLASSES), SquaredError().means(LOGITS, centred))


def test_label_smoothing_is_a_choice_of_soft_labels():
    smoothed = 0.9 * one_hot(CLASSES, 4).double() + 0.1 / 4
    expected = torch.stack([cross_entropy(z, y, label_smoothing=0.1) for z, y in zip(LOGITS, CLASSES, strict=True)])
    torch.testing.assert_close(mean_cross_entropy(LOGITS, smoothed), expected)


def test_cross_entropy_is_linear_in_soft_labels_and_blind_to_a_shift_of_all_logits():
    a, b = one_hot(CLASSES, 4).double(), one_hot(CLASSES.flip(1), 4).double()
    mixed = mean_cross_entropy(LOGITS, 0.3 * a + 0.7 * b)
    torch.testing.assert_close(mixed, 0.3 * mean_cross_entropy(LOGITS, a) + 0.7 * mean_cross_entropy(LOGITS, b))
    torch.testing.assert_close(mean_cross_entropy(LOGITS + 5, a), mean_cross_entropy(LOGITS, a))


def test_equal_logits_cost_log_of_the_number_of_classes():
    torch.testing.assert_close(
        mean_cross_entropy(torch.zeros(2, 3, 7), torch.ones(2, 3).long()), torch.full((2,), 7.0).log()
    )


@pytest.mark.parametrize("temperature", [0.5, 1.0, 20.0])
def test_the_divergence_is_its_formula_and_zero_only_for_the_teacher(temperature):
    teacher, _ = draw(seed=1)
    loss = Divergence(temperature=temperature)
    p, q = ((each / temperature).softmax(-1) for each in (teacher, LOGITS))
    torch.testing.assert_close(loss.means(LOGITS, teacher), temperature**2 * (p * (p / q).log()).sum(-1).mean(1))
    assert (loss.means(LOGITS, teacher) > 1e-3).all()
    torch.testing.assert_close(loss.means(teacher, teacher), torch.zeros(3).double())


def test_at_temperature_one_the_divergence_has_the_gradient_of_cross_entropy_with_soft_labels():
    teacher, _ = draw(seed=1)
    logits = LOGITS.clone().requires_grad_()
    gradients = [
        torch.autograd.grad(loss.means(logits, targets).sum(), logits)[0]
        for loss, targets in ((Divergence(), teacher), (CrossEntropy(), teacher.softmax(-1)))
    ]
    torch.testing.assert_close(*gradients)


def test_at_a_high_temperature_the_divergence_compares_centred_logits():
    teacher, _ = draw(seed=1)
    centred = (each - each.mean(-1, keepdim=True) for each in (teacher, LOGITS))
    limit = (next(centred) - next(centred)).square().sum(-1).mean(1) / (2 * 4)
    torch.testing.assert_close(Divergence(temperature=1e4).means(LOGITS, teacher), limit, rtol=1e-3, atol=0)


def test_the_squared_error_is_half_the_squared_distance_from_centred_targets():
    target = torch.tensor([0.75, -0.25, -0.25, -0.25]).double()
    logits = target + torch.tensor([0.0, 2.0, 0.0, 0.0])
    assert SquaredError()(logits[None], torch.tensor([0])).item() == pytest.approx(2.0)
    assert SquaredError()(target[None], torch.tensor([0])).item() == 0
    assert SquaredError()(logits[None], logits[None]).item() == 0, "soft targets are taken as they are"
    assert SquaredError(scale=3.0)(3 * target[None], torch.tensor([0])).item() == 0
    assert SquaredError(scale=3.0)(logits[None], logits[None]).item() == 0


def test_what_a_loss_cannot_take_is_refused():
    with pytest.raises(UserError, match=r"temperature is 0\.0, but must be a number from 1e-06"):
        Divergence(temperature=0.0)
    with pytest.raises(UserError, match="needs the logits of a teacher"):
        Divergence()(LOGITS[0], CLASSES[0])
