"""The features by which core-sets compare images: pixels, or the last features of a network trained on the data."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...data import RealData
from ...errors import UserError
from ...networks import build
from ...networks.passes import images_for
from ...program import OPTIMISERS
from ...rng import generator
from ...runlog import ProgressLine
from ...training import images_of_statistics, shuffled, trained_on

PIXELS = "pixels"
EPOCHS, BATCH, RATE = 3, 128, 1e-3


def features(data: RealData, spec: str, seed: int) -> Float[Tensor, "n features"]:
    """Features of all train images.

    Args:
        data: the real data.
        spec: ``pixels``: normalised pixels. Otherwise a network, which is trained on the train split (3 epochs of Adam,
            rate 1e-3, batches of 128); its features are the inputs of its last linear layer.
        seed: decides the initial weights and the batches of that network.
    """
    if spec == PIXELS:
        return data.normalise(data.train.tensor).flatten(1)
    model = trained(data, spec, seed)
    pieces = data.train.images.split(images_for(model, data.shape))
    found: list[Tensor] = []
    hook = _last(model, spec).register_forward_pre_hook(lambda _, inputs: found.append(inputs[0]))
    with torch.no_grad():
        for piece in pieces:
            model(data.normalise(piece))
    hook.remove()
    return torch.cat(found)


def must_give_features(spec: str, data: RealData) -> None:
    """Raise a `UserError` if the network does not exist, cannot take the images, or has no linear layer."""
    if spec != PIXELS:
        _last(build(spec, shape=data.shape, classes=data.classes).factory(), spec)


def _last(model: nn.Module, spec: str) -> nn.Module:
    """Return the last linear layer of a model."""
    last = [layer for layer in model.modules() if isinstance(layer, nn.Linear)][-1:]
    if not last:
        raise UserError(f"network {spec!r} has no linear layer to take features before; take pixels or another network")
    return last[0]


def trained(data: RealData, spec: str, seed: int) -> nn.Module:
    """Return a network trained on the train split with Adam, in evaluation mode.

    Each pass takes the images in a new random order, without the incomplete last batch.
    """
    network = build(spec, shape=data.shape, classes=data.classes).to(data.device)
    first = network.init("kaiming", [generator(seed, "feature network")]).to(data.device)
    batches = [*shuffled(data, BATCH, EPOCHS, lambda epoch: [generator(seed, "feature batches", epoch)])]
    rule = OPTIMISERS["adam"]
    steps = trained_on(data, network, rule.start(first), batches, rule=rule, rate=lambda _: RATE)
    with ProgressLine(f"features of {spec}", total=len(batches), unit="batch") as line:
        for done in range(1, len(batches) + 1):
            state = next(steps)
            line.update(done)
    theta = state[0][0].detach()
    measured = network.statistics(theta, images_of_statistics(data)) if network.has_statistics else None
    return network.with_weights(theta, measured).to(data.device)
