"""Handle modules of users: wrapped for several devices or by the compiler, or with layers of unknown size."""

import functools
import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.parameter import is_lazy

from .errors import UserError
from .importing import current_folder, import_named


def imported(name: str, kind: str, form: str) -> Any:
    """Return what a name such as ``module:callable`` names, after its module was imported.

    Args:
        name: the name.
        kind: the kind of thing that it names, e.g. ``network``.
        form: how the name is written, e.g. ``module:callable``.

    Raises:
        UserError: there is no such module or nothing of this name in it, or it cannot be imported.
    """
    module, _, attribute = name.partition(":")
    if not (module and attribute) or module.startswith("."):
        raise UserError(f"{kind} {name!r} is no name of a module and of something in it; write {form}")
    try:
        return functools.reduce(getattr, attribute.split("."), import_named(module))
    except Exception as error:  # a user's module can raise anything
        raise UserError(f"{kind} {name!r} cannot be imported: {_why(error, module)}") from error


def _why(error: Exception, module: str) -> str:
    """Return why a module cannot be imported: there is none of this name, or what it says itself."""
    if not (isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}.")):
        return one_line(error)
    places = " and ".join(filter(None, (current_folder(), "in the folders of sys.path")))
    fix = "start from the folder that holds it, or install it"
    return f"there is no module {error.name!r} (looked for in {places}); {fix}"


def unwrapped(module: nn.Module) -> nn.Module:
    """Return the module inside the wrappers `DataParallel`, `DistributedDataParallel` and `torch.compile`."""
    while (inner := _inside(module)) is not None:
        module = inner
    return module


def _inside(module: nn.Module) -> nn.Module | None:
    if isinstance(module, nn.DataParallel | DistributedDataParallel):
        return module.module
    return getattr(module, "_orig_mod", None)  # the attribute of a torch.compile module, whose class is slow to import


def parameters_by_name(module: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters by name like `named_parameters`, but with the names that a module without wrappers has."""
    first: dict[nn.Parameter, str] = {}
    for name, parameter in _walk(module, ""):
        first.setdefault(parameter, name)
    return {name: parameter for parameter, name in first.items()}


def _walk(module: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Parameter]]:
    module = unwrapped(module)
    yield from ((prefix + name, value) for name, value in module._parameters.items() if value is not None)
    for name, child in module._modules.items():
        if child is not None:
            yield from _walk(child, f"{prefix}{name}.")


def fill_lazy_layers(module: nn.Module, images: Tensor) -> None:
    """Make the weights of layers that learn their size from their input (`nn.LazyLinear`), by one forward pass."""
    if not any(map(is_lazy, itertools.chain(module.parameters(), module.buffers()))):
        return
    training = [each for each in module.modules() if each.training]
    with torch.no_grad():
        module.eval()(images)
    for each in training:
        each.training = True


def precision_of(parameters: list[nn.Parameter], what: str) -> torch.dtype:
    """Return the precision of weights, e.g. `torch.float32`.

    Args:
        parameters: at least one weight.
        what: the words for the owner of the weights in a message, e.g. ``the model``.

    Raises:
        UserError: the weights are complex or sparse, or have different precisions.
    """
    if any(p.layout != torch.strided for p in parameters):
        raise UserError(f"{what} has sparse weights; make all weights that are trained dense (weight.to_dense())")
    found = sorted({str(p.dtype).removeprefix("torch.") for p in parameters})
    if len(found) > 1 or parameters[0].is_complex():
        raise UserError(
            f"{what} has weights of {' and '.join(found)}; all weights that are trained must be real numbers of one "
            "precision, e.g. after model.float()"
        )
    return parameters[0].dtype


def check_logits(out: object, count: int, classes: int, what: str) -> None:
    """Raise a `UserError` unless `out` is a float tensor of shape (count, classes): one logit per image and class."""
    if not isinstance(out, Tensor):
        raise UserError(
            f"{what} gives a {type(out).__name__} for {classes} classes; it must return one logit per class, as one "
            "tensor of shape (images, classes)"
        )
    if out.shape != (count, classes):
        shape = f"outputs of shape {tuple(out.shape[1:])}" if out.dim() and len(out) == count else (
            f"a tensor of shape {tuple(out.shape)} for {count} images and"
        )  # fmt: skip
        raise UserError(f"{what} gives {shape} for {classes} classes; it must return one logit per class")
    if not out.is_floating_point():
        raise UserError(
            f"{what} gives {str(out.dtype).removeprefix('torch.')} values; it must return one logit per class, a real "
            "float; remove argmax and rounding from it"
        )


def one_line(error: BaseException) -> str:
    """Return the first line of an error's message, at most 200 characters; without a message, the name of its type."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:200]


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory ran out; the module is not wrong then."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
