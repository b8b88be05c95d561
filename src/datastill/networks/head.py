"""Networks in two parts: from images to features, and the last linear layer from features to logits."""

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

from ..errors import UserError
from .functional import Network
from .stateless import Stateless


def features_of(network: Network) -> Network:
    """Return a network without its last linear layer.

    ``apply(theta, images)`` takes the weights of the whole network and returns the inputs of that layer, features of
    shape (b, size); the layer's own weights have no effect. `classes` is the number of features.

    Raises:
        UserError: the outputs of the network are not those of a linear layer.
    """
    name, head = _last_linear(network)
    found = copy.copy(network)
    found._reach = network._reach  # of the same layers
    found.module, found.classes = copy.deepcopy(network.module), head.in_features
    found.module.set_submodule(name, nn.Identity())
    found._pure = Stateless(found.module)
    if not _agrees(network, found, name):
        raise _without_linear_end(network)
    return found


@torch.no_grad()
def _agrees(network: Network, features: Network, name: str) -> bool:
    """Return whether the logits are the linear layer `name` of the features, for some weights and images."""
    draw, device = torch.Generator().manual_seed(0), next(network.module.parameters()).device
    theta = torch.randn(network.size, generator=draw).to(device) / 10
    images = torch.rand(2, *network.shape, generator=draw).to(device)
    if f"{name}.weight" not in network.names:  # frozen, or tied to another layer
        return False
    found = logits_of(network, theta, features.apply(theta, images))
    logits = network.apply(theta, images)
    return found.shape == logits.shape and bool(torch.allclose(found, logits, rtol=1e-3, atol=1e-5))


def logits_of(
    network: Network, theta: Float[Tensor, " size"], features: Float[Tensor, "b features"]
) -> Float[Tensor, "b classes"]:
    """Return the logits that the last linear layer of a network gives for features of `features_of`."""
    name, _ = _last_linear(network)
    named = network.named(theta)
    return linear(features, named[f"{name}.weight"], named.get(f"{name}.bias"))


def _last_linear(network: Network) -> tuple[str, nn.Linear]:
    layers = [(name, layer) for name, layer in network.module.named_modules() if isinstance(layer, nn.Linear)]
    if not layers or not layers[-1][0]:
        raise _without_linear_end(network)
    return layers[-1]


def _without_linear_end(network: Network) -> UserError:
    return UserError(
        f"network {network.name!r} does not end in a trained linear layer, so it has no features before its outputs; "
        "take another network, such as convnet"
    )
