"""Networks are functions of weights and images; what is not is refused by name."""

import pytest
import torch
from torch import nn

from datastill.errors import UserError
from datastill.networks import Network


def dropping() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(9, 8), nn.Dropout(0.5), nn.Linear(8, 4))


def test_dropout_is_off_so_that_a_network_is_a_function_of_its_weights():
    network = Network(dropping, shape=(1, 3, 3), classes=4, name="dropping")
    thetas = network.init("own", [torch.Generator().manual_seed(i) for i in range(2)])
    images = torch.randn(2, 3, 1, 3, 3, generator=torch.Generator().manual_seed(1))
    named = network.named(thetas[0])
    by_hand = (images[0].flatten(1) @ named["1.weight"].T + named["1.bias"]) @ named["3.weight"].T + named["3.bias"]
    torch.testing.assert_close(network.apply(thetas[0], images[0]), by_hand)
    torch.testing.assert_close(network.apply_many(thetas, images)[0], by_hand)
    torch.testing.assert_close(network.predictor(thetas[0], images[0])(images[0]), by_hand)


class OneLayer(nn.Module):
    """One layer, of the images as `prepared` gives them."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(9, 4)
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("constant", torch.ones(9))

    def prepared(self, x):
        return x * self.constant

    def forward(self, x):
        return self.layer(self.prepared(x.flatten(1)))


def network_of(kind) -> Network:
    return Network(kind, shape=(1, 3, 3), classes=4, name="mine")


def weights_and_images(network, count=3):
    thetas = network.init("own", [torch.Generator().manual_seed(i) for i in range(count)])
    return thetas, torch.randn(count, 5, 1, 3, 3, generator=torch.Generator().manual_seed(9))


class Counting(OneLayer):
    def prepared(self, x):
        self.calls += 1
        return super().prepared(x)


class Replacing(OneLayer):
    def prepared(self, x):
        self.calls = x.mean() + 1
        return super().prepared(x)


class Averaging(OneLayer):
    def prepared(self, x):
        self.calls += 0.1 * (x.mean() - self.calls)  # which stays at zero while images are zeros
        return x - self.calls


@pytest.mark.parametrize(
    "kind",
    [
        Counting,
        Replacing,
        Averaging,
    ],
)
def test_a_module_that_changes_a_buffer_is_refused_by_its_name(kind):
    with pytest.raises(UserError) as caught:
        network_of(kind)
    assert "network 'mine' changes its buffer 'calls' in its forward pass" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_buffers_that_stay_as_they_are_belong_to_the_function():
    network = network_of(OneLayer)
    thetas, images = weights_and_images(network)
    before = network.apply(thetas[0], images[0])
    network.module.constant *= 2
    bias = network.named(thetas[0])["layer.bias"]
    torch.testing.assert_close(network.apply(thetas[0], images[0]) - bias, 2 * (before - bias))


class Dropping(OneLayer):
    def prepared(self, x):
        return nn.functional.dropout(x)


class DroppingInTraining(OneLayer):
    def prepared(self, x):
        return nn.functional.dropout(x, training=self.training)


class Noisy(OneLayer):
    def prepared(self, x):
        return x + torch.randn_like(x)


@pytest.mark.parametrize("kind", [Dropping, Noisy])
def test_a_module_that_draws_random_numbers_is_refused_with_what_to_do(kind):
    before = torch.get_rng_state()
    with pytest.raises(UserError) as caught:
        network_of(kind)
    assert torch.equal(torch.get_rng_state(), before)
    assert "network 'mine' draws random numbers in its forward pass" in str(caught.value)
    assert "F.dropout(x, training=self.training)" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [DroppingInTraining, dropping])
def test_dropout_that_follows_the_module_is_allowed_and_off(kind):
    network = network_of(kind)
    thetas, images = weights_and_images(network)
    first, second = (network.apply_many(thetas, images) for _ in range(2))
    assert torch.equal(first, second)


class Branching(OneLayer):
    """Mirrored where the images are dark, which is different for each network's images."""

    def prepared(self, x):
        return x if x.sum() > 0 else -x


def test_a_module_that_branches_on_values_is_applied_one_by_one():
    network = network_of(Branching)
    thetas, images = weights_and_images(network, 4)
    assert not network.batches
    assert network_of(OneLayer).batches
    assert len({bool(each.sum() > 0) for each in images}) == 2
    found = network.apply_many(thetas, images)
    for theta, x, logits in zip(thetas, images, found, strict=True):
        named = network.named(theta)
        sign = 1 if x.sum() > 0 else -1
        expected = sign * x.flatten(1) @ named["layer.weight"].T + named["layer.bias"]
        torch.testing.assert_close(logits, expected)
