"""Checks that a module is a differentiable function of its weights and images. A failed check raises a `UserError`.

Each check is called inside `draws.seeded` and leaves the module unchanged.
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

Shape = tuple[int, ...]


def without_statistics(module: nn.Module) -> nn.Module:
    """Set a module to evaluation mode without running statistics, and return it: layers normalise by each batch."""
    for layer in module.eval().modules():
        if isinstance(layer, _NormBase):
            layer.track_running_stats, layer.running_mean, layer.running_var = False, None, None
    return module


def check_forward(module: nn.Module, shape: Shape, classes: int, name: str) -> bool:
    """Run a forward pass; return whether operations need their `TwiceDifferentiable` form.

    Raises:
        UserError: the pass fails, its output is no logits, or it changes buffers or draws random numbers.
    """
    before = {key: buffer.clone() for key, buffer in module.named_buffers()}
    images = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    begun = states()
    try:
        with torch.no_grad(), TwiceDifferentiable() as forms:
            out = module(images)
            drew = drawn_from(begun)
            check_logits(out, 2, classes, f"network {name!r}")
            _must_be_numbers(out, name)
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
            f"network {name!r} changes its buffer {changed[0]!r} in its forward pass; training must be a "
            "function of the weights alone, so remove this state"
        )
    if drew or not _close(out, again):
        raise UserError(
            f"network {name!r} draws random numbers in its forward pass, or gives different outputs on a second pass; "
            "make it a function of weights and images alone (for dropout without random numbers in evaluation: "
            "F.dropout(x, training=self.training))"
        )
    return forms.met


def _must_be_numbers(out: Tensor, name: str) -> None:
    """Raise a `UserError` if logits have no loss; minus infinity is the logit of a class that is left out."""
    if bool((out.isnan() | (out == torch.inf)).any()):
        raise UserError(
            f"network {name!r} gives values that are not finite for images in [0, 1]; look for a division by zero, a "
            "logarithm of zero or an overflow in it"
        )


def check_constants(module: nn.Module, factory: Factory, shape: Shape, name: str) -> None:
    """Raise a `UserError` if numbers that are not trained weights differ each time the module is made."""
    if not constants(module) and not may_hide_numbers(module):
        return
    with seeded(1):
        other = without_statistics(factory())
    if found := first_difference(module, other):
        raise _drawn(name, repr(found), frozen=found in dict(module.named_parameters()))
    if _trained(module).keys() != _trained(other).keys() or any(
        value.shape != _trained(other)[key].shape for key, value in _trained(module).items()
    ):
        raise UserError(f"network {name!r} has weights of other names or shapes each time it is made; fix its layers")
    ours, theirs = _outputs(module, other, shape)
    if not _close(ours, theirs):
        raise _drawn(name, "numbers that are neither weights nor buffers", frozen=False)


def _close(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors are equal up to rounding, which depends on their place in memory."""
    return torch.allclose(one, other, rtol=1e-4, atol=1e-4 * float(one.abs().max()), equal_nan=True)


def _trained(module: nn.Module) -> dict[str, Tensor]:
    return {key: value.detach() for key, value in module.named_parameters() if value.requires_grad}


def _outputs(module: nn.Module, other: nn.Module, shape: Shape) -> tuple[Tensor, Tensor]:
    """Return the outputs of two modules with the weights of the first plus noise, as a layer of zeros hides others."""
    draw = torch.Generator().manual_seed(2)
    moved = {key: value + 0.05 * torch.randn(value.shape, generator=draw) for key, value in _trained(module).items()}
    weights = dict(module.named_parameters()) | moved
    images = torch.rand(2, *shape, generator=draw)
    with torch.no_grad(), TwiceDifferentiable():
        return Stateless(module)(weights, {}, images), Stateless(other)(weights, {}, images)


def _drawn(name: str, what: str, *, frozen: bool) -> UserError:
    if frozen:
        return UserError(f"network {name!r} freezes {what}, which is random each time; load weights for it first")
    return UserError(
        f"network {name!r} draws {what} at random each time it is made, so a set's score would hold for one draw only; "
        "use a generator with a fixed seed (generator=torch.Generator().manual_seed(0)), or make it a trained "
        "nn.Parameter"
    )


def check_gradient(module: nn.Module, shape: Shape, name: str) -> bool:
    """Compute a gradient; return whether it reaches the images.

    Raises:
        UserError: the module cannot be differentiated, or no gradient reaches its weights.
    """
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
            f"network {name!r} cannot be trained: its output depends on no weight; remove no_grad and detach from it"
        )
    return found[0] is not None
