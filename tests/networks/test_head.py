"""The features of a network: what its last linear layer is given."""

import pytest
import torch
from torch import nn

from datastill import UserError
from datastill.networks import Network, build
from datastill.networks.head import features_of

IMAGE = {
    "lenet": (1, 28, 28),
    "mlp(width=6)": (2, 4, 4),
    "mlp(depth=0)": (2, 4, 4),
    "convnet(width=4,norm=instance)": (2, 8, 8),
    "convnet(width=4,norm=batch)": (2, 8, 8),
    "resnet18(width=2)": (3, 16, 16),
}


@pytest.mark.parametrize("spec", IMAGE)
def test_the_last_layer_of_the_features_gives_the_logits(spec: str) -> None:
    network = build(spec, shape=IMAGE[spec], classes=4)
    features, draw = features_of(network), torch.Generator().manual_seed(0)
    theta = network.init("xavier", [torch.Generator().manual_seed(1)])[0].double()
    theta += 0.05 * torch.randn(theta.shape, generator=draw, dtype=torch.float64)
    images = torch.randn(3, *IMAGE[spec], generator=draw, dtype=torch.float64)
    *_, weight, bias = network.named(theta).values()
    found = features.apply(theta, images)
    assert found.shape == (3, features.classes)
    torch.testing.assert_close(found @ weight.T + bias, network.apply(theta, images))


def test_without_a_hidden_layer_the_features_are_the_pixels() -> None:
    network = build("mlp(depth=0)", shape=(1, 2, 2), classes=3)
    images = torch.randn(5, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(features_of(network).apply(torch.zeros(network.size), images), images.flatten(1))


def test_the_network_itself_stays_whole() -> None:
    network = build("mlp(width=6)", shape=(2, 4, 4), classes=4)
    features_of(network)
    assert network.apply(torch.zeros(network.size), torch.zeros(1, 2, 4, 4)).shape == (1, 4)


class Scaled(nn.Module):
    """A linear layer, after which something happens."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.Linear(4, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return 2 * self.inside(images.flatten(1))


@pytest.mark.parametrize("make", [Scaled, lambda: nn.Sequential(nn.Conv2d(1, 3, 2), nn.Flatten())])
def test_a_network_with_another_end_is_refused(make: type[nn.Module]) -> None:
    network = Network(make, shape=(1, 2, 2), classes=3, name="own")
    with pytest.raises(UserError, match="network 'own' does not end in a trained linear layer"):
        features_of(network)
