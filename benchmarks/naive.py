"""The naive reference: one graph through the whole training, as in the original implementation.

It uses nothing of the library, only the layers of torch, `torch.autograd.grad(..., create_graph=True)` at every step,
and one backward pass through everything.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy


def lenet() -> nn.Module:
    """Make a LeNet for 28x28 grey images."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip


def alexcifarnet() -> nn.Module:
    """Make an AlexCifarNet for 32x32 colour images."""

    def norm() -> nn.Module:
        return nn.LocalResponseNorm(4, alpha=0.001 / 9, beta=0.75, k=1.0)

    return nn.Sequential(
        nn.Conv2d(3, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2, 1), norm(),
        nn.Conv2d(64, 64, 5, padding=2), nn.ReLU(), norm(), nn.MaxPool2d(3, 2, 1), nn.Flatten(),
        nn.Linear(4096, 384), nn.ReLU(), nn.Linear(384, 192), nn.ReLU(), nn.Linear(192, 10),
    )  # fmt: skip


MODULES: dict[str, Callable[[], nn.Module]] = {"lenet": lenet, "alexcifarnet": alexcifarnet}


def hypergradient(
    module: nn.Module,
    theta: dict[str, Tensor],
    examples: Tensor,
    labels: Tensor,
    step_sizes: Tensor,
    images: Tensor,
    truth: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the objective and its derivatives by examples and by step sizes, for one network."""
    examples, step_sizes = examples.clone().requires_grad_(), step_sizes.clone().requires_grad_()
    weights = {name: value.clone().requires_grad_() for name, value in theta.items()}
    for sizes in step_sizes:
        for x, y, size in zip(examples, labels, sizes, strict=True):
            loss = cross_entropy(functional_call(module, weights, (x,)), y)
            gradients = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
            weights = {k: w - size * g for (k, w), g in zip(weights.items(), gradients, strict=True)}
    objective = cross_entropy(functional_call(module, weights, (images,)), truth)
    d_examples, d_sizes = torch.autograd.grad(objective, (examples, step_sizes))
    return objective.detach(), d_examples, d_sizes
