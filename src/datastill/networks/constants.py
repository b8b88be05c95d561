"""Numbers in a module that are not trained weights. They must be equal each time the module is made.

A file of a set stores no such numbers, so making the module again must give the function that was scored.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

_OF_EVERY_MODULE = frozenset(vars(nn.Module()))
PLAIN_MODULES = ("torch.nn.", "datastill.networks.")
"""Beginnings of the modules whose layers hold numbers only in parameters, buffers and attributes."""


def constants(module: nn.Module) -> dict[str, Any]:
    """Return a module's buffers, frozen parameters, and attributes with tensors, arrays or floats, by name."""
    found: dict[str, Any] = {}
    for path, layer in module.named_modules():
        if isinstance(layer, _NormBase):  # its running statistics are measured again
            continue
        for key, value in _of(layer):
            found[f"{path}.{key}".removeprefix(".")] = value
    return found


def _of(layer: nn.Module) -> Iterator[tuple[str, Any]]:
    yield from ((key, value) for key, value in layer._buffers.items() if value is not None)
    yield from ((key, p.detach()) for key, p in layer._parameters.items() if p is not None and not p.requires_grad)
    derived = {getattr(hook, "name", "") for hook in layer._forward_pre_hooks.values()}  # of `weight_norm`
    for key, value in vars(layer).items():
        if key not in _OF_EVERY_MODULE | derived and (numbers := list(_numbers(value))):
            yield key, numbers


def _numbers(value: Any, depth: int = 3) -> Iterator[Any]:
    """Yield the tensors, arrays and lists of floats in a value, except tensors that need a gradient."""
    if isinstance(value, Tensor):
        if not value.requires_grad:
            yield value
    elif isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, list | tuple | dict) and depth:
        inside = list(value.values() if isinstance(value, dict) else value)
        if inside and all(isinstance(each, float) for each in inside):
            yield torch.tensor(inside, dtype=torch.float64)
        else:
            for each in inside:
                yield from _numbers(each, depth - 1)


def first_difference(one: nn.Module, other: nn.Module) -> str:
    """Return the name of a constant that differs between two modules; empty if all are equal."""
    ours, theirs = constants(one), constants(other)
    return next((key for key, value in ours.items() if key not in theirs or not same(value, theirs[key])), "")


def same(one: Any, other: Any) -> bool:
    """Return whether two tensors, two arrays, or two lists of tensors and arrays are equal; NaN equals NaN."""
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, np.ndarray):
        return bool(np.array_equal(one, other, equal_nan=one.dtype.kind in "fc"))
    return one.shape == other.shape and bool(((one == other) | ((one != one) & (other != other))).all())


def may_hide_numbers(module: nn.Module) -> bool:
    """Return whether a layer has unknown code, which may use numbers from anywhere."""
    return any(not type(layer).__module__.startswith(PLAIN_MODULES) for layer in module.modules())
