"""How networks are trained on a distilled set: S ordered steps, repeated for E epochs, with S x E step sizes."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn.functional import cross_entropy

from ..errors import UserError, at_least
from ..modes import trainable
from ..networks import Network
from ..program import GradientDescent, Rule, State
from .steps import Batch, EagerSteps, InnerLoss, Steps


@dataclass(frozen=True, kw_only=True)
class Program:
    """S ordered steps, each with its own batch of synthetic examples, repeated for E epochs."""

    steps: int = 10
    """Gradient steps in an epoch; each step has its own examples."""
    epochs: int = 3
    """Passes over the steps. All passes use the examples of a step; each pass has its own step sizes."""

    def __post_init__(self) -> None:
        at_least("steps", self.steps, 1)
        at_least("epochs", self.epochs, 1)

    @property
    def length(self) -> int:
        """T, the number of gradient steps."""
        return self.steps * self.epochs

    def window(self, size: int, generator: torch.Generator) -> range:
        """Draw a window of `size` gradient steps, for `hypergradient` (arXiv 2311.07025, section 4).

        Raises:
            UserError: `size` is below 1 or above the number of steps.
        """
        if not 1 <= size <= self.length:
            raise UserError(f"a window of {size} steps does not fit the {self.length} steps of the program; lower it")
        start = int(torch.randint(self.length - size + 1, (), generator=generator))
        return range(start, start + size)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield (epoch, step) of each gradient step, in order."""
        return ((t // self.steps, t % self.steps) for t in range(self.length))


def inner_loss(network: Network) -> InnerLoss:
    """Return the loss of a gradient step: mean cross-entropy on one batch of synthetic examples."""

    def losses(thetas: Tensor, examples: Tensor, labels: Tensor) -> Tensor:
        return mean_cross_entropy(network.apply_many(thetas, examples), labels)

    return losses


def mean_cross_entropy(
    logits: Float[Tensor, "networks b classes"], labels: Shaped[Tensor, "networks b *classes"]
) -> Float[Tensor, " networks"]:
    """Return the mean cross-entropy of each network, with hard (integer) or soft (probability) labels."""
    each = cross_entropy(logits.flatten(0, 1), labels.flatten(0, 1), reduction="none")
    return each.view(logits.shape[:2]).mean(1)


@dataclass(frozen=True, kw_only=True)
class Training:
    """The inner training of a stack of networks, in T gradient steps."""

    steps: Steps
    optimiser: Rule
    examples: Float[Tensor, "networks steps b c h w"]
    labels: Shaped[Tensor, "networks steps b *classes"]
    step_sizes: Float[Tensor, "epochs steps"]

    @functools.cached_property
    def order(self) -> list[tuple[int, int]]:
        """(epoch, step) of each gradient step t."""
        epochs, steps = self.step_sizes.shape
        return list(Program(steps=steps, epochs=epochs))

    def batch(self, t: int) -> Batch:
        """Return the examples and labels of step t."""
        _, step = self.order[t]
        return Batch(self.examples[:, step], self.labels[:, step])

    def update(self, state: State, gradient: Tensor, t: int) -> State:
        """Return the state after step t, given the gradient of step t."""
        return self.optimiser.update(state, gradient, self.step_sizes[self.order[t]], t)

    def forward(self, state: State, t: int) -> State:
        """Return the state after step t, given the state before it."""
        return self.update(state, self.steps.gradient(state[0], self.batch(t)), t)


def training(
    loss: InnerLoss | Steps,
    networks: int,
    examples: Float[Tensor, "steps b c h w"],
    labels: Shaped[Tensor, "steps b *classes"],
    step_sizes: Float[Tensor, "epochs steps"],
    optimiser: Rule | None,
) -> Training:
    """Make the training of `networks` networks on these examples. Defaults: `EagerSteps`, `GradientDescent`."""
    return Training(
        steps=loss if isinstance(loss, Steps) else EagerSteps(loss),
        optimiser=optimiser or GradientDescent(),
        examples=trainable(examples.detach()).expand(networks, *examples.shape),
        labels=trainable(labels.detach()).expand(networks, *labels.shape),
        step_sizes=trainable(step_sizes.detach()),
    )


def unroll(
    loss: InnerLoss | Steps,
    thetas: Float[Tensor, "networks size"],
    examples: Float[Tensor, "steps b c h w"],
    labels: Shaped[Tensor, "steps b *classes"],
    step_sizes: Float[Tensor, "epochs steps"],
    optimiser: Rule | None = None,
) -> Iterator[Float[Tensor, "networks size"]]:
    """Train each network on the synthetic examples; yield the weights after each step, theta_1 .. theta_T."""
    run = training(loss, len(thetas), examples, labels, step_sizes, optimiser)
    state = run.optimiser.start(trainable(thetas.detach()))
    for t in range(len(run.order)):
        state = run.forward(state, t)
        yield state[0]
