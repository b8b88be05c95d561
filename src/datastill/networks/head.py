"""Networks without their last linear layer: functions from images to features."""

import copy

import torch
from torch import nn
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
    layers = [(name, layer) for name, layer in network.module.named_modules() if isinstance(layer, nn.Linear)]
    name, head = layers[-1] if layers else ("", None)
    if not name or head is None:
        raise _without_linear_end(network)
    found = copy.copy(network)
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
    named = network.named(theta)
    weight, bias = (named.get(f"{name}.{key}") for key in ("weight", "bias"))
    if weight is None:  # frozen, or tied to another layer
        return False
    found = linear(features.apply(theta, images), weight, bias)
    logits = network.apply(theta, images)
    return found.shape == logits.shape and bool(torch.allclose(found, logits, rtol=1e-3, atol=1e-5))


def _without_linear_end(network: Network) -> UserError:
    return UserError(
        f"network {network.name!r} does not end in a trained linear layer, so it has no features before its outputs; "
        "take another network, such as convnet"
    )
