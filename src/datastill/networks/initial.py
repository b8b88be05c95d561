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
"""Name to what fills a weight of two or more dimensions. ``own`` is the module's own initialisation. With the others
biases are zero and normalisation layers keep their ones and zeros (the 2018 paper: xavier normal, zero biases)."""


def check_initialiser(name: str) -> None:
    """Raise a `UserError` for a name that does not exist."""
    if name not in INITIALISERS:
        raise unknown("initialiser", name, INITIALISERS)


def draw(
    factory: Callable[[], nn.Module],
    initialiser: str,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, " size"]:
    """One draw of initial weights as a flat vector, on the CPU; the global generator is left as it was.

    Frozen parameters (``requires_grad=False``) are not drawn, and no part of the vector. In float64 an initialiser
    draws with all its digits; what a module draws by itself (``own``) has those of float32.
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
