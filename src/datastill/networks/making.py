"""Makes a user's module and turns it into a plain module with float32 weights."""

from collections.abc import Callable

import torch
from torch import nn

from ..errors import UserError
from ..modes import usual_modes
from ..user_modules import fill_lazy_layers, one_line, out_of_memory, precision_of, unwrapped

Factory = Callable[[], nn.Module]


@usual_modes()
def make(factory: Factory, shape: tuple[int, ...], name: str) -> nn.Module:
    """Make a module without wrappers (`DataParallel`, `torch.compile`), with float32 weights and all sizes known.

    Raises:
        UserError: the factory fails, or returns no module, or one whose weights cannot be replaced: TorchScript,
            complex numbers, several precisions.
    """
    try:
        module = factory()
    except UserError:
        raise
    except Exception as error:  # a user's code can raise anything
        if out_of_memory(error):
            raise
        lacks = isinstance(error, TypeError) and " missing " in str(error)
        fix = "; give them in brackets, as in NAME(argument=value)" if lacks else ""
        raise UserError(f"network {name!r} cannot be made: {one_line(error)}{fix}") from error
    if not isinstance(module, nn.Module):
        raise UserError(f"network {name!r} cannot be made: its type is {type(module).__name__}, not torch.nn.Module")
    module = _plain(module, name)
    try:
        fill_lazy_layers(module, torch.zeros(2, *shape))
    except Exception as error:
        if out_of_memory(error):
            raise
        raise UserError(f"network {name!r} cannot take images of shape {shape}: {one_line(error)}") from error
    return _in_float32(module, name)


def _plain(module: nn.Module, name: str) -> nn.Module:
    module = unwrapped(module)
    for layer in list(module.modules()):
        if isinstance(layer, torch.jit.ScriptModule):
            raise UserError(
                f"network {name!r} is or holds a TorchScript module, which cannot be given other weights; give the "
                "plain module, without torch.jit.script or torch.jit.trace"
            )
        for key, child in list(layer.named_children()):
            setattr(layer, key, unwrapped(child))
        layer._compiled_call_impl = None  # set by module.compile()
        for key, value in vars(layer).items():
            if isinstance(value, torch.Tensor) and value.grad_fn:  # set by weight_norm; it cannot be copied
                vars(layer)[key] = value.detach()
    return module


def _in_float32(module: nn.Module, name: str) -> nn.Module:
    if any(parameter.is_meta for parameter in module.parameters()):
        raise UserError(f"network {name!r} has weights without values (device 'meta'); make it on the CPU")
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if trained and precision_of(trained, f"network {name!r}") != torch.float32:
        module.float()
    return module.cpu()
