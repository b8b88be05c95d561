"""A small network that comes with weights, as one that was trained before does, and with frozen ones if wanted."""

import torch
from torch import Tensor, nn


class Tiny(nn.Module):
    """A smooth layer of 6 units and a linear one."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.features = nn.Linear(inputs, 6)
        self.classifier = nn.Linear(6, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.tanh(self.features(x.flatten(1))))


def tiny(*, shape: tuple[int, int, int], classes: int, training: int = 1, adapt: str = "all") -> nn.Module:
    """The weights depend on `training` alone; adapt=classifier freezes the first layer, adapt=none both."""
    module, draw = Tiny(shape[0] * shape[1] * shape[2], classes), torch.Generator().manual_seed(training)
    for name, parameter in module.named_parameters():
        parameter.data = 0.5 * torch.randn(parameter.shape, generator=draw)
        parameter.requires_grad_(adapt == "all" or (adapt == "classifier" and name.startswith("classifier")))
    return module


def halves(*, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """What `tiny(adapt=classifier)` freezes are buffers here."""
    module = tiny(shape=shape, classes=classes)
    for name, value in list(module.features.named_parameters()):
        delattr(module.features, name)
        module.features.register_buffer(name, value.data)
    return module


def random(*, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Freezes what it draws at random."""
    module = Tiny(shape[0] * shape[1] * shape[2], classes)
    module.features.requires_grad_(False)
    return module
