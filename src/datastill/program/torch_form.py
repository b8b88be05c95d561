"""The optimisers of a program in the form of `torch.optim`: as an object, as code and as plain numbers."""

from typing import Any

import torch
from torch import nn

from .optimisers import Optimiser, known_name


def torch_form(rule: Optimiser, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Return the optimiser of `torch.optim` for these parameters; set ``lr`` of its group before each step."""
    return getattr(torch.optim, rule.torch_class)(parameters, **rule.arguments)


def limit_gradient(parameters: list[nn.Parameter], limit: float) -> None:
    """Limit the norm of the whole gradient of these parameters, in place, as `Clipped` does."""
    gradients = [each.grad for each in parameters if each.grad is not None]
    norm = torch.stack([each.norm() for each in gradients]).norm().clamp(min=1e-30)
    factor = (limit / norm).clamp(max=1)
    for each in gradients:
        each.mul_(factor)


def optimiser_code(rule: Optimiser, lr: str = "step_size") -> str:
    """Return the code that makes the optimiser: ``torch.optim.SGD(model.parameters(), lr=step_size, ...)``."""
    written = ", ".join(f"{key}={value!r}" for key, value in rule.arguments.items())
    return f"torch.optim.{rule.torch_class}(model.parameters(), lr={lr}, {written})"


def optimiser_numbers(rule: Optimiser) -> dict[str, Any]:
    """Return the optimiser as plain JSON values: name (empty if none), class, arguments, words and code."""
    return {
        "name": known_name(rule),
        "torch_optim": rule.torch_class,
        "arguments": {key: list(value) if isinstance(value, tuple) else value for key, value in rule.arguments.items()},
        "words": rule.words,
        "code": optimiser_code(rule),
    }
