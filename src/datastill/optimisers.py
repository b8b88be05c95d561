"""The optimisers for training on a distilled set: all their settings, as arguments, in words and as PyTorch code."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from .errors import unknown

SGD = {"momentum": 0.0, "dampening": 0.0, "nesterov": False, "weight_decay": 0.0}
ADAM = {"betas": (0.9, 0.999), "eps": 1e-5, "amsgrad": False, "weight_decay": 0.0}
SETTINGS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "sgd": ("SGD", SGD),
    "momentum": ("SGD", SGD | {"momentum": 0.9}),
    "adam": ("Adam", ADAM),
}
"""Per name in a distilled set: the class in `torch.optim` and all its arguments except the step size."""
WORDS: Mapping[str, str] = {
    "sgd": "plain gradient descent",
    "momentum": "gradient descent with momentum 0.9",
    "adam": "Adam with betas 0.9 and 0.999 and epsilon 1e-5",
}


def make_optimiser(name: str, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Return the optimiser of `torch.optim` for these parameters; set ``lr`` of its group before each step.

    Raises:
        UserError: `name` is not a known optimiser.
    """
    kind, arguments = _settings(name)
    return getattr(torch.optim, kind)(parameters, **arguments)


def optimiser_words(name: str) -> str:
    """Return the optimiser and its settings in words: ``Adam with betas 0.9 and 0.999 and epsilon 1e-5``."""
    _settings(name)
    return WORDS[name]


def optimiser_code(name: str, lr: str = "step_size") -> str:
    """Return the code that makes the optimiser: ``torch.optim.SGD(model.parameters(), lr=step_size, ...)``."""
    kind, arguments = _settings(name)
    written = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
    return f"torch.optim.{kind}(model.parameters(), lr={lr}, {written})"


def optimiser_numbers(name: str) -> dict[str, Any]:
    """Return the optimiser as plain JSON values: name, class in `torch.optim`, arguments, words and code."""
    kind, arguments = _settings(name)
    return {
        "name": name,
        "torch_optim": kind,
        "arguments": {key: list(value) if isinstance(value, tuple) else value for key, value in arguments.items()},
        "words": WORDS[name],
        "code": optimiser_code(name),
    }


def _settings(name: str) -> tuple[str, Mapping[str, Any]]:
    if name not in SETTINGS:
        raise unknown("optimiser of a distilled set", name, SETTINGS)
    return SETTINGS[name]
