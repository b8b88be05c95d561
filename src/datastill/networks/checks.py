"""Whether a module is a differentiable function of its weights and images; what is not is refused by name.

Each check is called with the global generators set (`draws.seeded`), and leaves the module as it was.
"""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from ..errors import UserError
from ..user_modules import check_logits, one_line, out_of_memory
from .constants import constants, first_difference, may_hide_numbers, same
from .draws import drawn_from, seeded, states
from .making import Factory
from .stateless import Stateless
from .twice import TwiceDifferentiable

Shape = tuple[int, int, int]


def without_statistics(module: nn.Module) -> nn.Module:
    """The module in evaluation mode: no dropout, and normalisation by the statistics of the batch at hand."""
    for layer in module.eval().modules():
        if isinstance(layer, _NormBase):
            layer.track_running_stats, layer.running_mean, layer.running_var = False, None, None
    return module


def check_forward(module: nn.Module, shape: Shape, classes: int, name: str) -> bool:
    """Refuse what fails, gives no logits, changes its buffers or draws; returns whether `twice` is needed."""
    before = {key: buffer.clone() for key, buffer in module.named_buffers()}
    images = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    begun = states()
    try:
        with torch.no_grad(), TwiceDifferentiable() as forms:
            out = module(images)
            drew = drawn_from(begun)
            check_logits(out, 2, classes, f"network {name!r}")
            again = module(images)
    except UserError:
        raise
    except Exception as error:  # a user's code can raise anything
        if out_of_memory(error):
            raise
        raise UserError(f"network {name!r} cannot take images of shape {shape}: {one_line(error)}") from error
    changed = [key for key, buffer in module.named_buffers() if not same(buffer, before.get(key, buffer))]
    if changed:
        raise UserError(
            f"network {name!r} changes its buffer {changed[0]!r} in its forward pass; training is differentiated as a "
            "function of the weights alone, so keep such state out of it"
        )
    if drew or not _close(out, again):
        raise UserError(
            f"network {name!r} draws random numbers in its forward pass, or gives other outputs on a second pass; make "
            "it a function of weights and images alone (dropout is off where it follows the module: "
            "F.dropout(x, training=self.training))"
        )
    return forms.met


def check_constants(module: nn.Module, factory: Factory, shape: Shape, name: str) -> None:
    """Refuse numbers that are no trained weights and are drawn anew each time that the module is made."""
    if not constants(module) and not may_hide_numbers(module):
        return
    with seeded(1):
        other = without_statistics(factory())
    if found := first_difference(module, other):
        raise _drawn(name, repr(found), frozen=found in dict(module.named_parameters()))
    if _trained(module).keys() != _trained(other).keys() or any(
        value.shape != _trained(other)[key].shape for key, value in _trained(module).items()
    ):
        raise UserError(f"network {name!r} has other weights each time that it is made; make it of fixed layers")
    ours, theirs = _outputs(module, other, shape)
    if not _close(ours, theirs):
        raise _drawn(name, "numbers that are neither weights nor buffers", frozen=False)


def _close(one: Tensor, other: Tensor) -> bool:
    """Equal up to rounding, which depends on where in memory tensors lie."""
    return torch.allclose(one, other, rtol=1e-4, atol=1e-4 * float(one.abs().max()), equal_nan=True)


def _trained(module: nn.Module) -> dict[str, Tensor]:
    return {key: value.detach() for key, value in module.named_parameters() if value.requires_grad}


def _outputs(module: nn.Module, other: nn.Module, shape: Shape) -> tuple[Tensor, Tensor]:
    """The outputs of two modules with the first one's weights, a little moved: a last layer may start at zero."""
    draw = torch.Generator().manual_seed(2)
    moved = {key: value + 0.05 * torch.randn(value.shape, generator=draw) for key, value in _trained(module).items()}
    weights = dict(module.named_parameters()) | moved
    images = torch.rand(2, *shape, generator=draw)
    with torch.no_grad(), TwiceDifferentiable():
        return Stateless(module)(weights, {}, images), Stateless(other)(weights, {}, images)


def _drawn(name: str, what: str, *, frozen: bool) -> UserError:
    if frozen:
        return UserError(f"network {name!r} freezes {what}, which it draws anew each time; load weights for it first")
    return UserError(
        f"network {name!r} draws {what} anew each time that it is made, so that a set's score would hold for one draw "
        "only; draw from a generator with a fixed seed (generator=torch.Generator().manual_seed(0)), or make it a "
        "trained nn.Parameter"
    )


def check_gradient(module: nn.Module, shape: Shape, name: str) -> bool:
    """Refuse what no weight leads to; returns whether a gradient reaches the images."""
    weights = {key: value.detach().requires_grad_(value.requires_grad) for key, value in module.named_parameters()}
    trained = [value for value in weights.values() if value.requires_grad]
    images = torch.zeros(2, *shape, requires_grad=True)
    try:
        with TwiceDifferentiable():
            out = Stateless(module)(weights, {}, images)
        found = torch.autograd.grad(out.sum(), [images, *trained], allow_unused=True) if out.requires_grad else ()
    except Exception as error:
        if out_of_memory(error):
            raise
        raise UserError(f"network {name!r} cannot be differentiated: {one_line(error)}") from error
    if all(each is None for each in found[1:]):
        raise UserError(
            f"no weight of network {name!r} leads to its output, so that it cannot be trained; leave no_grad and "
            "detach out of it"
        )
    return found[0] is not None
