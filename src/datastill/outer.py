"""The outer optimiser: it changes the learned tensors by their gradients, each by the rule and the rate of its own."""

from collections.abc import Mapping
from typing import Any

import torch

from .methods import LearnedTensors, OuterRate
from .storage.checkpoint import must_be_optimiser


class Outer:
    """Adam and gradient descent on tensors by name.

    Args:
        learned: the learned tensors; those without a rate are left out.
        rates: the rate and the rule of each.
        betas: the betas of Adam.
    """

    def __init__(self, learned: LearnedTensors, rates: Mapping[str, OuterRate], betas: tuple[float, float]) -> None:
        self.rates = rates
        self.parameters = {name: learned[name].clone().requires_grad_() for name in rates}
        self.names = {rule: [name for name, each in rates.items() if each.rule == rule] for rule in ("adam", "sgd")}
        self.rules: dict[str, torch.optim.Optimizer] = {}
        if adam := self._groups("adam"):
            self.rules["adam"] = torch.optim.Adam(adam, betas=betas)
        if sgd := self._groups("sgd"):
            self.rules["sgd"] = torch.optim.SGD(sgd)

    def _groups(self, rule: str) -> list[dict[str, Any]]:
        """Return the tensors of a rule, each with its own settings."""
        groups: list[dict[str, Any]] = [
            {"params": [self.parameters[name]], "lr": self.rates[name].rate} for name in self.names[rule]
        ]
        for name, group in zip(self.names[rule], groups, strict=True):
            group |= {"momentum": self.rates[name].momentum} if rule == "sgd" else {}
        return groups

    def step(self, gradients: LearnedTensors, factor: float) -> LearnedTensors:
        """Change the tensors by their gradients, with this factor on every rate, and return copies of them."""
        for name, parameter in self.parameters.items():
            parameter.grad = gradients[name]
        for rule, optimiser in self.rules.items():
            for name, group in zip(self.names[rule], optimiser.param_groups, strict=True):
                group["lr"] = self.rates[name].rate * factor
            optimiser.step()
        return {name: value.detach().clone() for name, value in self.parameters.items()}

    def state(self) -> dict[str, Any]:
        """Return the state of each rule, as plain values and tensors."""
        return {name: rule.state_dict() for name, rule in self.rules.items()}

    def load(self, state: Any) -> None:
        """Go on from a state that `state` returned.

        Raises:
            UserError: the state does not fit the tensors and their rules.
        """
        must_be_optimiser(state, self.rules)
        for name, rule in self.rules.items():
            rule.load_state_dict(state[name])
