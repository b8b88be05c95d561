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
        adam, sgd = ([self._group(name) for name, each in rates.items() if each.rule == rule] for rule in RULES)
        self.rules: dict[str, torch.optim.Optimizer] = {}
        if adam:
            self.rules["adam"] = torch.optim.Adam(adam, betas=betas)
        if sgd:
            self.rules["sgd"] = torch.optim.SGD(sgd)

    def _group(self, name: str) -> dict[str, Any]:
        outer = self.rates[name]
        group = {"params": [self.parameters[name]], "lr": outer.rate, "name": name}
        return group | ({"momentum": outer.momentum} if outer.rule == "sgd" else {})

    def step(self, gradients: LearnedTensors, factor: float) -> LearnedTensors:
        """Change the tensors by their gradients, with this factor on every rate, and return copies of them."""
        for name, parameter in self.parameters.items():
            parameter.grad = gradients[name]
        for rule in self.rules.values():
            for group in rule.param_groups:
                group["lr"] = self.rates[group["name"]].rate * factor
            rule.step()
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


RULES = ("adam", "sgd")
