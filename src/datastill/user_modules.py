"""Modules as people have them: wrapped for several devices or by the compiler, or with layers of unknown size."""

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.parameter import is_lazy

from .errors import UserError


def unwrapped(module: nn.Module) -> nn.Module:
    """The module inside `DataParallel`, `DistributedDataParallel` and `torch.compile`; itself where it is plain."""
    while (inner := _inside(module)) is not None:
        module = inner
    return module


def _inside(module: nn.Module) -> nn.Module | None:
    if isinstance(module, nn.DataParallel | DistributedDataParallel):
        return module.module
    return getattr(module, "_orig_mod", None)  # of torch.compile, whose class is slow to import


def parameters_by_name(module: nn.Module) -> dict[str, nn.Parameter]:
    """Like `named_parameters`, with names as they are without wrappers."""
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
    """Give layers that know their size only from their input (`nn.LazyLinear`) their weights, by one forward pass."""
    if not any(map(is_lazy, itertools.chain(module.parameters(), module.buffers()))):
        return
    training = [each for each in module.modules() if each.training]
    with torch.no_grad():
        module.eval()(images)
    for each in training:
        each.training = True


def precision_of(parameters: list[nn.Parameter], what: str) -> torch.dtype:
    """The one real precision that weights are in.

    Raises:
        UserError: they are complex, or of several precisions.
    """
    found = sorted({str(p.dtype).removeprefix("torch.") for p in parameters})
    if len(found) > 1 or parameters[0].is_complex():
        raise UserError(
            f"{what} has weights of {' and '.join(found)}; all weights that are trained must be real numbers of one "
            "precision, e.g. after model.float()"
        )
    return parameters[0].dtype


def check_logits(out: object, count: int, classes: int, what: str) -> None:
    """Raise a `UserError` unless an output is one float for each of `count` images and each class."""
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
            "float, so leave argmax and other choices out"
        )


def one_line(error: BaseException) -> str:
    """The first line of an error's message, at most 200 characters; its kind where it has none."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:200]


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, which is no fault of the module."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
