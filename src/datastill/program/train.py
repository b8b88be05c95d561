"""Training by a program: of a stack of flat weight vectors, and of a user's module. Both give equal weights."""

import copy
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from ..modes import trainable
from ..recorded import recorded
from .program import Program
from .torch_form import limit_gradient, torch_form

StackLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(weights (networks, size), examples (networks, b, *shape), targets (networks, b, *classes)) -> losses (networks,)."""


Labels = Callable[[Tensor], Tensor]
"""Examples (b, *shape) -> the logits of a teacher (b, classes)."""


def labels_from(teacher: nn.Module | None, device: torch.device | None = None) -> Labels | None:
    """Return a trained network, in evaluation mode, as a function of examples of any floating-point type and device.

    Args:
        teacher: the network; None: there is none.
        device: the device of the examples; a network on another one is copied there. None: it stays where it is.
    """
    if teacher is None:
        return None
    stays = device in (None, next(teacher.parameters()).device)
    module = teacher if stays else copy.deepcopy(teacher).to(device)
    like = next(module.parameters())
    return lambda examples: module(examples.to(like)).to(examples)


def _labelled(program: Program, examples: Tensor, targets: Tensor, teacher: Labels | None) -> tuple[Tensor, Tensor]:
    """Return examples with the targets that a teacher gives them; without a teacher, with their own."""
    if teacher is None:
        return examples, targets
    with torch.no_grad():
        return examples, program.loss.targets_of(teacher(examples))


def train_stack(
    loss: StackLoss,
    thetas: Float[Tensor, "networks size"],
    inputs: Float[Tensor, "n *shape"],
    targets: Shaped[Tensor, "*epochs_n_classes"],
    program: Program,
    seed: int = 0,
    teacher: Labels | None = None,
    most: int = 0,
) -> Iterator[Float[Tensor, "networks size"]]:
    """Train each network of a stack by a program; yield the weights after each step, theta_1 .. theta_T.

    All networks take equal batches with equal draws of the augmentation. No graph is kept.

    Args:
        loss: the loss of each network, differentiable once.
        thetas: initial weights; examples and soft targets must have their type and device.
        inputs: synthetic examples, normalised.
        targets: integer classes (n,), or one number per class (n, classes), or of each epoch (epochs, n, classes).
        program: how they are trained.
        seed: the seed of all that is random in the program.
        teacher: gives the labels of each batch as the networks see it (`labels_from`); None: `targets` are used.
        most: examples of a network whose gradient is computed at once; 0: those of the whole batch.

    Raises:
        UserError: the program does not fit this number of examples.
    """
    program, rule = program.to(thetas), program.rule
    inputs, targets, thetas = (trainable(each.detach()) for each in (inputs, targets, thetas))
    state, gradient = rule.start(thetas), gradient_of(loss, most)
    for t, step in enumerate(program.steps(len(inputs), seed)):
        batch = _labelled(program, *program.batch(inputs, targets, step), teacher)
        x, y = (each.expand(len(thetas), *each.shape) for each in batch)
        state = rule.update(state, gradient(state[0], x, y), step.size, t)
        yield state[0]


def gradient_of(loss: StackLoss, most: int = 0) -> StackLoss:
    """Return the gradient of a loss for the weights of each network, as a function of the arguments of the loss.

    A GPU records it at the first batch of each size.

    Args:
        loss: a mean over the examples of each network.
        most: examples of a network whose gradient is computed at once; 0: those of the whole batch.
    """

    def gradient(weights: Tensor, examples: Tensor, targets: Tensor) -> Tensor:
        weights = weights.detach().requires_grad_()
        with torch.enable_grad():
            return torch.autograd.grad(loss(weights, examples, targets).sum(), weights)[0]

    by_size: dict[torch.Size, StackLoss] = {}

    def run(*arguments: Tensor) -> Tensor:
        size = arguments[1].shape
        if size not in by_size:
            by_size[size] = recorded(gradient, arguments)
        return by_size[size](*arguments)

    def in_pieces(weights: Tensor, examples: Tensor, targets: Tensor) -> Tensor:
        found = torch.zeros_like(weights)
        for share, x, y in pieces(examples, targets, most):
            found = found.add(run(weights, x, y), alpha=share)
        return found

    return in_pieces if most else run


def pieces(examples: Tensor, targets: Tensor, most: int) -> Iterator[tuple[float, Tensor, Tensor]]:
    """Yield a batch of each network in pieces of nearly equal size, each after its share of the batch.

    Args:
        examples: (networks, b, *shape).
        targets: (networks, b, *classes).
        most: examples of a network in a piece at most; 0: the whole batch is one piece.
    """
    total = examples.shape[1]
    count = -(-total // (most or total))
    for x, y in zip(examples.tensor_split(count, 1), targets.tensor_split(count, 1), strict=True):
        yield x.shape[1] / total, x, y


def train_module(
    logits: Callable[[Tensor], Float[Tensor, "b classes"]],
    parameters: list[nn.Parameter],
    inputs: Float[Tensor, "n *shape"],
    targets: Shaped[Tensor, "*epochs_n_classes"],
    program: Program,
    seed: int = 0,
    teacher: Labels | None = None,
) -> None:
    """Train the parameters of a module in place by a program.

    Args:
        logits: the module, a function of examples.
        parameters: the parameters to train; examples must have their type and device.
        inputs: synthetic examples, normalised.
        targets: integer classes (n,), or one number per class (n, classes), or of each epoch (epochs, n, classes).
        program: how they are trained.
        seed: the seed of all that is random in the program.
        teacher: gives the labels of each batch as the module sees it (`labels_from`); None: `targets` are used.

    Raises:
        UserError: the program does not fit this number of examples.
    """
    optimiser = torch_form(program.optimiser, parameters)
    for step in program.steps(len(inputs), seed):
        x, y = _labelled(program, *program.batch(inputs, targets, step), teacher)
        optimiser.param_groups[0]["lr"] = float(step.size)
        optimiser.zero_grad()
        program.loss(logits(x), y).mean().backward(inputs=parameters)
        if program.clip:
            limit_gradient(parameters, program.clip)
        optimiser.step()
    optimiser.zero_grad()
