"""Distillation methods, one file each, found by themselves."""

import importlib
import pkgutil

from .base import FixedWeights, InitialWeights, Learned, Method, Outer, PoolWeights, Problem, RandomWeights, Update

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

METHODS: dict[str, type[Method]] = {method.name: method for method in Method.__subclasses__()}

__all__ = [
    "METHODS",
    "FixedWeights",
    "InitialWeights",
    "Learned",
    "Method",
    "Outer",
    "PoolWeights",
    "Problem",
    "RandomWeights",
    "Update",
]
