"""Initialisers, and p(theta_0): the distribution that initial weights are drawn from."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import unknown
from .draws import seeded

INITIALISERS: dict[str, Callable[..., Tensor] | None] = {
    "xavier": nn.init.xavier_normal_,
    "xavier-uniform": nn.init.xavier_uniform_,
    "kaiming": nn.init.kaiming_normal_,
    "orthogonal": nn.init.orthogonal_,
    "own": None,
}
"""From the name of an initialiser to the function that fills weights of two or more dimensions. With ``own``, the
module keeps the weights with which it is made, its default random ones or loaded ones. With the others, biases are 0
and scales of normalisation layers are 1 (the 2018 paper: xavier normal, biases 0)."""


def check_initialiser(name: str) -> None:
    """Raise a `UserError` if no initialiser has this name."""
    if name not in INITIALISERS:
        raise unknown("initialiser", name, INITIALISERS)


def draw(
    factory: Callable[[], nn.Module],
    initialiser: str,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, " size"]:
    """Draw initial weights as one flat vector, on the CPU; the global generators stay unchanged.

    Frozen parameters (``requires_grad=False``) are not in the vector. In float64, an initialiser draws all digits,
    while ``own`` draws in float32 and converts.
    """
    check_initialiser(initialiser)
    seed = int(torch.randint(2**62, (), generator=generator))
    with seeded(seed), torch.no_grad():
        module = factory() if dtype == torch.float32 else factory().to(dtype)
        fill = INITIALISERS[initialiser]
        if fill is not None:
            for layer in module.modules():
                _fill(layer, fill)
        return torch.cat([parameter.reshape(-1) for parameter in module.parameters() if parameter.requires_grad])


def _fill(layer: nn.Module, fill: Callable[..., Tensor]) -> None:
    for name, parameter in layer.named_parameters(recurse=False):
        if not parameter.requires_grad:
            continue
        if parameter.dim() >= 2:
            fill(parameter)
        elif name == "bias":
            parameter.zero_()
