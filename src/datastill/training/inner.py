"""The inner training of a stack of networks by a program, step by step, for whoever differentiates through it."""

import functools
import itertools
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.func import vjp

from ..errors import UserError
from ..networks import Network
from ..program import CrossEntropy, Loss, Program, Rule, State, Step
from .steps import Batch, InnerLoss, Mixed, Steps


@dataclass(frozen=True)
class _MeanLoss:
    """The mean of a loss on a batch, for each network. Equal ones are one key for what is traced only once."""

    network: Network
    each: Loss

    def __call__(self, thetas: Tensor, examples: Tensor, targets: Tensor) -> Tensor:
        return self.each.means(self.network.apply_many(thetas, examples), targets)


def mean_loss(network: Network, loss: Loss | None = None) -> InnerLoss:
    """Return the mean of `loss` (None: cross-entropy) of each network on a batch of its own, synthetic or real."""
    return _MeanLoss(network, loss or CrossEntropy())


def draw_window(length: int, size: int, generator: torch.Generator) -> range:
    """Draw a window of `size` of the `length` gradient steps, for `hypergradient` (arXiv 2311.07025, section 4).

    Raises:
        UserError: `size` is below 1 or above the number of steps.
    """
    if not 1 <= size <= length:
        raise UserError(f"a window of {size} steps does not fit the {length} steps of the program; lower it")
    start = int(torch.randint(length - size + 1, (), generator=generator))
    return range(start, start + size)


@dataclass(frozen=True, kw_only=True)
class Training:
    """The inner training of a stack of networks, in T gradient steps."""

    steps: Steps
    rule: Rule
    """The optimiser of the program, in the form in which it is computed."""
    program: Program
    inputs: Float[Tensor, "n *shape"]
    targets: Shaped[Tensor, "n *classes"]
    networks: int
    stop: int
    """How many gradient steps are made: a window may end before the program does."""
    seed: int = 0

    @functools.cached_property
    def order(self) -> list[Step]:
        """Every gradient step t that is made, with its step size on the device and of the type of the inputs."""
        steps = itertools.islice(self.program.steps(len(self.inputs), self.seed), self.stop)
        return [replace(step, size=step.size.to(self.inputs)) for step in steps]

    def batch(self, t: int) -> Batch:
        """Return the examples and labels of step t, for each network."""
        examples, targets = self.program.batch(self.inputs, self.targets, self.order[t])
        return Batch(examples.expand(self.networks, *examples.shape), targets.expand(self.networks, *targets.shape))

    def update(self, state: State, gradient: Tensor, t: int) -> State:
        """Return the state after step t, given the gradient of step t."""
        return self.rule.update(state, gradient, self.order[t].size, t)

    def forward(self, state: State, t: int) -> State:
        """Return the state after step t, given the state before it."""
        return self.update(state, self.steps.gradient(state[0], self.batch(t)), t)

    def add(self, gradients: dict[str, Tensor], mixed: Mixed, t: int) -> None:
        """Add the mixed derivatives of step t, for its batch, to the gradients for all inputs and targets."""
        step = self.order[t]
        for name, each in mixed.items():
            if name not in gradients:
                gradients[name] = each.new_zeros(len(each), len(self.inputs), *each.shape[2:])
            gradients[name][:, step.which] += self._before_changes(each, step) if name == "inputs" else each

    def _before_changes(self, gradient: Float[Tensor, "networks b *shape"], step: Step) -> Tensor:
        """Return the gradient for the examples of a step, given the gradient for what its augmentation made of them."""
        if self.program.augmentation is None:
            return gradient
        examples = self.inputs[step.which].expand_as(gradient)
        return vjp(lambda images: self.program.changed(images, step), examples)[1](gradient)[0]
